"""One training a folder: the first process holds the lock of the run's folder for all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hybrid_asr.common.lock import FolderLock
from hybrid_asr.common.lock_holder import Holder
from hybrid_asr.training.launch_environment import is_rank_zero
from hybrid_asr.training.messages import print_stderr, rank_zero_print
from hybrid_asr.training.process_group import USER_MISTAKE, together


@contextlib.contextmanager
def hold_folder_lock(folder: Path) -> Iterator[None]:
    """Keep other trainings out of `folder`, which is made if need be. Raises LockError where one runs there.

    Where another training has taken the lock over, since this process was not heard, this process ends at once.
    """

    def end(holder: Holder | None) -> None:
        who = "another process" if holder is None else holder.text()
        print_stderr(f"\n{folder}: {who}, has taken the lock over, since this training was not heard; it ends here")
        os._exit(USER_MISTAKE)

    lock = FolderLock(folder, lost=end)
    try:
        former = together(lambda: lock.take() if is_rank_zero() else None)
        if former is not None:
            rank_zero_print(f"the lock in {folder} was left by {former.text()}, which has ended without saving")
        yield
    finally:
        lock.release()
