"""Layers that are tuned for training and search on a CPU; on a GPU they are torch's own.

`Linear` multiplies by oneDNN where that is faster, `Dropout` draws its masks as bytes, and `LoopLinear` computes a
weight's gradient once for all steps of a loop. The other layers import them from here and know nothing of the reasons,
which are in docs/lessons.md with the times measured.

Axes: N rows, K inputs, M outputs.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_asr.common.device import on_host
from hybrid_asr.nn import onednn


class Linear(nn.Linear):
    """x · Wᵀ + b, as `nn.Linear`, with weights of the same names and shapes.

    In float32 on an AMD processor the products go through oneDNN: MKL, which torch chooses there, uses half of the
    machine (195 instead of 420 GFLOP/s on two cores of an EPYC). In evaluation mode the weights are also kept in
    oneDNN's packed layout, for the few rows per step of a beam search.
    """

    _packed: tuple[tuple, Tensor] | None = None  # which weights were packed, and these in oneDNN's layout

    def forward(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Multiply the last dimension."""
        if self.training:
            self._forget()
        elif not torch.is_grad_enabled() and onednn.packing_pays(input, self.weight):
            return onednn.linear(input.flatten(0, -2), self.packed(), self.bias).unflatten(0, input.shape[:-1])
        if onednn.pays(input, self.weight):
            return onednn.OneDnnLinear.apply(input, self.weight, self.bias)  # type: ignore[no-any-return]
        return F.linear(input, self.weight, self.bias)

    def packed(self) -> Tensor:
        """The weights in oneDNN's layout, packed again where they have changed.

        A fused optimizer does not count its changes in `_version`, but it works in training mode, which drops the
        packed weights: at the call of `train`, or at the next forward where `training` was set by hand, as Lightning
        does. A change through `.data` or under inference mode while the layer evaluates is not noticed.
        """
        weight = self.weight
        version = (weight.data_ptr(), weight.dtype, None if weight.is_inference() else weight._version)
        if self._packed is None or self._packed[0] != version:
            self._packed = version, onednn.pack(weight)
        return self._packed[1]

    def train(self, mode: bool = True) -> "Linear":
        """Switch between training and evaluation; training drops the packed weights."""
        if mode:
            self._forget()
        return super().train(mode)

    def _forget(self) -> None:
        if self._packed is not None:
            self._packed = None

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the packed weights, which torch can neither copy nor save."""
        return {key: value for key, value in self.__dict__.items() if key != "_packed"}


class Dropout(nn.Module):
    """Zero each value with probability `p` in training and scale the rest by 1 / (1 - p) (Srivastava et al., 2014).

    On a CPU `nn.Dropout` draws a float per value on one thread. Here a mask costs one random byte per value, eight to a
    64-bit word, so that `p` is rounded to a multiple of 1/256 (0.1 becomes 26/256); the scale follows the rounded
    value, and the expectation stays exact.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        assert 0 <= p < 1, p
        self.p = p
        self.threshold = min(round(p * 256), 255)  # 256 would leave nothing to scale

    def forward(self, values: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Drop some of `values` in training mode; return them as they are in evaluation."""
        if not self.training or self.p == 0:
            return values
        if not on_host(values.device):
            return nn.functional.dropout(values, self.p)
        keep = torch.ge(_random_bytes(values), self.threshold)
        mask = keep.view(torch.uint8)  # multiplying by bytes is faster than by bools
        return _MaskedScale.apply(values, mask, 256 / (256 - self.threshold))

    def extra_repr(self) -> str:
        """`p`, for the model's printout."""
        return f"p={self.p}"


def _random_bytes(like: Tensor) -> Tensor:
    """Uniform bytes in the shape of `like`, from torch's default generator."""
    words = torch.empty((like.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.uint8)[: like.numel()].view(like.shape)


class _MaskedScale(torch.autograd.Function):
    """values * mask * scale, which saves only the mask for the backward pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(mask)
        ctx.scale = scale
        return torch.mul(values, mask).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (mask,) = ctx.saved_tensors
        return torch.mul(gradients[0], mask).mul_(ctx.scale), None, None


class LoopLinear:
    """`layer` for the steps of one loop: the same products, but the weights' gradient of all steps in one product.

    A step has few rows, and its gradient for the weights, as large as they are, costs more to write and to add to that
    of the other steps than the step itself. In evaluation and in mixed precision this is the layer as it is.
    """

    def __init__(self, layer: nn.Linear) -> None:
        self.layer = layer
        self.steps: list[_Step] = []
        mixed = torch.is_autocast_enabled(layer.weight.device.type)
        direct = not layer.weight.requires_grad or not torch.is_grad_enabled() or mixed
        self.token = None if direct else _WeightGradient.apply(layer.weight, self.steps)

    def __call__(self, rows: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """The layer's output for the rows of one step."""
        if self.token is None:
            return self.layer(rows)
        product = _StepProduct.apply(rows, self.token, self.layer.weight.detach(), self.steps)
        return product if self.layer.bias is None else product + self.layer.bias


class _Step(NamedTuple):
    """What the weights' gradient needs of a step."""

    rows: Tensor
    gradient: Tensor


class _WeightGradient(torch.autograd.Function):
    """The node that all steps of a loop depend on: autograd reaches it once they are all done."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, steps: list[_Step]) -> Tensor:
        ctx.steps = steps
        return weight.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        rows, outputs = (torch.cat([part.flatten(0, -2) for part in parts]) for parts in zip(*ctx.steps, strict=True))
        ctx.steps.clear()  # there may be another pass over the same graph
        return outputs.T @ rows, None


class _StepProduct(torch.autograd.Function):
    """rows · Wᵀ, whose backward pass appends what the weights' gradient needs to `steps`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, token: Tensor, weight: Tensor, steps: list[_Step]) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.steps = steps
        return F.linear(rows, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        rows, weight = ctx.saved_tensors
        ctx.steps.append(_Step(rows, gradients[0]))
        return gradients[0] @ weight, gradients[0].new_zeros(()), None, None
