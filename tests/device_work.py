"""What a piece of code asks of a device, counted without one: kernels launched, and reads by which the host waits.

`device_branches` makes the package take on a CPU the branches that it takes on a GPU (`common/device.py`), and `Work`
counts what runs meanwhile: every operation but views and allocations is a kernel. A dispatch mode alone sees neither
`.tolist()` of several numbers nor a copy from CPU to CPU, so the methods that read a tensor are watched, too.
"""

import contextlib
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hybrid_asr.common import device

READING_METHODS = ("tolist", "item", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__")
READING_OPERATIONS = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "equal",
    "is_nonzero",
}
ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh"}
TORCH = Path(torch.__file__).parent
PACKAGE = Path(device.__file__).parents[1]


@contextlib.contextmanager
def device_branches() -> Iterator[None]:
    """While the block runs, a CPU counts as a device whose results the host would have to wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device, "HOSTS", frozenset())
        yield


class Work(TorchDispatchMode):
    """Counts `kernels` by name, and `reads` by what reads and where: 'tolist at decoding/joint.py:_unfinished'."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.reads: Counter[str] = Counter()
        self.patch = pytest.MonkeyPatch()
        self.reading = False  # a method that reads calls operations that do

    def __enter__(self) -> "Work":
        for name in READING_METHODS:
            self.patch.setattr(Tensor, name, self._watched(name, getattr(Tensor, name)))
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        self.patch.undo()
        super().__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if name in READING_OPERATIONS or _selects_by_booleans(name, args):
            self._note(name)
        if not func.is_view and name not in ALLOCATIONS:
            self.kernels[name] += 1
        return func(*args, **(kwargs or {}))

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def read(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            outermost, self.reading = not self.reading, True
            try:
                if outermost:
                    self.reads[f"{name.strip('_')} at {_caller()}"] += 1
                return method(tensor, *args, **kwargs)
            finally:
                self.reading = not outermost

        return read

    def _note(self, name: str) -> None:
        if not self.reading:
            self.reads[f"{name} at {_caller()}"] += 1


def _selects_by_booleans(name: str, args: Any) -> bool:
    """Whether a boolean index decides how many numbers there are, for which the host must wait.

    It need not where one number is written to all places: that is a masked fill.
    """
    if name not in ("index", "index_put", "index_put_") or (name != "index" and args[2].numel() == 1):
        return False
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])


def _caller() -> str:
    """The innermost function of the package, or else of the test."""
    frame, outside = sys._getframe(1), None
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if PACKAGE in path.parents:
            return f"{path.relative_to(PACKAGE)}:{frame.f_code.co_name}"
        if outside is None and TORCH not in path.parents and path.name != Path(__file__).name:
            outside = f"{path.name}:{frame.f_code.co_name}"
        frame = frame.f_back
    return outside or "?"
