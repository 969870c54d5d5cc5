"""Refreshes the run's page whenever an epoch has ended and its row is written."""

import time
from collections.abc import Callable
from typing import Any

import lightning as L

from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.process_group import meet, note
from hybrid_asr.training.progress import ends_step

LARGEST_SHARE = 0.02  # share of the training's time


class PageRefresh(L.Callback):
    """Calls `refresh` in the first process at an epoch's end, but skips epochs so as not to take over 2 % of the time.

    It must come after the callback that validates, so that `refresh` sees what that has written.
    """

    def __init__(self, refresh: Callable[[], object], *, steps_per_epoch: int):
        self.refresh, self.steps_per_epoch = refresh, steps_per_epoch
        self.earliest_s = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Refresh the page at an epoch's end; the others wait for it here, where no timeout runs."""
        module: SpeechModule = pl_module
        now = time.monotonic()
        ends = module.step % self.steps_per_epoch == 0 or module.step == module.total_steps
        if not ends_step(trainer, batch_idx) or not ends:
            return
        if trainer.is_global_zero and now >= self.earliest_s:
            note("drawing the page")
            self.refresh()
            ended = time.monotonic()
            self.earliest_s = ended + (ended - now) / LARGEST_SHARE
        meet()
