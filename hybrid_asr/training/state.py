"""What a training consists of: gathered from all its processes, whole; and given to all of them when it resumes."""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from hybrid_asr.models.bundle import Bundle
from hybrid_asr.training.checkpoint import TrainingState
from hybrid_asr.training.process_group import broadcast
from hybrid_asr.training.sharding import whole_optimizer_state
from hybrid_asr.training.tensor_broadcast import broadcast_tensors


def gather_weights(bundle: Bundle) -> dict[str, Tensor]:
    """All weights under the names of `Bundle.weights`, on their devices; `SpeechModule.gather_weights` comes before."""
    return bundle.weights()


def gather_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state under the numbers that a single process gives; all processes must call this."""
    return whole_optimizer_state(optimizer)


def share_state(state: TrainingState | None) -> TrainingState | None:
    """The state that the first process has read, in all; None where it has none. All processes must call this."""
    if not broadcast(state is not None):
        return None
    fields = {} if state is None else {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return TrainingState(**broadcast_tensors(fields))
