"""The device that a model runs on."""

import torch


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)
