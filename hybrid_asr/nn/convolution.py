"""The Conformer's convolution module.  Axes: B utterances, T frames, D width."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_asr.nn.cpu import Linear
from hybrid_asr.nn.feed_forward import ACTIVATIONS, Activation


class ConvolutionModule(nn.Module):
    """Pointwise, gate, depthwise over time, norm, pointwise (Gulati et al., 2020).

    The norm is a LayerNorm by default: batch statistics would make an utterance depend on its neighbors in training.
    Padded frames are zeroed right before the depthwise convolution; earlier would not do, since the pointwise bias
    fills them again.
    """

    def __init__(
        self, dim: int, kernel: int, norm: Literal["layer", "batch"] = "layer", *, activation: Activation = "silu"
    ) -> None:
        super().__init__()
        self.gate = Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim) if norm == "layer" else FrameBatchNorm(dim)
        self.activation = ACTIVATIONS[activation]()
        self.output = Linear(dim, dim)

    def forward(
        self, values: Float[Tensor, "batch time dim"], valid: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time dim"]:
        """Mix neighboring real frames; `valid` marks them."""
        gated = F.glu(self.gate(values), dim=-1) * valid[..., None]
        mixed = self.depthwise(gated.transpose(1, 2)).transpose(1, 2)
        normed = self.norm(mixed, valid) if isinstance(self.norm, FrameBatchNorm) else self.norm(mixed)
        return self.output(self.activation(normed))


class FrameBatchNorm(nn.BatchNorm1d):
    """Batch normalization (Ioffe and Szegedy, 2015) by the statistics of a device's real frames."""

    def forward(  # type: ignore[override]
        self, values: Float[Tensor, "batch time dim"], valid: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "batch time dim"]:
        """Normalize; in training the running statistics, which evaluation uses, move towards those of this batch."""
        mean, variance = self.running_mean, self.running_var
        assert mean is not None and variance is not None and self.momentum is not None
        if self.training:
            mask, count = valid[..., None], valid.sum().clamp(min=1)
            exact = values.float() if values.dtype == torch.bfloat16 else values
            batch_mean = (exact * mask).sum((0, 1)) / count
            batch_variance = ((exact - batch_mean) * mask).square().sum((0, 1)) / count
            with torch.no_grad():  # statistics that are not finite are ignored; so is the update that they belong to
                unbiased = batch_variance * count / (count - 1).clamp(min=1)
                share = self.momentum * (batch_mean + unbiased).isfinite().all().to(mean.dtype)
                mean.lerp_(batch_mean.nan_to_num(), share)
                variance.lerp_(unbiased.nan_to_num(), share)
            mean, variance = batch_mean, batch_variance
        scale = self.weight * (variance + self.eps).rsqrt()
        return values * scale.to(values.dtype) + (self.bias - mean * scale).to(values.dtype)
