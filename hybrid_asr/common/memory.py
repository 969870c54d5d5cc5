"""Memory: what is free, what is held at most, and what the C library does with what is freed."""

import ctypes
import gc
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = (
    -1,
    -3,
    -4,
    -8,
)  # mallopt's numbers of these settings, from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees; returns whether the C library can (glibc can).

    A training step takes and frees the same gigabytes as the one before. By default glibc gives large blocks back to
    the system each time, and fetching them again, a page of 4 kB at a time, was a quarter of a step on a CPU.

    Where the process's addresses are limited (`ulimit -v`), it does the opposite, since what is kept there is lost to
    others: large blocks go back at once, and threads do not reserve 64 MB each.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library, another system
        return False
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, 1 << 17)
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))


def give_back() -> None:
    """Let go of memory that is kept but not used, cycles of Python's objects with their tensors among it."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def measured(device: torch.device, work: Callable[[], T]) -> tuple[T, int | None]:
    """Do `work`; also the most bytes that were held meanwhile: resident in the process, or by tensors on a GPU.

    None where the system does not tell (Linux tells, where /proc may be written to).
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return work(), torch.cuda.max_memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return work(), None
    return work(), _of_process().get("VmHWM")


def held(device: torch.device) -> int | None:
    """The bytes that are held now, as in `measured`."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _of_process().get("VmRSS")


def free_bytes(device: torch.device) -> int:
    """The bytes that can be had: of the GPU, or of the machine within this process's and its control groups' limits."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    found = [_kilobytes("/proc/meminfo").get("MemAvailable", 1 << 33), *_of_groups()]
    for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY:
            found.append(most - _of_process().get(used, 0))
    return max(0, min(found)) + _unused()


class _MallocInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _NAMES = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = tuple((name, ctypes.c_size_t) for name in _NAMES)


def _unused() -> int:
    """The bytes that the C library keeps for this process although nothing lies in them."""
    ask = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if ask is None:  # another C library
        return 0
    ask.restype = _MallocInfo
    return int(ask().fordblks)


def _of_process() -> dict[str, int]:
    return _kilobytes("/proc/self/status")


def _kilobytes(path: str) -> dict[str, int]:
    """The sizes that a file of /proc tells, in bytes."""
    try:
        text = Path(path).read_text()
    except OSError:  # another system
        return {}
    return {name: 1024 * int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def _of_groups() -> list[int]:
    """What the control groups of this process leave, in both versions; page cache counts as free."""
    found = []
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in groups:
        number, controllers, place = line.split(":", 2)
        if number == "0":
            base, most, used, cache = Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, cache = Path("/sys/fs/cgroup/memory"), "total_inactive_file"
            most, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        inner = Path(place.strip("/"))
        for folder in (base / inner, *(base / parent for parent in inner.parents)):
            left = _left(folder / most, folder / used, folder / "memory.stat", cache)
            found += [] if left is None else [left]
    return found


def _left(most: Path, used: Path, statistics: Path, cache: str) -> int | None:
    """What one control group leaves; None where it has no limit."""
    try:
        limit = most.read_text().strip()
        if not limit.isdecimal():
            return None
        dropped = re.search(rf"^{cache} (\d+)", statistics.read_text(), re.MULTILINE)
        return int(limit) - int(used.read_text()) + (int(dropped[1]) if dropped else 0)
    except OSError:
        return None
