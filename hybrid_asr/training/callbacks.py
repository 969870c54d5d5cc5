"""What happens between steps: validation, checkpoints, Ctrl-C."""

import signal
import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch

from hybrid_asr.training.checkpoint import Checkpoints, Scored
from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.progress import Progress, ends_step, tell


class Interrupted(Exception):
    """Ctrl-C or SIGTERM: the training was saved at `step` and stopped."""

    def __init__(self, step: int, signal_number: int):
        super().__init__(f"interrupted after step {step}")
        self.step, self.signal_number = step, signal_number


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
        progress.status.elapsed = self.elapsed
        self.saved = time.monotonic()
        self.signal_number = 0
        self.former: dict[int, Any] = {}

    def elapsed(self) -> float:
        """Seconds of training by all processes, one after the other, that worked in this folder."""
        return self.earlier_s + self.progress.spent()

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
                "elapsed_s": self.elapsed(),
            }
        )
        self.progress.status.running(module.step)

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
