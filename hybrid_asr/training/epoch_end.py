"""Something to do whenever an epoch has ended and its row is written, such as a page for people."""

import time
from collections.abc import Callable
from typing import Any

import lightning as L

from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.progress import ends_step

MOST = 0.02  # share of the training's time


class EachEpoch(L.Callback):
    """Calls `act` in the first process at an epoch's end, not so often that it costs more than a fiftieth of the time.

    It stands behind the callback that validates, so that `act` sees what that has written.
    """

    def __init__(self, act: Callable[[], object], *, steps_per_epoch: int):
        self.act, self.steps_per_epoch = act, steps_per_epoch
        self.rest_until = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        module: SpeechModule = pl_module
        now = time.monotonic()
        if not trainer.is_global_zero or not ends_step(trainer, batch_idx) or module.step % self.steps_per_epoch:
            return
        if now >= self.rest_until:
            self.act()
            ended = time.monotonic()
            self.rest_until = ended + (ended - now) / MOST
