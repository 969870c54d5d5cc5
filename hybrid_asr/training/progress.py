"""Progress: one row of metrics for every few steps, and one line for a person."""

import dataclasses
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L

from hybrid_asr.common.device import on_host
from hybrid_asr.training.checkpoint import Checkpoints, TrainingState
from hybrid_asr.training.config import TrainerConfig
from hybrid_asr.training.divergence import divergence_alarm
from hybrid_asr.training.doubtful_audio import Doubtful
from hybrid_asr.training.host_copy import HostCopy
from hybrid_asr.training.launch_environment import is_rank_zero
from hybrid_asr.training.messages import print_from_any, print_stderr, rank_zero_print
from hybrid_asr.training.metric_rows import HostSums, RowQueue, RowUnderWay, StepSums, log_row, train_row
from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.nonfinite import Nonfinite
from hybrid_asr.training.status import StatusFile
from hybrid_asr.training.unreadable_audio import Unreadable

QUIET_SECONDS = 30.0  # between two progress lines where the output is not a terminal
RECENT_SECONDS = 300.0  # what speed and the time that is left are judged by: machines are shared, and validation counts


@dataclasses.dataclass
class Clock:
    """Where the time goes: `waited` lies between the end of a step and the arrival of its successor's data.

    `processor` is the processor time, of all threads, at the start.
    """

    started: float = 0.0
    processor: float = 0.0
    last: float = 0.0
    waited: float = 0.0
    audio_s: float = 0.0


def ends_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether the part `batch_idx` completed an update."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class RecentPace:
    """The pace of the last minutes: marks of when which step was reached, and with how much audio."""

    def __init__(self, now: float, step: int) -> None:
        self._marks = deque([(now, step, 0.0)])

    def mark(self, now: float, step: int, audio_s: float) -> None:
        """Note where the training is `now`; of what is older than RECENT_SECONDS only the latest is kept."""
        self._marks.append((now, step, audio_s))
        while len(self._marks) > 2 and self._marks[1][0] <= now - RECENT_SECONDS:
            self._marks.popleft()

    def audio_per_second(self) -> float:
        """Seconds of audio in a second."""
        (began, _, before), (now, _, audio_s) = self._marks[0], self._marks[-1]
        return (audio_s - before) / max(now - began, 1e-9)

    def seconds_for(self, steps: int) -> float:
        """How long so many steps take at this pace."""
        (began, first, _), (now, step, _) = self._marks[0], self._marks[-1]
        return (now - began) / max(step - first, 1) * steps


class Progress(L.Callback):
    """Logs the mean of every `every` steps and prints the training's progress."""

    def __init__(
        self,
        *,
        every: int,
        steps_per_epoch: int,
        warn: Callable[[str], None],
        status: StatusFile,
        nonfinite: Nonfinite,
        unreadable: Unreadable,
        doubtful: Doubtful,
        diverging: Callable[[int, float], None],
    ):
        self.every, self.steps_per_epoch, self.warn, self.status = every, steps_per_epoch, warn, status
        self.nonfinite, self.unreadable, self.diverging = nonfinite, unreadable, diverging
        self.doubtful = doubtful
        self.window: dict[str, float] = {}  # sums over the steps since the last row; part of the state
        self.windows: list[dict[str, float]] = []  # those of all devices, where a training goes on
        self.clock = Clock()
        self.pace = RecentPace(0.0, 0)
        self.shown = 0.0
        self.unaligned: set[str] = set()
        self.pending: list[StepSums] = []  # of the steps since the last row, on the device

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self.clock = Clock(started=time.monotonic(), processor=time.process_time(), last=time.monotonic())
        self.pace = RecentPace(self.clock.started, pl_module.step)
        self.status.pace = self.pace.audio_per_second
        if len(self.windows) == trainer.world_size:  # on other devices the next row has only the steps from here on
            self.window = dict(self.windows[trainer.global_rank])
        collect, write = partial(self._collect, trainer, pl_module), partial(self._write, trainer, pl_module)
        self.rows = RowQueue(collect, write)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Note how long the step waited for its data."""
        self.clock.waited += time.monotonic() - self.clock.last

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Sum up the step, and begin a row when it is time; a row and a line are written some steps later."""
        module: SpeechModule = pl_module
        self.clock.audio_s += batch.seconds * trainer.world_size
        self.window["audio_s"] = self.window.get("audio_s", 0.0) + batch.seconds
        self.window["unread"] = self.window.get("unread", 0.0) + self.unreadable.note(batch.unread)
        self.doubtful.note(batch.told)
        if ends_step(trainer, batch_idx):
            self.pending.append(StepSums(module.step, *module.take_sums()))
            if on_host(module.device) and self.pending[-1].values["skipped"]:  # a GPU is not asked before its row
                self.collect_pending(trainer, module)
            self.rows.step()
            if module.step % self.every == 0:
                self._begin_row(trainer, module)
        self.clock.last = time.monotonic()

    def spent(self) -> float:
        """Seconds since this process began to train."""
        return time.monotonic() - self.clock.started if self.clock.started else 0.0

    def processor_s(self) -> float:
        """Seconds that processors worked for it, in this process; on a shared machine less than the time spent."""
        return time.process_time() - self.clock.processor if self.clock.started else 0.0

    def waited_share(self) -> float:
        """The share of that time in which training waited for data."""
        return self.clock.waited / max(self.spent(), 1e-9)

    def summary(self) -> str:
        """What this process took, and what it left out."""
        lines = [
            f"trained for {duration(self.spent())}, {self.waited_share():.1%} of it waiting for data; "
            f"{duration(self.processor_s())} of processor time"
        ]
        if self.nonfinite.total:
            lines.append(f"{self.nonfinite.total} updates were left out, their loss or gradient not being finite")
        lines += [text for text in (self.unreadable.text(), self.doubtful.text()) if text]
        return "\n".join(lines)

    @property
    def halt(self) -> str:
        """Why this training should not go on, if so."""
        return self.nonfinite.halt or self.unreadable.halt

    def collect_pending(self, trainer: L.Trainer, module: SpeechModule) -> dict[str, float]:
        """Bring the sums of the steps since the last row to the host; the rows before have theirs then, too."""
        self.rows.collect()
        pending, self.pending = self.pending, []
        self._add(trainer, module, HostSums(pending), self.window)
        return self.window

    def _add(self, trainer: L.Trainer, module: SpeechModule, sums: HostSums, window: dict[str, float]) -> None:
        """Add to a window the sums of its updates, and look for those that were left out."""
        for one, numbers in zip(sums.sums, sums.read(), strict=True):
            for name, value in (numbers | {"steps": 1.0}).items():
                window[name] = window.get(name, 0.0) + value
            self.nonfinite.note(one.step, numbers["skipped"] > 0, one.parts, trainer.global_rank)
        self.nonfinite.record(trainer, module)

    def _begin_row(self, trainer: L.Trainer, module: SpeechModule) -> None:
        """Send the numbers of a row on their way: of the steps since the last one, to this one."""
        window, self.window = self.window, {}
        pending, self.pending = self.pending, []
        ids, unaligned = module.take_unaligned()
        row = RowUnderWay(
            step=module.step,
            epoch=-(-module.step // self.steps_per_epoch),
            lr=float(trainer.optimizers[0].param_groups[0]["lr"]),
            window=window,
            sums=HostSums(pending),
            ids=ids,
            unaligned=HostCopy(unaligned),
        )
        self.rows.add(row)
        if trainer.is_global_zero:
            self.status.running(module.step, at_once=False)

    def _collect(self, trainer: L.Trainer, module: SpeechModule, row: RowUnderWay) -> None:
        """Take what has arrived of a row, and name the utterances that CTC could not align."""
        self._add(trainer, module, row.sums, row.window)
        new = {name for name, bad in zip(row.ids, row.unaligned.read(), strict=True) if bad} - self.unaligned
        if new:
            self.unaligned |= new
            self.warn(
                f"too short for CTC at their speed, trained without CTC: {', '.join(sorted(new)[:5])}"
                + (" …" if len(new) > 5 else "")
            )

    def _write(self, trainer: L.Trainer, module: SpeechModule, under_way: RowUnderWay, total: dict[str, float]) -> None:
        row = {"epoch": under_way.epoch} | train_row(total, trainer.world_size) | {"train.lr": under_way.lr}
        log_row(trainer, row, under_way.step)
        if trainer.is_global_zero and "train.loss" in row:
            self.diverging(under_way.step, row["train.loss"])
        self._show(trainer, module, row, under_way.step)

    def _show(self, trainer: L.Trainer, module: SpeechModule, row: dict[str, int | float], step: int) -> None:
        live = sys.stderr.isatty()
        now = time.monotonic()
        if not trainer.is_global_zero or (not live and now - self.shown < QUIET_SECONDS):
            return
        self.shown = now
        self.pace.mark(now, module.step, self.clock.audio_s)
        losses = "no update since the last line was finite"
        if "train.loss" in row:
            losses = (
                f"loss {row['train.loss']:.3f} (ctc {row['train.ctc']:.3f}, attention {row['train.attention']:.3f})"
            )
        line = (
            f"epoch {row['epoch']:.0f}  step {step}/{module.total_steps}  {losses}  lr {row['train.lr']:.1e}  "
            f"masked {row['train.time_masked']:.0%} of time, {row['train.frequency_masked']:.0%} of bins  "
            f"{self.pace.audio_per_second():.0f} s audio/s  waits for data {self.waited_share():.0%}  "
            f"left {duration(self.pace.seconds_for(module.total_steps - module.step))}"
        )
        print_stderr(f"\r{line}\033[K" if live else line, end="" if live else "\n")


def build_progress(
    cfg: TrainerConfig,
    *,
    checkpoints: Checkpoints,
    status: StatusFile,
    written: Sequence[dict[str, str]],
    state: TrainingState | None,
    nonfinite_file: Path,
    unreadable: Unreadable,
    doubtful: Doubtful,
    steps_per_epoch: int,
) -> Progress:
    """The callback with all that it watches; `state` is the saved one, `written` the rows of metrics.csv up to it."""
    nonfinite = Nonfinite(
        file=nonfinite_file,
        checkpoints=checkpoints,
        policy=cfg.nonfinite,
        limit=cfg.nonfinite_limit,
        warn=rank_zero_print,
    )
    nonfinite.continue_from({} if state is None else state.nonfinite)
    if is_rank_zero():
        nonfinite.forget_behind(0 if state is None else state.step)
    progress = Progress(
        every=cfg.log_every,
        steps_per_epoch=steps_per_epoch,
        warn=print_from_any,
        status=status,
        nonfinite=nonfinite,
        unreadable=unreadable,
        doubtful=doubtful,
        diverging=divergence_alarm(cfg, checkpoints, status, written),
    )
    if state is not None:
        progress.windows = state.windows
    return progress


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
