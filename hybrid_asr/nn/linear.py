"""The linear layer, by whichever library multiplies faster here.  Axes: M rows, K inputs, N outputs."""

import functools
import platform
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_PRODUCTS = 2**22  # multiplications below which preparing oneDNN costs more than it saves
PACKED_BELOW = (
    512  # numbers of rows, as a search has them, for which weights laid out anew are a fifth to a third faster
)
ROUNDED_TO = 32  # numbers of rows are rounded up to a multiple of this …
ROUNDED_BELOW = 4096  # … where a kernel made for each number would cost more than the zeros


class Linear(nn.Linear):
    """x · Wᵀ + b, as `nn.Linear`, whose weights it shares.

    In float32 on a processor of AMD the products go through oneDNN: torch's own choice there, MKL, leaves half of the
    machine unused (195 instead of 420 GFLOP/s on two cores of an EPYC; see docs/lessons.md). In evaluation mode the
    weights are kept in oneDNN's own layout as well, for the few rows that a search has, time and again.
    """

    _packed: tuple[tuple, Tensor] | None = None  # which weights they are, and these in oneDNN's layout

    def forward(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        if self.training:
            self._forget()
        elif not torch.is_grad_enabled() and _packing_serves(input, self.weight):
            return _product(input.flatten(0, -2), self.packed(), self.bias).unflatten(0, input.shape[:-1])
        if _serves(input, self.weight) and onednn_is_faster():
            return _OneDnnLinear.apply(input, self.weight, self.bias)  # type: ignore[no-any-return]
        return F.linear(input, self.weight, self.bias)

    def packed(self) -> Tensor:
        """The weights in oneDNN's layout, made anew where they have changed.

        A fused optimizer does not count its changes in `_version`, but it works in training mode, which forgets them:
        with the call of `train`, or with the next forward where `training` was set by hand, as Lightning does. A change
        through `.data` or under inference mode while the layer evaluates is not seen.
        """
        weight = self.weight
        which = (weight.data_ptr(), weight.dtype, None if weight.is_inference() else weight._version)
        if self._packed is None or self._packed[0] != which:
            self._packed = which, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)
        return self._packed[1]

    def train(self, mode: bool = True) -> "Linear":
        if mode:
            self._forget()
        return super().train(mode)

    def _forget(self) -> None:
        if self._packed is not None:
            self._packed = None

    def __getstate__(self) -> dict:
        return {
            key: value for key, value in self.__dict__.items() if key != "_packed"
        }  # it can be neither copied nor saved


def _packing_serves(values: Float[Tensor, "*rows inputs"], weight: Float[Tensor, "outputs inputs"]) -> bool:
    """Whether oneDNN takes such values and they are a search's: few rows, time and again."""
    rows = values.shape[:-1].numel()
    plain = values.is_cpu and values.dtype == weight.dtype and values.dtype in (torch.float32, torch.bfloat16)
    few = 0 < rows < PACKED_BELOW and len(weight) >= 64 and not torch.compiler.is_compiling()
    return plain and few and not torch.is_autocast_enabled("cpu") and onednn_is_faster()


def _serves(values: Float[Tensor, "*rows inputs"], weight: Float[Tensor, "outputs inputs"]) -> bool:
    """Whether oneDNN takes such values: float32 on the host, and enough of them. Inductor cannot compile the call."""
    plain = values.is_cpu and values.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return plain and values.numel() * len(weight) >= LEAST_PRODUCTS and not torch.compiler.is_compiling()


@functools.cache
def onednn_is_faster() -> bool:
    """Whether this is where it was measured: an x86 processor that MKL does not know as Intel's."""
    if platform.machine() != "x86_64" or not torch.backends.mkldnn.is_available():
        return False
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "AuthenticAMD" in cpuinfo.read_text(encoding="ascii", errors="replace")


def _product(
    left: Float[Tensor, "*rows k"], right: Float[Tensor, "n k"], bias: Tensor | None = None
) -> Float[Tensor, "*rows n"]:
    """left · rightᵀ + bias by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")


class _OneDnnLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, weight, bias):
        rows = _padded(values.flatten(0, -2))
        ctx.save_for_backward(rows, weight)
        ctx.shape, ctx.has_bias = values.shape, bias is not None
        return _unpadded(_product(rows, weight, bias), values.shape)

    @staticmethod
    def backward(ctx, *gradients):
        rows, weight = ctx.saved_tensors
        gradient = _padded(gradients[0].flatten(0, -2))
        for_values = for_weight = for_bias = None
        if ctx.needs_input_grad[0]:
            for_values = _unpadded(_product(gradient, weight.t()), ctx.shape)
        if ctx.needs_input_grad[1]:  # the longer side of the result first: oneDNN is a third faster that way round
            wide = gradient.shape[1] >= rows.shape[1]
            for_weight = _product(rows.t(), gradient.t()).t() if wide else _product(gradient.t(), rows.t())
        if ctx.has_bias and ctx.needs_input_grad[2]:
            for_bias = gradient.sum(0)
        return for_values, for_weight, for_bias


def _padded(rows: Float[Tensor, "m k"]) -> Float[Tensor, "padded k"]:
    """Zero rows below, so that batches of all lengths have a few shapes: oneDNN compiles a kernel for each, 0.5 ms."""
    return F.pad(rows, (0, 0, 0, -len(rows) % ROUNDED_TO)) if len(rows) < ROUNDED_BELOW else rows


def _unpadded(rows: Float[Tensor, "padded k"], shape: torch.Size) -> Tensor:
    """The real rows, in the dimensions of `shape`."""
    return rows[: shape[:-1].numel()].view(*shape[:-1], -1)
