"""One training a folder: a lock file that names its holder, who renews its time as long as it lives.

On one machine the kernel tells whether the holder runs: it holds a `flock`, and /proc knows it. Of another machine's
process the heartbeat tells: how long ago the file's time was renewed, by the clock of the file system, since those of
the machines may differ. So a lock is taken over where its holder was killed or its machine is gone, on any host and on
file systems that cannot lock. Whose lock was taken over while it could not beat notices that at its next heartbeat.
"""

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.lock_holder import Holder, current_job, name_of_process
from hybrid_asr.common.problems import tell_user

LOCK = "train.lock"
HEARTBEAT_S = 10.0
STALE_S = 60.0  # without a heartbeat: the holder is taken for dead
SAME_JOB_STALE_S = 25.0  # for one of the same job, which hardly starts twice in one folder
POLL_S = 0.5  # between two looks whether a holder is heard
SETTLE_S = 1.0  # in which another one that takes the same lock over has written its name, too
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # of file systems that cannot lock


class LockError(UserError):
    """A folder in which another process works; the message says who, since when, and what to do."""


def read_holder(folder: Path) -> Holder | None:
    """Who the lock of `folder` names, alive or not; None where there is no lock."""
    try:
        return Holder.parse((folder / LOCK).read_bytes())
    except OSError:
        return None


def is_held(folder: Path) -> bool:
    """Whether a living process holds the lock of `folder`, so far as can be told; nothing is changed there."""
    holder = read_holder(folder)
    if holder is None or holder.has_ended():
        return False
    if holder.is_local() or not holder.heartbeat_s:
        return True
    try:
        age = time.time() - _renewed(folder / LOCK)
        return abs(age) < STALE_S or _age(folder / LOCK) < STALE_S
    except OSError:
        return False


class FolderLock:
    """The lock of a folder, held from `take` to `release`, or to the end of the process, however it ends.

    `lost` is called, in a thread, when another process has taken the lock over, as if this one were dead.
    """

    def __init__(self, folder: Path, *, lost: Callable[[Holder | None], None] = lambda holder: None):
        self.path = folder / LOCK
        self._lost = lost
        self._file: int | None = None
        self._mine = b""
        self._made: list[Path] = []
        self._ended = threading.Event()

    def take(self) -> Holder | None:
        """Lock the folder, making it if need be; returns the dead process whose lock was left there, if any.

        Raises LockError where another process holds the lock. For a heartbeat of another machine's process it waits, up
        to STALE_S.
        """
        missing = [folder for folder in (self.path.parent, *self.path.parent.parents) if not folder.exists()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._made = missing
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                locked = self._flock(file)
                if self._removed(file):  # by a process that ended between our opening and our locking
                    os.close(file)
                    continue
                former = Holder.parse(os.pread(file, 4096, 0))
                self._refuse_living(former, locked)
                self._write(file, settle=locked != "ours" or (former is not None and not former.is_local()))
            except BaseException:
                os.close(file)
                raise
            self._file = file
            threading.Thread(target=self._beat, daemon=True).start()
            return former

    def release(self) -> None:
        """Release the lock and remove its file, and folders that were made for the lock alone."""
        if self._file is None:
            return
        self._ended.set()
        with contextlib.suppress(OSError):
            if self._is_mine():
                self.path.unlink()
            for folder in self._made:
                folder.rmdir()
        os.close(self._file)
        self._file = None

    def _flock(self, file: int) -> str:
        """Whose the kernel's lock is: "ours" now, "another's", or "nobody's" where the file system has none."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "another's"
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return "nobody's"
        return "ours"

    def _refuse_living(self, former: Holder | None, locked: str) -> None:
        """Raise LockError unless the `former` holder has ended, or this process carries on its job."""
        if former is None or former.is_local():
            if locked == "another's" or (former is not None and locked == "nobody's" and not former.has_ended()):
                raise self._taken(former)
            return
        if not former.heartbeat_s:
            raise LockError(
                f"{self.path.parent}: locked by a training on another machine, {former.text()}, of which cannot be "
                f"seen from here whether it still runs; if it does not (ssh {former.host} ps -p {former.pid}), remove "
                f"{self.path} and repeat, else give --folder DIR for a folder of its own"
            )
        age = self._silence(former)
        if age is not None:
            raise self._taken(former, f", heard {max(age, 0):.0f} s ago")

    def _silence(self, former: Holder) -> float | None:
        """Seconds since the `former` holder, of another machine, was heard; None where it has ended.

        A living one is heard within HEARTBEAT_S. A later attempt of the same job knows that the former has ended.
        """
        job = current_job()
        if job.continues(former.job):
            return None
        limit = SAME_JOB_STALE_S if job.name and job.name == former.job.name else STALE_S
        first, deadline, told = _renewed(self.path), time.monotonic() + limit, False
        while (age := _age(self.path)) < limit and time.monotonic() < deadline:
            if _renewed(self.path) > first:
                return age
            if not told:
                tell_user(f"note: {self.path}: waiting up to {limit - age:.0f} s for a sign of life of {former.text()}")
                told = True
            time.sleep(POLL_S)
        return None

    def _taken(self, former: Holder | None, heard: str = "") -> LockError:
        who = former.text() if former is not None else "another process"
        return LockError(
            f"{self.path.parent}: a training runs here, {who}{heard}; wait for it or stop it, or give --folder DIR for "
            "a folder of its own"
        )

    def _write(self, file: int, *, settle: bool) -> None:
        """Put this process's name into the lock. Two may do so at once where nobody holds a flock: the later one wins.

        Raises LockError in the other one.
        """
        self._mine = Holder.current(HEARTBEAT_S).to_json()
        os.pwrite(file, self._mine, 0)
        os.ftruncate(file, len(self._mine))
        os.fsync(file)
        if settle:
            time.sleep(SETTLE_S)
            if not self._is_mine():
                raise self._taken(read_holder(self.path.parent))

    def _is_mine(self) -> bool:
        """Whether the lock still names this process. Over a network only a file that is opened anew is up to date."""
        with contextlib.suppress(FileNotFoundError):
            return self.path.read_bytes() == self._mine
        return False

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):  # a folder that has vanished is found out by who writes there
                if not self._is_mine() and not self._ended.is_set():
                    return self._lost(read_holder(self.path.parent))
                os.utime(self.path)

    def _removed(self, file: int) -> bool:
        try:
            return not os.path.samestat(os.fstat(file), os.stat(self.path))
        except OSError:
            return True


def _age(path: Path) -> float:
    """Seconds since `path` was renewed, by the clock of its file system: by that of a file just written beside it.

    Where none can be written there, by the clock of this machine.
    """
    probe = path.with_name(f".{path.name}.{name_of_process()}.tmp")
    try:
        try:
            probe.write_bytes(b"now")
            now = _renewed(probe)
        finally:
            probe.unlink(missing_ok=True)
    except OSError:
        now = time.time()
    return now - _renewed(path)


def _renewed(path: Path) -> float:
    """When `path` was last written or renewed. It is opened, since over a network only that asks the server."""
    with path.open("rb") as file:
        return os.fstat(file.fileno()).st_mtime
