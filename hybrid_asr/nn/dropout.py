"""Dropout whose masks are drawn as bytes on a CPU, where `nn.Dropout` draws a float for each value on one thread."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Dropout(nn.Module):
    """Zero each value with probability `p` in training and scale the rest by 1 / (1 - p) (Srivastava et al., 2014).

    On a CPU a mask costs one random byte a value, eight to a 64-bit word, so that `p` is rounded to a multiple of 1/256
    (0.1 becomes 26/256) and the scale follows the rounded value: the expectation stays exact.
    """

    def __init__(self, p: float):
        super().__init__()
        assert 0 <= p < 1, p
        self.p = p
        self.threshold = min(round(p * 256), 255)  # 256 would leave nothing to scale

    def forward(self, values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        if not self.training or self.p == 0:
            return values
        if values.device.type != "cpu":
            return nn.functional.dropout(values, self.p)
        mask = torch.ge(_random_bytes(values), self.threshold).view(
            torch.uint8
        )  # times bytes is faster than times bools
        return _MaskedScale.apply(values, mask, 256 / (256 - self.threshold))

    def extra_repr(self) -> str:
        return f"p={self.p}"


def _random_bytes(like: Tensor) -> Tensor:
    """Uniform bytes in the shape of `like`, from torch's default generator."""
    words = torch.empty((like.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.uint8)[: like.numel()].view(like.shape)


class _MaskedScale(torch.autograd.Function):
    """values * mask * scale, keeping only the mask for the way back."""

    @staticmethod
    def forward(ctx, values, mask, scale):
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return torch.mul(values, mask).mul_(scale)

    @staticmethod
    def backward(ctx, *gradients):
        (mask,) = ctx.saved_tensors
        return torch.mul(gradients[0], mask).mul_(ctx.scale), None, None
