"""Memory of a process or a GPU: free bytes, bytes in use, the peak of a piece of work, and glibc's allocator."""

import ctypes
import gc
import re
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")

# mallopt's numbers of these settings, from glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -3, -4, -8


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


def release_unused() -> None:
    """Return cached, unused memory to the system, after collecting unreachable Python objects with their tensors."""
    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim_heap()


def trim_heap() -> None:
    """Give what is freed back to the system once, `keep_freed_memory` or not; what is freed later is kept again.

    After work on large arrays that is done seldom: otherwise each of many processes keeps its peak.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def measure_peak(device: torch.device, work: Callable[[], T]) -> tuple[T, int | None]:
    """The result of `work`, and the peak of memory during it in bytes: resident in the process, or of a GPU's tensors.

    The peak is None where the system does not provide it (Linux does, where /proc may be written to).
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return work(), torch.cuda.max_memory_allocated(device)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return work(), None
    return work(), _process_sizes().get("VmHWM")


def held_bytes(device: torch.device) -> int | None:
    """The bytes in use now, counted as in `measure_peak`; None where the system does not provide it."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else _process_sizes().get("VmRSS")


def free_bytes(device: torch.device) -> int:
    """The bytes that can still be allocated on the GPU, or on the machine within the process's and cgroups' limits."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    limits = [_kilobytes("/proc/meminfo").get("MemAvailable", 1 << 33), *_cgroup_limits()]
    for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY:
            limits.append(most - _process_sizes().get(used, 0))
    return max(0, min(limits)) + _unused()


@contextmanager
def limited_memory(most: int) -> Iterator[None]:
    """Let this process take about `most` resident bytes in the block: beyond them an allocation fails.

    Limited are its addresses, to those that it has now and what is left of `most`, since Linux limits nothing else.
    Another system may limit nothing.
    """
    sizes, former = _process_sizes(), resource.getrlimit(resource.RLIMIT_AS)
    if "VmSize" in sizes and "VmRSS" in sizes:
        room = max(0, most - sizes["VmRSS"])
        resource.setrlimit(resource.RLIMIT_AS, (sizes["VmSize"] + room, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, former)


class _MallocInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _NAMES = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    _fields_ = tuple((name, ctypes.c_size_t) for name in _NAMES)


def _unused() -> int:
    """The bytes that the C library keeps for this process, but that are not allocated."""
    mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if mallinfo is None:  # another C library
        return 0
    mallinfo.restype = _MallocInfo
    return int(mallinfo().fordblks)


def _process_sizes() -> dict[str, int]:
    return _kilobytes("/proc/self/status")


def _kilobytes(path: str) -> dict[str, int]:
    """The sizes that a file of /proc lists, in bytes."""
    try:
        text = Path(path).read_text()
    except OSError:  # another system
        return {}
    return {name: 1024 * int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def _cgroup_limits() -> list[int]:
    """What each control group of this process still allows, of both cgroup versions; page cache counts as free."""
    limits = []
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    for line in groups:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            base, most, used, cache = Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            base, cache = Path("/sys/fs/cgroup/memory"), "total_inactive_file"
            most, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        inner = Path(path.strip("/"))
        for folder in (base / inner, *(base / parent for parent in inner.parents)):
            limit = _cgroup_free(folder / most, folder / used, folder / "memory.stat", cache)
            limits += [] if limit is None else [limit]
    return limits


def _cgroup_free(most: Path, used: Path, statistics: Path, cache: str) -> int | None:
    """What one control group still allows; None where it has no limit."""
    try:
        limit = most.read_text().strip()
        if not limit.isdecimal():
            return None
        dropped = re.search(rf"^{cache} (\d+)", statistics.read_text(), re.MULTILINE)
        return int(limit) - int(used.read_text()) + (int(dropped[1]) if dropped else 0)
    except OSError:
        return None
