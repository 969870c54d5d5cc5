"""`trainer.deterministic`: only operations whose result is the same each time, or an error that names one."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from hybrid_asr.losses import ctc_loss
from hybrid_asr.nn.ctc_scan import ctc_by_scans


def set_deterministic(wanted: bool) -> None:
    """Let torch use deterministic operations alone, or any.

    An operation that has no deterministic form on a GPU raises RuntimeError where it is used. cuBLAS reads its
    workspace from the environment when a process first uses the GPU.
    """
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(wanted)


@contextmanager
def only_warned() -> Iterator[None]:
    """Decode in here: no weight depends on it, so that torch warns of an operation without a deterministic form."""
    wanted = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted, warn_only=wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(wanted)


def ctc_for(device: torch.device) -> Callable[..., Tensor]:
    """The CTC loss to train with: torch's, or by scans on a GPU that is to be deterministic, as torch's is on a CPU."""
    return ctc_by_scans if device.type == "cuda" and torch.are_deterministic_algorithms_enabled() else ctc_loss
