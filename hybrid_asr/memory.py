"""What the C library does with memory that is freed."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt's numbers of these settings, from glibc's malloc.h


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees; returns whether the C library can (glibc can).

    A training step takes and frees the same gigabytes as the one before. By default glibc gives large blocks back to
    the system each time, and fetching them again, a page of 4 kB at a time, was a quarter of a step on a CPU.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library, another system
        return False
    return bool(mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, -1))
