"""The process that trains: is it the first of several, is it alone in its folder, and how does it end?"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hybrid_asr.common.lock import FolderLock
from hybrid_asr.training.status import tell


def say(text: str) -> None:
    """Tell the user, from the first process alone."""
    if is_first():
        wipe = "\r\033[K" if sys.stderr.isatty() else ""  # the line of progress, which has no end
        tell(f"{wipe}{text}")


def is_first() -> bool:
    """Whether this is the only process of a training, or the first one."""
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):  # of torchrun, of Lightning's own processes, of srun
        if name in os.environ:
            return int(os.environ[name]) == 0 and int(os.environ.get("NODE_RANK", 0)) == 0
    return True


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let no other training into the folder: the first process holds its lock for all."""
    if not is_first():
        yield
        return
    lock = FolderLock(folder)
    former = lock.take()
    try:
        if former is not None:
            say(f"the lock in {folder} was left by {former.text()}, which has ended without saving")
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def terminable(again: str) -> Iterator[None]:
    """Let SIGTERM end this process in an orderly way where nothing can be saved: before the first step, or at once."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except SystemExit as stop:
        say(f"terminated (exit status {stop.code}); what was saved before stays, go on with:\n  {again}")
        raise
    finally:
        signal.signal(signal.SIGTERM, former)
