"""Numbers on their way from the device to the host, for which nobody waits."""

from typing import Any

import torch
from torch import Tensor


class HostCopy:
    """A copy of `values` on the host, begun here and read later: a GPU makes it when its queue has come so far."""

    def __init__(self, values: Tensor) -> None:
        self._ready: torch.cuda.Event | None = None
        if values.device.type != "cuda":
            self._copy = values.detach()
            return
        self._copy = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
        self._copy.copy_(values.detach(), non_blocking=True)
        self._ready = torch.cuda.Event()
        self._ready.record()

    def read(self) -> list[Any]:
        """The numbers; waits only where the device has not come so far."""
        if self._ready is not None:
            self._ready.synchronize()
        return self._copy.tolist()
