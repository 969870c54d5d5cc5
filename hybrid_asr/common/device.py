"""Where code takes another way on a device than on the host: the one place that says which is which."""

import torch

HOSTS = frozenset({"cpu"})  # devices whose numbers can be read without waiting; empty in tests of the other branches


def on_host(device: torch.device) -> bool:
    """Whether the host computes there itself: nothing waits for a read, and a launch costs nothing."""
    return device.type in HOSTS
