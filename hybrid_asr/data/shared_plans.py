"""The plans of epochs on disk, once for all processes of a node: the first that needs one makes it, the others map it.

Processes agree by file locks alone, which the kernel releases when one dies:

    /dev/shm/hybrid-asr-plans-1000/     or in the folder for temporary files
      lock                              held while a process joins or leaves
      3f0c…/                            a training: the digest of all that decides its plans
        users                           every process of it shares a lock on it
        epoch-4/first.npy, …            whole or not there
        epoch-4.lock                    held while it is made
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from hybrid_asr.common.problems import tell_user

Arrays = dict[str, np.ndarray]
IN_MEMORY = "/dev/shm"
RESERVE = 4  # times the size of a plan that must be free: two epochs are kept while a third is written


class SharedPlans:
    """Arrays by name that the processes of a node which have the same `digest` share; `size` is in bytes.

    Without a folder that has room, or can lock, each process keeps its own in memory, with a note.
    """

    def __init__(self, digest: str, *, size: int, roots: tuple[Path, ...] | None = None):
        self._folder: Path | None = None
        self._leave: Callable[[], object] | None = None
        try:
            root = _roomy(roots or _roots(), RESERVE * size)
            self._folder, users = _join(root, digest)
        except OSError as error:
            self._give_up(error)
        else:
            self._leave = weakref.finalize(self, _leave, root, self._folder, users)  # at the latest when Python ends

    def arrays(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        """The arrays that `make` makes, mapped from disk, where another process may have made them."""
        if self._folder is None:
            return make()
        made: Arrays = {}
        try:
            with open(self._folder / f"{name}.lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (self._folder / name).exists():
                    made = make()
                    _write(self._folder / name, made)
            return _map(self._folder / name)
        except OSError as error:
            self._give_up(error)
            return made or make()

    def forget(self, name: str) -> None:
        """Remove arrays that are no longer needed; who has mapped them may go on reading."""
        if self._folder is not None:
            shutil.rmtree(self._folder / name, ignore_errors=True)
            (self._folder / f"{name}.lock").unlink(missing_ok=True)

    def close(self) -> None:
        """Leave the folder, before the process ends; the last process removes it."""
        if self._leave is not None:
            self._leave()
        self._folder = None

    def _give_up(self, error: OSError) -> None:
        self._folder = None
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        tell_user(
            f"note: each process keeps the plans of epochs in its own memory, since no folder can be shared: {what}"
        )


def _roots() -> tuple[Path, ...]:
    name = f"hybrid-asr-plans-{os.getuid()}"
    return Path(IN_MEMORY) / name, Path(tempfile.gettempdir()) / name


def _roomy(roots: tuple[Path, ...], size: int) -> Path:
    """The first of `roots` whose disk has `size` bytes to spare."""
    for root in roots:
        with contextlib.suppress(OSError):
            if shutil.disk_usage(root.parent).free >= size and os.access(root.parent, os.W_OK):
                return root
    raise OSError(errno.ENOSPC, f"less than {size / 1e6:,.0f} MB are free", str(roots[-1].parent))


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Hold the lock of `root`, which is there then, and belongs to this user alone."""
    while True:
        root.mkdir(mode=0o700, exist_ok=True)
        if root.stat().st_uid != os.getuid():
            raise PermissionError(errno.EACCES, "belongs to another user", str(root))
        with contextlib.suppress(FileNotFoundError), open(root / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.fstat(lock.fileno()).st_ino == (root / "lock").stat().st_ino:  # else its last user has removed it
                yield
                return


def _join(root: Path, digest: str) -> tuple[Path, IO[str]]:
    """Remove what killed trainings have left, then enter the folder of this one; gives it and the lock held there."""
    with _locked(root):
        for folder in root.iterdir():
            if folder.is_dir() and not _used(folder):
                shutil.rmtree(folder, ignore_errors=True)
        folder = root / digest
        folder.mkdir(exist_ok=True)
        users = open(folder / "users", "a")  # noqa: SIM115  held until the process leaves
        fcntl.flock(users, fcntl.LOCK_SH)
    return folder, users


def _leave(root: Path, folder: Path, users: IO[str]) -> None:
    """Leave; the last process of a training removes its folder, and the last of all the root."""
    with contextlib.suppress(OSError), _locked(root):
        users.close()
        if not _used(folder):
            shutil.rmtree(folder, ignore_errors=True)
        if [path.name for path in root.iterdir()] == ["lock"]:
            (root / "lock").unlink()
            root.rmdir()


def _used(folder: Path) -> bool:
    """Whether a process lives that has entered a training's folder."""
    try:
        with open(folder / "users") as users:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _write(folder: Path, arrays: Arrays) -> None:
    """Write `folder`, whole or not at all."""
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    try:
        unfinished.mkdir()
        for name, array in arrays.items():
            with open(unfinished / f"{name}.npy", "wb") as file:  # np.save does not notice a full disk
                np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
                file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        unfinished.rename(folder)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _map(folder: Path) -> Arrays:
    return {path.stem: np.asarray(np.load(path, mmap_mode="r")) for path in sorted(folder.glob("*.npy"))}
