"""What a training consists of, gathered from all its processes: weights and the optimizer's state, whole."""

from typing import Any

import torch
from torch import Tensor

from hybrid_asr.models.bundle import Bundle


def gather_weights(bundle: Bundle) -> dict[str, Tensor]:
    """All weights under the names of `Bundle.weights`, on their devices; all processes must call this."""
    return bundle.weights()


def gather_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state under the numbers that a single process gives; all processes must call this."""
    return optimizer.state_dict()
