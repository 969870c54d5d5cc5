"""Weights and inputs are the same in every run, whatever ran before; plugins are as if installed."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> None:
    """Start torch's generator anew."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def plugins(monkeypatch, checkout) -> None:
    """The example package, and broken ones, by the entry points that `plugins/` holds."""
    monkeypatch.syspath_prepend(checkout / "docs/plugin_example")
    monkeypatch.syspath_prepend(Path(__file__).parent / "plugins")
