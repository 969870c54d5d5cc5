"""Matrix products by oneDNN, and when they pay; for `nn/cpu.py` alone.  Axes: M rows, K inputs, N outputs."""

import functools
import platform
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hybrid_asr.common.device import on_host

LEAST_PRODUCTS = 2**22  # multiplications below which preparing oneDNN costs more than it saves
PACKED_BELOW = 512  # rows below which packed weights are a fifth to a third faster; a search has few rows
ROUNDED_TO = 32  # row counts are rounded up to a multiple of this …
ROUNDED_BELOW = 4096  # … where compiling a kernel for each count would cost more than multiplying zeros


@functools.cache
def onednn_is_faster() -> bool:
    """Whether this is a machine like the one measured: an x86 processor that MKL does not know as Intel's."""
    if platform.machine() != "x86_64" or not torch.backends.mkldnn.is_available():
        return False
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "AuthenticAMD" in cpuinfo.read_text(encoding="ascii", errors="replace")


def packing_pays(values: Float[Tensor, "*rows inputs"], weight: Float[Tensor, "outputs inputs"]) -> bool:
    """Whether oneDNN supports such values and there are few rows, as in every step of a search."""
    rows = values.shape[:-1].numel()
    supported = (
        on_host(values.device) and values.dtype == weight.dtype and values.dtype in (torch.float32, torch.bfloat16)
    )
    few = 0 < rows < PACKED_BELOW and len(weight) >= 64 and not torch.compiler.is_compiling()
    return supported and few and not torch.is_autocast_enabled("cpu") and onednn_is_faster()


def pays(values: Float[Tensor, "*rows inputs"], weight: Float[Tensor, "outputs inputs"]) -> bool:
    """Whether oneDNN supports such values, float32 on a CPU, and there are enough; Inductor cannot compile the call."""
    supported = on_host(values.device) and values.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    enough = supported and values.numel() * len(weight) >= LEAST_PRODUCTS
    return enough and not torch.compiler.is_compiling() and onednn_is_faster()


def pack(weight: Float[Tensor, "outputs inputs"]) -> Tensor:
    """The weights in oneDNN's own layout, which only `linear` can read."""
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)


def linear(
    left: Float[Tensor, "*rows k"], right: Float[Tensor, "n k"], bias: Tensor | None = None
) -> Float[Tensor, "*rows n"]:
    """left · rightᵀ + bias."""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")


class OneDnnLinear(torch.autograd.Function):
    """x · Wᵀ + b with its gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The product, in the dimensions of `values`."""
        rows = _padded(values.flatten(0, -2))
        ctx.save_for_backward(rows, weight)
        ctx.shape, ctx.has_bias = values.shape, bias is not None
        return _unpadded(linear(rows, weight, bias), values.shape)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The gradients for values, weight and bias, as far as they are needed."""
        rows, weight = ctx.saved_tensors
        gradient = _padded(gradients[0].flatten(0, -2))
        for_values = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_values = _unpadded(linear(gradient, weight.t()), ctx.shape)
        if ctx.needs_input_grad[1]:  # with the longer side of the result first oneDNN is a third faster
            wide = gradient.shape[1] >= rows.shape[1]
            for_weight = linear(rows.t(), gradient.t()).t() if wide else linear(gradient.t(), rows.t())
        if ctx.has_bias and ctx.needs_input_grad[2]:
            for_bias = gradient.sum(0)
        return for_values, for_weight, for_bias


def _padded(rows: Float[Tensor, "m k"]) -> Float[Tensor, "padded k"]:
    """Append zero rows, so that batches share a few shapes: oneDNN takes 0.5 ms to compile a kernel for each."""
    return F.pad(rows, (0, 0, 0, -len(rows) % ROUNDED_TO)) if len(rows) < ROUNDED_BELOW else rows


def _unpadded(rows: Float[Tensor, "padded k"], shape: torch.Size) -> Tensor:
    """The real rows, in the dimensions of `shape`."""
    return rows[: shape[:-1].numel()].view(*shape[:-1], -1)
