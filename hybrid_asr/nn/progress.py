"""Modules whose training changes with the share of it that is done."""

from torch import nn


class Scheduled(nn.Module):
    """A module that looks at `progress`, the share of the training that is done, from 0 to 1, while it trains."""

    progress: float = 0.0


def set_progress(model: nn.Module, share: float) -> None:
    """Tell all parts of `model` that want to know; no weight and no state depends on it."""
    for module in model.modules():
        if isinstance(module, Scheduled):
            module.progress = share
