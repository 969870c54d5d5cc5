"""Linear layers that a loop over time uses at every step, with their gradient in one product at its end.

Axes: N rows of a step, K inputs, M outputs.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class LoopLinear:
    """`layer` for the steps of one loop: the same products, but the weights' gradient of all steps in one.

    A step has few rows, and its gradient for the weights, as large as they, costs more to write and to add to that of
    the other steps than the step itself. In evaluation, and in mixed precision, this is the layer as it is.
    """

    def __init__(self, layer: nn.Linear):
        self.layer = layer
        self.gathered: list[_Step] = []
        direct = not layer.weight.requires_grad or not torch.is_grad_enabled() or _mixed(layer.weight)
        self.token = None if direct else _Gather.apply(layer.weight, self.gathered)

    def __call__(self, rows: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        if self.token is None:
            return self.layer(rows)
        product = _Product.apply(rows, self.token, self.layer.weight.detach(), self.gathered)
        return product if self.layer.bias is None else product + self.layer.bias


class _Step(NamedTuple):
    """What a step leaves for the weights' gradient."""

    rows: Tensor
    gradient: Tensor


def _mixed(weight: Tensor) -> bool:
    return torch.is_autocast_enabled(weight.device.type)


class _Gather(torch.autograd.Function):
    """The node behind all steps of a loop: autograd comes to it when they are all done."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, gathered: list[_Step]) -> Tensor:
        ctx.gathered = gathered
        return weight.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows, outputs = (
            torch.cat([part.flatten(0, -2) for part in parts]) for parts in zip(*ctx.gathered, strict=True)
        )
        ctx.gathered.clear()  # there may be another pass over the same graph
        return outputs.T @ rows, None


class _Product(torch.autograd.Function):
    """rows · Wᵀ; on the way back it leaves what the weights need in `gathered`."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, token: Tensor, weight: Tensor, gathered: list[_Step]) -> Tensor:
        ctx.save_for_backward(rows, weight)
        ctx.gathered = gathered
        return F.linear(rows, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        rows, weight = ctx.saved_tensors
        ctx.gathered.append(_Step(rows, gradients[0]))
        return gradients[0] @ weight, gradients[0].new_zeros(()), None, None
