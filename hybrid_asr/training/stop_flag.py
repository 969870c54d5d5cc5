"""What any process asks for at the end of a step, known to all of them at the end of the next one.

The question travels while the next step is made (`process_group.reduce_later`), so that no step waits for it, and all
processes have the same answer at the same step.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from hybrid_asr.training.process_group import is_connected, reduce_later


class Wishes(NamedTuple):
    """What is asked for: to stop for the signal `stop` (0: none), to save, to halt since something is wrong."""

    stop: int = 0
    save: bool = False
    halt: bool = False


NONE = Wishes()


class StopFlag:
    """One flag for all processes. In a process alone what is asked for holds at once."""

    def __init__(self) -> None:
        self._under_way: Callable[[], Tensor] | None = None
        self._alone = NONE

    def ask(self, wishes: Wishes) -> None:
        """Ask at the end of a step; all processes do, at every step at which none of them stops."""
        if is_connected():
            self._under_way = reduce_later(torch.tensor([wishes.stop, wishes.save, wishes.halt]), "max")
        else:
            self._alone = wishes

    def answer(self) -> Wishes:
        """What any process had asked for when all asked last, the same in all."""
        if not is_connected():
            alone, self._alone = self._alone, NONE
            return alone
        if self._under_way is None:
            return NONE
        stop, save, halt = self._under_way().tolist()
        self._under_way = None
        return Wishes(stop, bool(save), bool(halt))
