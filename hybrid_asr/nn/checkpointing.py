"""Activation checkpointing: memory for time (Chen et al., 2016)."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Context = contextlib.AbstractContextManager[None]


def checkpoint_layers(model: nn.Module) -> int:
    """Keep of each layer of a stack named `layers` only its inputs for the backward pass, which computes it once more.

    With the same dropout masks, since the generators are set back, and without another change of a batch norm's
    statistics: losses and gradients are the same, bit for bit. Returns how many layers there are; weights keep their
    names.
    """
    stacks = [stack for name, stack in model.named_modules() if name.split(".")[-1] == "layers"]
    layers = [layer for stack in stacks if isinstance(stack, nn.ModuleList) for layer in stack]
    for layer in layers:
        layer.forward = partial(_forward, layer, layer.forward)
    return len(layers)


def _forward(layer: nn.Module, forward: Callable[..., Tensor], *inputs: Any, **named: Any) -> Any:
    if not (layer.training and torch.is_grad_enabled()):
        return forward(*inputs, **named)
    contexts = partial(_contexts, layer)
    return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=True, context_fn=contexts, **named)


def _contexts(layer: nn.Module) -> tuple[Context, Context]:
    return contextlib.nullcontext(), _buffers_kept(layer)


@contextlib.contextmanager
def _buffers_kept(layer: nn.Module) -> Iterator[None]:
    """Leave the layer's buffers as they are before the block."""
    former = [(buffer, buffer.clone()) for buffer in layer.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in former:
                buffer.copy_(value)
