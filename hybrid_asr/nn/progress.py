"""Modules whose behavior in training depends on how much of the training is done."""

from torch import nn


class ProgressDependent(nn.Module):
    """A module that reads `progress`, the share of the training that is done (0 to 1), while it trains.

    Scheduled sampling does: its rate rises during training.
    """

    progress: float = 0.0


def set_progress(model: nn.Module, share: float) -> None:
    """Set `progress` in all modules of `model` that depend on it; weights and saved state do not."""
    for module in model.modules():
        if isinstance(module, ProgressDependent):
            module.progress = share
