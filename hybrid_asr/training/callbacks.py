"""What happens between steps: progress, validation, checkpoints, Ctrl-C."""

import contextlib
import dataclasses
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch

from hybrid_asr.training.checkpoint import Checkpoints, Scored
from hybrid_asr.training.module import SpeechModule

QUIET_SECONDS = 30.0  # between two progress lines where the output is not a terminal


def tell(text: str, end: str = "\n") -> None:
    """Write for a person. A training does not end because its reader has, nor because a signal came amid a line."""
    with contextlib.suppress(OSError, RuntimeError):  # a closed pipe or terminal; a print inside a print
        print(text, end=end, file=sys.stderr, flush=True)


class Interrupted(Exception):
    """Ctrl-C or SIGTERM: the training was saved at `step` and stopped."""

    def __init__(self, step: int, signal_number: int):
        super().__init__(f"interrupted after step {step}")
        self.step, self.signal_number = step, signal_number


@dataclasses.dataclass
class Clock:
    """Where the time goes: `waited` lies between the end of a step and the arrival of its successor's data."""

    started: float = 0.0
    last: float = 0.0
    waited: float = 0.0
    audio_s: float = 0.0


def ends_step(trainer: L.Trainer, batch_idx: int) -> bool:
    """Whether the part `batch_idx` completed an update."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class Progress(L.Callback):
    """Logs the mean of every `every` steps and tells a person where the training stands."""

    def __init__(self, *, every: int, steps_per_epoch: int, warn: Callable[[str], None]):
        self.every, self.steps_per_epoch, self.warn = every, steps_per_epoch, warn
        self.window: dict[str, float] = {}  # sums over the steps since the last row; part of the state
        self.windows: list[dict[str, float]] = []  # those of all devices, where a training goes on
        self.clock = Clock()
        self.shown = 0.0
        self.unaligned: set[str] = set()
        self.pending: list[dict[str, torch.Tensor]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.clock = Clock(started=time.monotonic(), last=time.monotonic())
        if len(self.windows) == trainer.world_size:  # on other devices the next row has only the steps from here on
            self.window = dict(self.windows[trainer.global_rank])

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.clock.waited += time.monotonic() - self.clock.last

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        module: SpeechModule = pl_module
        self.clock.audio_s += batch.seconds * trainer.world_size
        if ends_step(trainer, batch_idx):
            self.pending.append(module.take_sums())
            if module.step % self.every == 0:
                self._log(trainer, module)
        self.clock.last = time.monotonic()

    def spent(self) -> float:
        """Seconds since this process began to train."""
        return time.monotonic() - self.clock.started

    def waited_share(self) -> float:
        """The share of that time in which training waited for data."""
        return self.clock.waited / max(self.spent(), 1e-9)

    def settle(self) -> dict[str, float]:
        """Bring the sums of the steps since the last row to the host."""
        for sums in self.pending:
            for name, value in {**sums, "steps": torch.ones(())}.items():
                self.window[name] = self.window.get(name, 0.0) + float(value)
        self.pending = []
        return self.window

    def _log(self, trainer: L.Trainer, module: SpeechModule) -> None:
        window = self.settle()
        self.window = {}
        row = {"epoch": -(-module.step // self.steps_per_epoch)} | train_row(trainer, window)
        row["train.lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        for logger in trainer.loggers:
            logger.log_metrics(row, step=module.step)
        new = set(module.take_unaligned()) - self.unaligned
        if new:
            self.unaligned |= new
            self.warn(
                f"too short for CTC at their speed, trained without CTC: {', '.join(sorted(new)[:5])}"
                + (" …" if len(new) > 5 else "")
            )
        self._show(trainer, module, row)

    def _show(self, trainer: L.Trainer, module: SpeechModule, row: dict[str, int | float]) -> None:
        live = sys.stderr.isatty()
        now = time.monotonic()
        if not trainer.is_global_zero or (not live and now - self.shown < QUIET_SECONDS):
            return
        self.shown = now
        spent = now - self.clock.started
        done = module.step - module.first_step
        left = spent / max(done, 1) * (module.total_steps - module.step)
        line = (
            f"epoch {row['epoch']:.0f}  step {module.step}/{module.total_steps}  loss {row['train.loss']:.3f} "
            f"(ctc {row['train.ctc']:.3f}, attention {row['train.attention']:.3f})  lr {row['train.lr']:.1e}  "
            f"masked {row['train.time_masked']:.0%} of time, {row['train.frequency_masked']:.0%} of bins  "
            f"{self.clock.audio_s / spent:.0f} s audio/s  waits for data {self.clock.waited / spent:.0%}  "
            f"left {duration(left)}"
        )
        tell(f"\r{line}\033[K" if live else line, end="" if live else "\n")


def train_row(trainer: L.Trainer, window: dict[str, float]) -> dict[str, float]:
    """Means over a window of steps, and over devices: losses in nats per label, shares of what was masked."""
    if trainer.world_size > 1:
        names = sorted(window)
        total = torch.tensor([window[name] for name in names], dtype=torch.float64, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(total)
        window = dict(zip(names, total.tolist(), strict=True))
    steps, parts = window["steps"] / trainer.world_size, window["parts"]
    row = {f"train.{name}": window[name] / steps for name in ("loss", "ctc", "attention")}
    row["train.gradient_norm"] = window["gradient_norm"] / window["steps"]
    row["train.infeasible"] = window["infeasible"]
    for name in ("time_masked", "frequency_masked"):
        row[f"train.{name}"] = window.get(name, 0.0) / parts
    return row


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class SaveAndValidate(L.Callback):
    """At an epoch's end: validate, log, keep these very weights. Now and then, and on a signal: save the state."""

    def __init__(
        self,
        *,
        checkpoints: Checkpoints,
        progress: Progress,
        validate: Callable[[SpeechModule, int], dict[str, float]],
        metric: str,
        every: int,
        minutes: float,
        signature: str,
        state: dict[str, Any] | None,
    ):
        self.checkpoints, self.progress, self.validate = checkpoints, progress, validate
        self.metric, self.every, self.minutes, self.signature = metric, every, minutes, signature
        self.optimizer = None if state is None else state["optimizer"]
        self.earlier_s = 0.0 if state is None else state["elapsed_s"]
        self.saved = time.monotonic()
        self.signal_number = 0
        self.former: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.optimizer is not None:
            trainer.optimizers[0].load_state_dict(self.optimizer)
            self.optimizer = None
        self.saved = time.monotonic()
        for number in (signal.SIGINT, signal.SIGTERM):
            self.former[number] = signal.signal(number, self._note)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore_handlers()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self.former.items():
            signal.signal(number, handler)
        self.former = {}

    def _note(self, number: int, frame: Any) -> None:
        """Only raise a flag: a step is never cut in two. The second time the former handler acts."""
        self.signal_number = number
        signal.signal(number, self.former.get(number, signal.SIG_DFL))
        tell("\nsaving at the next step, then stopping; once more to stop at once")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        module: SpeechModule = pl_module
        if not ends_step(trainer, batch_idx):
            return
        epoch, inside = divmod(module.step, self.progress.steps_per_epoch)
        ended = inside == 0
        if ended:
            self._end_epoch(trainer, module, epoch)
        stopping, due = self._agreed(trainer)
        if ended or stopping or due:
            self._save_last(trainer, module)
        if stopping:
            raise Interrupted(module.step, stopping)
        self.progress.clock.last = time.monotonic()

    def _end_epoch(self, trainer: L.Trainer, module: SpeechModule, epoch: int) -> None:
        error = None
        if epoch % self.every == 0 or module.step == module.total_steps:
            module.eval()
            row = self.validate(module, epoch)
            module.train()
            error = row[self.metric]
            for logger in trainer.loggers:
                logger.log_metrics({"epoch": epoch, **row}, step=module.step)
        if trainer.is_global_zero:
            self.checkpoints.save_epoch(module.bundle, Scored(epoch, module.step, error))

    def _save_last(self, trainer: L.Trainer, module: SpeechModule) -> None:
        self.saved = time.monotonic()
        windows = [dict(self.progress.settle())]
        if trainer.world_size > 1:
            windows *= trainer.world_size
            torch.distributed.all_gather_object(windows, windows[0])
        if not trainer.is_global_zero:
            return
        self.checkpoints.save_last(
            {
                "bundle": module.bundle.describe(),
                "state_dict": module.bundle.weights(),
                "optimizer": trainer.optimizers[0].state_dict(),
                "step": module.step,
                "windows": windows,
                "signature": self.signature,
                "elapsed_s": self.earlier_s + self.progress.spent(),
            }
        )

    def _agreed(self, trainer: L.Trainer) -> tuple[int, bool]:
        """The signal that any process has seen, and whether it is time to save by the first one's clock.

        All stop, and all save, after the same step.
        """
        due = time.monotonic() - self.saved > 60 * self.minutes
        if trainer.world_size == 1:
            return self.signal_number, due
        flags = torch.tensor([self.signal_number, int(due and trainer.is_global_zero)])
        flags = flags.to(trainer.strategy.root_device)
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
        signal_number, due = flags.tolist()
        return signal_number, bool(due)
