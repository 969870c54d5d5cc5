"""The device that a model runs on."""

import re

import torch

from hybrid_asr.common.errors import UserError


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name: `cpu`, `cuda`, `cuda:1`, …; `auto` is a GPU where there is one.

    Raises UserError for one that is not here, or of a kind that is not supported.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda" if count else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        hint = "a GPU is called 'cuda'" if name.startswith("gpu") else "use 'auto', 'cpu', 'cuda' or 'cuda:0'"
        raise UserError(f"device '{name}': there is no such device; {hint}")
    if name != "cpu" and not count:
        raise UserError(f"device '{name}': {_why_no_gpu()}; use 'cpu', or 'auto', which takes a GPU where there is one")
    if int(name.partition(":")[2] or 0) >= max(count, 1):
        raise UserError(f"device '{name}': this machine shows {count} GPUs, 'cuda:0' to 'cuda:{count - 1}'; use one")
    return torch.device(name)


def _why_no_gpu() -> str:
    if not torch.backends.cuda.is_built():
        return f"this PyTorch ({torch.__version__}) is built for CPUs alone"
    return "PyTorch sees no GPU here (nvidia-smi lists them, CUDA_VISIBLE_DEVICES may hide them)"
