"""The scale of the loss in float16, whose gradients would vanish without one; nobody asks the device for it."""

from collections.abc import Iterable

import torch
from torch import Tensor

START = 65536.0
GROWTH, BACKOFF = 2.0, 0.5
INTERVAL = 2000  # updates without an overflow after which the scale grows


class LossScale:
    """Dynamic loss scaling (Micikevicius et al., 2018), as `torch.amp.GradScaler` does it, all of it on the device.

    The scale is halved by an update whose gradient is not finite, and doubled after `INTERVAL` that were.
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), START, device=device)
        self.streak = torch.zeros((), dtype=torch.int32, device=device)

    def of(self, loss: Tensor) -> Tensor:
        """The loss, scaled."""
        return loss * self.scale

    def undo(self, gradients: Iterable[Tensor]) -> None:
        """Divide gradients by the scale, in place."""
        inverse = 1.0 / self.scale
        for gradient in gradients:
            gradient.mul_(inverse)

    def update(self, overflow: Tensor) -> None:
        """Change the scale by whether (1.0) the gradient was not finite."""
        torch.ops.aten._amp_update_scale_(self.scale, self.streak, overflow, GROWTH, BACKOFF, INTERVAL)

    def state(self) -> dict[str, float]:
        """What a saved state must hold. Waits for the device."""
        return {"scale": float(self.scale), "streak": float(self.streak)}

    def load(self, state: dict[str, float]) -> None:
        """Go on from a saved state."""
        self.scale.fill_(state["scale"])
        self.streak.fill_(int(state["streak"]))
