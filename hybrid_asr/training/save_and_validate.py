"""What happens between steps: validation, checkpoints, an early stop."""

import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.training.checkpoint import Checkpoints, KeptEpoch, TrainingState
from hybrid_asr.training.checkpoint_writer import CheckpointWriter, Snapshot, write_state
from hybrid_asr.training.deterministic import only_warned
from hybrid_asr.training.launch_environment import is_rank_zero
from hybrid_asr.training.messages import print_stderr
from hybrid_asr.training.metric_rows import log_row
from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.process_group import gather, is_connected, meet, note
from hybrid_asr.training.progress import Progress, ends_step
from hybrid_asr.training.sharding import load_optimizer_state, whole_optimizer_state
from hybrid_asr.training.signals import STOP
from hybrid_asr.training.stop_flag import NONE, StopFlag, Wishes
from hybrid_asr.training.watch import ADDS_UP, AWAITS_DATA, COMPUTES


class Interrupted(Exception):
    """Ctrl-C or SIGTERM: the training was saved at `step` and stopped."""

    def __init__(self, step: int, signal_number: int):
        super().__init__(f"interrupted after step {step}")
        self.step, self.signal_number = step, signal_number


class Halted(UserError):
    """A training that should not go on: it was saved and stopped; the message says why and what to do."""


class SaveAndValidate(L.Callback):
    """At an epoch's end, and at the last step: validate, log, keep these very weights.

    Now and then, and on a signal: save the state.
    """

    def __init__(
        self,
        *,
        checkpoints: Checkpoints,
        progress: Progress,
        validate: Callable[[SpeechModule, int], dict[str, float]],
        metric: str,
        every: int,
        minutes: float,
        steps: int | None,
        signature: str,
        run_id: str,
        state: TrainingState | None,
    ):
        self.checkpoints, self.progress, self.validate = checkpoints, progress, validate
        self.metric, self.every, self.minutes, self.steps = metric, every, minutes, steps
        self.signature, self.run_id = signature, run_id
        self.between_steps = False  # whether a step is whole, its epoch's end and all
        self.optimizer = None if state is None else state.optimizer
        self.loss_scale = {} if state is None else state.loss_scale
        self.earlier_s = 0.0 if state is None else state.elapsed_s
        self.earlier_processor_s = 0.0 if state is None else state.processor_s
        progress.status.elapsed = self.elapsed
        self.saved = time.monotonic()
        self.writer = CheckpointWriter()
        self.flag = StopFlag()

    def elapsed(self) -> float:
        """Seconds of training by all processes, one after the other, that worked in this folder."""
        return self.earlier_s + self.progress.spent()

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """From the first step on a signal is obeyed behind a step."""
        if self.optimizer is not None:
            load_optimizer_state(trainer.optimizers[0], self.optimizer)
            self.optimizer = None
        if pl_module.loss_scale is not None and self.loss_scale:
            pl_module.loss_scale.load(self.loss_scale)
        self.saved = time.monotonic()
        self.between_steps = True
        STOP.deferred = True
        note(AWAITS_DATA, pl_module.step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Wait until all is written."""
        self.writer.finish()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """There are no more steps: a signal ends this process at once."""
        STOP.deferred = False

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Save what can be: what the reading of data raises comes between two steps, where the state is whole.

        It is, too, where only the folder of checkpoints has vanished: then it is made anew for this one state.
        """
        STOP.deferred = False
        self.writer.wait()
        self.writer = CheckpointWriter()  # without an error of the former one, which this state does not depend on
        folder = self.checkpoints.folder
        vanished = isinstance(exception, OSError) and not folder.is_dir() and folder.parent.is_dir()
        if trainer.world_size > 1 or not (vanished or (isinstance(exception, UserError) and self.between_steps)):
            return
        folder.mkdir(exist_ok=True)
        self._save(trainer, pl_module)
        self.writer.finish()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Say what this process does, for the others."""
        note(COMPUTES)

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: torch.Tensor) -> None:
        """The same: from here on this process may wait for others."""
        note(ADDS_UP)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save and validate when it is time, or when a signal has asked to stop."""
        module: SpeechModule = pl_module
        note(AWAITS_DATA, module.step)
        if not ends_step(trainer, batch_idx):
            return
        self.between_steps = False
        self.writer.raise_error()
        last = module.step == module.total_steps
        ends = last or module.step % self.progress.steps_per_epoch == 0
        if ends:
            note("validating")
        kept = self._end_epoch(trainer, module, -(-module.step // self.progress.steps_per_epoch)) if ends else None
        agreed = self._agreed(ended=ends, last=last)
        if kept is not None or agreed != NONE or (self.steps and module.step % self.steps == 0):
            note("saving")
            self._save(trainer, module, kept)
            meet()
            note(AWAITS_DATA)
        if agreed.stop or agreed.halt:
            note("waiting for the disk")
            self.writer.finish()
        if agreed.halt:
            own = self.progress.unreadable.halt  # updates are left out by all processes alike
            if own and not trainer.is_global_zero:
                print_stderr(own)
            raise Halted(self.progress.halt or "another process of this training cannot go on, its message says why")
        if agreed.stop:
            raise Interrupted(module.step, agreed.stop)
        self.between_steps = True
        self.progress.clock.last = time.monotonic()

    def _end_epoch(self, trainer: L.Trainer, module: SpeechModule, epoch: int) -> KeptEpoch:
        self.progress.rows.flush()
        module.gather_weights()
        error = None
        if epoch % self.every == 0 or module.step == module.total_steps:
            module.eval()
            with only_warned():
                row = self.validate(module, epoch)
            module.train()
            error = row[self.metric]
            log_row(trainer, {"epoch": epoch, **row}, module.step)
        return KeptEpoch(epoch, module.step, error)

    def _save(self, trainer: L.Trainer, module: Any, kept: KeptEpoch | None = None) -> None:
        """Take a copy of the state, which is written in the background, with the weights of the epoch `kept`."""
        self.saved = time.monotonic()
        self.progress.rows.flush()
        windows = gather(dict(self.progress.collect_pending(trainer, module)))
        module.gather_weights()
        weights, optimizer = module.bundle.weights(), whole_optimizer_state(trainer.optimizers[0])
        if not trainer.is_global_zero:
            return
        self.writer.finish()  # so that there are two copies at most
        state = TrainingState(
            bundle=module.bundle.describe(),
            state_dict=weights,
            optimizer=optimizer,
            step=module.step,
            windows=windows,
            nonfinite=self.progress.nonfinite.state(),
            loss_scale={} if module.loss_scale is None else module.loss_scale.state(),
            signature=self.signature,
            run_id=self.run_id,
            elapsed_s=self.elapsed(),
            processor_s=self.earlier_processor_s + self.progress.processor_s(),
        )
        self.progress.status.step = module.step
        copy = Snapshot((weights, optimizer))
        self.writer.begin(lambda: write_state(self.checkpoints, self.progress.status, state, copy, kept))

    def _agreed(self, *, ended: bool, last: bool) -> Wishes:
        """What all processes do after this step: what any of them asked for at the one before, or alone at this.

        Behind the `last` step there is no other at which to hear of a signal. When it is time to save is decided by the
        first process's clock; at an epoch's end it is done anyway.
        """
        agreed = self.flag.answer()
        if agreed.stop or agreed.halt:
            return agreed
        due = is_rank_zero() and not ended and not agreed.save and time.monotonic() - self.saved > 60 * self.minutes
        self.flag.ask(Wishes(STOP.number, due, bool(self.progress.halt)))
        return self.flag.answer() if last or not is_connected() else agreed
