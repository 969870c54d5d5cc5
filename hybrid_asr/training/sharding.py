"""A model whose weights are spread over the processes (fully sharded data parallel, Zhao et al., 2023), and its states.

A saved state knows nothing of it: weights and the optimizer's state are whole there, under the names and numbers that
they have in a single process.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Spread the weights of each layer of the encoder and the decoder over the processes, then all other weights."""
    for name, stack in model.named_modules():
        if name.split(".")[-1] == "layers" and isinstance(stack, nn.ModuleList):
            for layer in stack:
                fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(value: Any) -> Any:
    """A tensor that is spread, put together in all processes, which must all call this; anything else as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def whole_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state as it is in a single process; what is spread is put together on the host: all call this."""
    state = optimizer.state_dict()
    entries = {
        number: {name: whole(value).cpu() if isinstance(value, DTensor) else value for name, value in entry.items()}
        for number, entry in state["state"].items()
    }
    return state | {"state": entries}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Take a whole state, of which each process keeps what belongs to its part of the weights."""
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    entries = {
        number: {name: _like(value, weight) for name, value in state["state"][number].items()}
        for number, weight in zip(numbers, weights, strict=True)
        if number in state["state"]
    }
    optimizer.load_state_dict(state | {"state": entries})


def _like(value: Any, weight: Tensor) -> Any:
    """Spread as its weight is, if it has a number for each of the weight's."""
    if not isinstance(weight, DTensor) or not isinstance(value, Tensor) or value.shape != weight.shape:
        return value
    return distribute_tensor(value, weight.device_mesh, weight.placements, src_data_rank=None)
