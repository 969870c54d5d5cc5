"""The linear layer, by whichever library multiplies faster here.  Axes: M rows, K inputs, N outputs."""

import functools
import platform
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_PRODUCTS = 2**22  # multiplications below which preparing oneDNN costs more than it saves


class Linear(nn.Linear):
    """x · Wᵀ + b, as `nn.Linear`, whose weights it shares.

    In float32 on a processor of AMD the products go through oneDNN: torch's own choice there, MKL, leaves half of the
    machine unused (195 instead of 420 GFLOP/s on two cores of an EPYC; see docs/lessons.md).
    """

    def forward(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        if not (input.is_cpu and input.dtype == torch.float32 and onednn_is_faster()):
            return F.linear(input, self.weight, self.bias)
        if torch.is_autocast_enabled("cpu") or input.numel() * self.out_features < LEAST_PRODUCTS:
            return F.linear(input, self.weight, self.bias)
        return _OneDnnLinear.apply(input, self.weight, self.bias)  # type: ignore[no-any-return]


@functools.cache
def onednn_is_faster() -> bool:
    """Whether this is where it was measured: an x86 processor that MKL does not know as Intel's."""
    if platform.machine() != "x86_64" or not torch.backends.mkldnn.is_available():
        return False
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "AuthenticAMD" in cpuinfo.read_text(encoding="ascii", errors="replace")


def _product(left: Float[Tensor, "m k"], right: Float[Tensor, "n k"], bias: Tensor | None = None) -> Tensor:
    """left · rightᵀ + bias by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, weight, bias):
        ctx.save_for_backward(values, weight)
        ctx.has_bias = bias is not None
        return _product(values, weight, bias)

    @staticmethod
    def backward(ctx, *gradients):
        values, weight = ctx.saved_tensors
        rows, gradient = values.flatten(0, -2), gradients[0].flatten(0, -2)
        for_values = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_values = _product(gradient, weight.t()).view(values.shape)
        if ctx.needs_input_grad[1]:  # the longer side of the result first: oneDNN is a third faster that way round
            wide = gradient.shape[1] >= rows.shape[1]
            for_weight = _product(rows.t(), gradient.t()).t() if wide else _product(gradient.t(), rows.t())
        if ctx.has_bias and ctx.needs_input_grad[2]:
            for_bias = gradient.sum(0)
        return for_values, for_weight, for_bias
