"""Checkpoints: the last one to continue from, the kept ones to choose or average from."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from hybrid_asr.files import atomic_path
from hybrid_asr.models.bundle import Bundle, BundleError, read_torch

LAST = "last.ckpt"
BEST = "best.ckpt"


@dataclasses.dataclass(frozen=True)
class Scored:
    """A kept checkpoint: the epoch it ends, its step, its validation error rate (None where none was measured)."""

    epoch: int
    step: int
    error: float | None

    @property
    def file(self) -> str:
        return f"epoch-{self.epoch:03d}.ckpt"


@dataclasses.dataclass
class Checkpoints:
    """The folder `checkpoints/` of a run: keeps the `count` best or last epochs, the best one, and the last state."""

    folder: Path
    average: Literal["best", "last"]
    count: int
    history: list[Scored] = dataclasses.field(default_factory=list)

    def chosen(self) -> list[Scored]:
        """The checkpoints whose weights are averaged, in the order of their epochs.

        Fewer than `count` where it was smaller in an earlier process: what was not kept then is not there now.
        """
        kept = [entry for entry in self.history if (self.folder / entry.file).is_file()]
        if self.average == "last":
            return kept[-self.count :]
        return sorted(_by_error(kept)[: self.count], key=lambda entry: entry.epoch)

    def best(self) -> Scored | None:
        """The epoch with the lowest validation error; the earlier one of equals."""
        return next(iter(_by_error(self.history)), None)

    def save_epoch(self, bundle: Bundle, scored: Scored) -> None:
        """Keep the weights of an epoch's end if they are among the chosen; others are removed."""
        self.history.append(scored)
        content = {
            "bundle": bundle.describe(),
            "state_dict": bundle.weights(),
            "step": scored.step,
            "epoch": scored.epoch,
        }
        _save(content, self.folder / scored.file)
        if self.best() == scored:
            _save(content, self.folder / BEST)
        chosen = {entry.file for entry in self.chosen()}
        for path in self.folder.glob("epoch-*.ckpt"):
            if path.name not in chosen:
                path.unlink()

    def save_last(self, state: dict[str, Any]) -> None:
        """Write the state from which the training continues."""
        _save(state | {"history": [dataclasses.asdict(entry) for entry in self.history]}, self.folder / LAST)

    def load_last(self) -> dict[str, Any] | None:
        """The state to continue from, or None where there is none. Raises BundleError on a damaged one."""
        if not (self.folder / LAST).is_file():
            return None
        state = read_torch(self.folder / LAST)
        if not {"bundle", "state_dict", "optimizer", "step", "history"} <= state.keys():
            raise BundleError(f"{self.folder / LAST}: not a training's last state; give --fresh to start anew")
        self.history = [Scored(**entry) for entry in state["history"]]
        return state

    def average_weights(self) -> dict[str, Tensor]:
        """The mean of the chosen checkpoints' weights."""
        paths = [self.folder / entry.file for entry in self.chosen()]
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


def _by_error(history: list[Scored]) -> list[Scored]:
    return sorted((entry for entry in history if entry.error is not None), key=lambda entry: (entry.error, entry.epoch))


def _save(content: dict[str, Any], path: Path) -> None:
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def remove_checkpoints(folder: Path) -> None:
    """Forget all checkpoints of a run, the last state first, so that a half-done removal does not look like a run."""
    for path in sorted(folder.glob("*.ckpt"), key=lambda path: path.name != LAST):
        os.remove(path)
