"""Weights and inputs are the same in every run, whatever ran before."""

import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> None:
    """Start torch's generator anew."""
    torch.manual_seed(0)
