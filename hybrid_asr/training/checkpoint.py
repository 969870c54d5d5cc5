"""Checkpoints: the state from which a training resumes, and the epochs to choose or average from."""

import dataclasses
import errno
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hybrid_asr import __version__
from hybrid_asr.config.compose import digest
from hybrid_asr.models.bundle import Bundle, BundleError, read_torch, save_torch

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"  # the state before the last: what to go on from where the last one is damaged
BEST = "best.ckpt"
STATE_VERSION = 2  # of the file of a state; 1, of earlier versions of this program, is read as well


class NewerState(BundleError):
    """A state that a newer version of hybrid-asr has written."""


@dataclasses.dataclass(frozen=True)
class KeptEpoch:
    """A kept checkpoint: the epoch it ends, its step, its validation error rate (None where none was measured)."""

    epoch: int
    step: int
    error: float | None

    @property
    def file(self) -> str:
        """The name of the epoch's file."""
        return f"epoch-{self.epoch:03d}.ckpt"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingState:
    """All that a training needs to resume as if it had never stopped. The names of the fields are the file's keys.

    `windows` are each process's sums since the last row of metrics.csv, `nonfinite` what `Nonfinite.state` gives,
    `loss_scale` what `LossScale.state` gives, in float16 alone, and `elapsed_s` and `processor_s` the seconds of all
    processes that have trained so far, by the clock and the processor.
    """

    bundle: dict[str, Any]
    state_dict: dict[str, Tensor]
    optimizer: dict[str, Any]
    step: int
    windows: list[dict[str, float]] = dataclasses.field(default_factory=list)
    nonfinite: dict[str, int] = dataclasses.field(default_factory=dict)
    loss_scale: dict[str, float] = dataclasses.field(default_factory=dict)
    signature: str = ""
    run_id: str = ""
    elapsed_s: float = 0.0
    processor_s: float = 0.0
    history: list[KeptEpoch] = dataclasses.field(default_factory=list)

    def write(self, path: Path, *, former: Path | None = None) -> None:
        """Write the file, whole or not at all; the one before it is kept as `former`, if given."""
        content = {"version": STATE_VERSION}
        content |= {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        _save(content | {"history": [dataclasses.asdict(entry) for entry in self.history]}, path, former=former)

    @classmethod
    def read(cls, path: Path) -> "TrainingState":
        """Read what `write` wrote, in this version or an earlier one. Raises BundleError naming the file."""
        content = _read_state(path)
        known = {field.name for field in dataclasses.fields(cls)}
        content["history"] = [KeptEpoch(**entry) for entry in content["history"]]
        return cls(**{name: value for name, value in content.items() if name in known})


def name_of_state(path: Path) -> str:
    """The step of a state and a digest of the checksums in its file, in no time: the tensors are not read."""
    try:
        with zipfile.ZipFile(path) as archive:
            checksums = [(entry.filename, entry.CRC) for entry in archive.infolist()]
        step = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["step"]
    except Exception:  # of a damaged file torch may raise anything
        return "damaged"
    return f"step {step}, {digest(checksums)[:8]}"


def incident_file(step: int) -> str:
    """The weights that an update met which was left out."""
    return f"nonfinite-{step:08d}.ckpt"


@dataclasses.dataclass
class Checkpoints:
    """The folder `checkpoints/` of a run: keeps the `count` best or last epochs, the best one, and the last state."""

    folder: Path
    average: Literal["best", "last"]
    count: int
    history: list[KeptEpoch] = dataclasses.field(default_factory=list)
    saved: int | None = None  # the step of the last state that was saved or loaded
    from_previous: bool = False  # whether that is not last.ckpt, which is damaged

    def chosen(self) -> list[KeptEpoch]:
        """The checkpoints whose weights are averaged, in the order of their epochs.

        Fewer than `count` where it was smaller in an earlier process: what was not kept then is not there now.
        """
        kept = [entry for entry in self.history if (self.folder / entry.file).is_file()]
        if self.average == "last":
            return kept[-self.count :]
        return sorted(_by_error(kept)[: self.count], key=lambda entry: entry.epoch)

    def best(self) -> KeptEpoch | None:
        """The epoch with the lowest validation error; the earlier one of equals."""
        return next(iter(_by_error(self.history)), None)

    def save_epoch(self, description: dict[str, Any], weights: dict[str, Tensor], scored: KeptEpoch) -> None:
        """Keep the weights of an epoch's end if they are among the chosen; others are removed.

        It takes the place of what is kept of the same epoch: a training that was given more steps ended inside it.
        `description` and `weights` are those of a Bundle.
        """
        best = self.best()
        self.history = [entry for entry in self.history if entry.epoch != scored.epoch]
        self.history.append(scored)
        content = {"bundle": description, "state_dict": weights, "step": scored.step, "epoch": scored.epoch}
        _save(content, self.folder / scored.file)
        now = self.best()
        if now == scored:
            _save(content, self.folder / BEST)
        elif best is not None and now is not None and best.epoch == scored.epoch and (self.folder / now.file).is_file():
            _save(read_torch(self.folder / now.file), self.folder / BEST)
        chosen = {entry.file for entry in self.chosen()}
        for path in self.folder.glob("epoch-*.ckpt"):
            if path.name not in chosen:
                path.unlink()

    def save_incident(self, bundle: Bundle, step: int, *, weights_step: int) -> None:
        """Keep the weights with which update `step` failed, or on a GPU those soon after, of `weights_step`."""
        content = {"bundle": bundle.describe(), "state_dict": bundle.weights(), "step": weights_step}
        _save(content, self.folder / incident_file(step))

    def good_until(self, step: int) -> tuple[Path, KeptEpoch] | None:
        """The file of a good model, for a training that went wrong after `step`: the best one, which stays.

        Without validation, the latest of the epochs that had ended by then.
        """
        best = self.best()
        if best is not None:
            return self.folder / BEST, best
        kept = [entry for entry in self.history if entry.step <= step and (self.folder / entry.file).is_file()]
        return (self.folder / kept[-1].file, kept[-1]) if kept else None

    def save_last(self, state: TrainingState) -> None:
        """Write the state from which the training resumes, with the history of epochs.

        The one before it is kept, unless it is damaged: then the one before that.
        """
        former = None if self.from_previous else self.folder / PREVIOUS
        dataclasses.replace(state, history=self.history).write(self.folder / LAST, former=former)
        self.saved, self.from_previous = state.step, False

    def can_resume(self) -> bool:
        """Whether there is a state to resume from, damaged or not."""
        return any((self.folder / name).is_file() for name in (LAST, PREVIOUS))

    def load_last(self, warn: Callable[[str], None] = lambda text: None) -> TrainingState | None:
        """The state to resume from, or None where there is none: the one before where the last is damaged.

        Raises BundleError where no state is whole, NewerState where this version cannot read the last one.
        """
        paths = [path for path in (self.folder / LAST, self.folder / PREVIOUS) if path.is_file()]
        refused: BundleError | None = None
        for path in paths:
            try:
                state = TrainingState.read(path)
            except NewerState:
                raise
            except BundleError as error:
                refused = refused or error
                continue
            if refused is not None:
                warn(f"warning: {refused.args[0].partition(';')[0]}; going on from {path.name}, step {state.step}")
            self.from_previous = path.name == PREVIOUS
            self.go_on_from(state)
            return state
        if refused is not None:
            raise refused
        return None

    def go_on_from(self, state: TrainingState) -> None:
        """Take over what `load_last` has read, in this process or in another one."""
        self.history, self.saved = list(state.history), state.step

    def average_weights(self) -> dict[str, Tensor]:
        """The mean of the chosen checkpoints' weights."""
        paths = [self.folder / entry.file for entry in self.chosen()]  # one that is damaged may be removed by hand
        if not paths:
            raise BundleError(
                f"{self.folder}: no epoch has ended yet, nothing to average; wait, or take checkpoints/last.ckpt"
            )
        return average([read_torch(path)["state_dict"] for path in paths])


def average(weights: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several models' weights, in float64; counters are the last's (Polyak and Juditsky, 1992)."""
    mean = {}
    for name, last in weights[-1].items():
        if not last.is_floating_point():
            mean[name] = last
            continue
        mean[name] = torch.stack([entry[name].double() for entry in weights]).mean(0).to(last.dtype)
    return mean


def _by_error(history: list[KeptEpoch]) -> list[KeptEpoch]:
    return sorted((entry for entry in history if entry.error is not None), key=lambda entry: (entry.error, entry.epoch))


def _read_state(path: Path) -> dict[str, Any]:
    state = read_torch(path)
    version = state.get("version", 1)
    if isinstance(version, int) and version > STATE_VERSION:
        raise NewerState(
            f"{path}: a newer version of hybrid-asr has written it (states of version {version}; this one, "
            f"{__version__}, knows up to {STATE_VERSION}); update this one, or give --folder DIR for another training"
        )
    lacking = [key for key in ("bundle", "state_dict", "optimizer", "step", "history") if key not in state]
    if lacking:
        raise BundleError(f"{path}: not a training's state, without the key '{lacking[0]}'; give --fresh to start anew")
    wrong = _wrong(state)
    if wrong:
        raise BundleError(f"{path}: damaged, or of another version of hybrid-asr: {wrong}; give --fresh to start anew")
    return state


def _wrong(state: dict[str, Any]) -> str | None:
    """What is wrong with a state, by its key."""
    step, fields = state["step"], {field.name for field in dataclasses.fields(KeptEpoch)}
    if not isinstance(step, int) or step < 0:
        return f"'step': expected a whole number, got {step!r}"
    history = state["history"]
    if not isinstance(history, list) or any(not isinstance(entry, dict) or set(entry) != fields for entry in history):
        return f"'history': expected a list of {', '.join(sorted(fields))}"
    optimizer = state["optimizer"]
    if not isinstance(optimizer, dict) or not {"state", "param_groups"} <= optimizer.keys():
        return "'optimizer': expected the keys 'state' and 'param_groups'"
    return None


def _save(content: dict[str, Any], path: Path, *, former: Path | None = None) -> None:
    """Write a checkpoint. A folder that has vanished is not made anew: it may be a disk that is no longer there."""
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder has vanished", str(path))
    save_torch(content, path, former=former)


def remove_checkpoints(folder: Path) -> None:
    """Forget all checkpoints of a run, the last state first, so that a half-done removal does not look like a run."""
    first = [LAST, PREVIOUS]
    for path in sorted(folder.glob("*.ckpt"), key=lambda path: path.name not in first):
        os.remove(path)
