"""One training a folder: a lock file that the kernel releases when its process ends, and that names its holder."""

import contextlib
import dataclasses
import datetime
import errno
import fcntl
import json
import os
import socket
from pathlib import Path

from hybrid_asr.common.errors import UserError

LOCK = "train.lock"
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # of file systems that cannot lock


class LockError(UserError):
    """A folder in which another process works; the message says who, since when, and what to do."""


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that a lock names. `started` tells it from a later one with the same `pid`; `since` is ISO-8601."""

    host: str
    pid: int
    started: str
    since: str

    def text(self) -> str:
        """For a message."""
        return f"process {self.pid} on {self.host} since {self.since}"

    def is_local(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.host == socket.gethostname()

    def has_ended(self) -> bool:
        """Whether it has certainly ended; of another machine's processes that cannot be known."""
        return self.is_local() and (not self.started or process_started(self.pid) != self.started)


def process_started(pid: int) -> str:
    """A text that tells the process `pid` from earlier and later ones with that number; empty where none runs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
    state, ticks = fields[0], fields[19]
    return "" if state in "ZX" else f"{boot}/{ticks}"


def utc_now() -> str:
    """The time in UTC, ISO-8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def read_holder(folder: Path) -> Holder | None:
    """Who the lock of `folder` names, alive or not; None where there is no lock."""
    try:
        return _parse((folder / LOCK).read_bytes())
    except OSError:
        return None


class FolderLock:
    """The lock of a folder, held from `take` to `release`, or to the end of the process, however it ends."""

    def __init__(self, folder: Path):
        self.path = folder / LOCK
        self._file: int | None = None
        self._made: list[Path] = []

    def take(self) -> Holder | None:
        """Lock the folder, making it if need be; returns the dead process whose lock was left there, if any.

        Raises LockError where another process holds the lock, or may hold it on another machine.
        """
        missing = [folder for folder in (self.path.parent, *self.path.parent.parents) if not folder.exists()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._made = missing
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                former = _parse(os.read(file, 4096))
                self._flock(file, former)
                if self._removed(file):  # by a process that ended between our opening and our locking
                    os.close(file)
                    continue
                former = _parse(os.pread(file, 4096, 0))  # again, now that nobody else can write
                self._refuse_other_machine(former)
                _write(file)
            except BaseException:
                os.close(file)
                raise
            self._file = file
            return former

    def release(self) -> None:
        """Release the lock and remove its file, and folders that were made for the lock alone."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            if not self._removed(self._file):
                self.path.unlink()
            for folder in self._made:
                folder.rmdir()
        os.close(self._file)
        self._file = None

    def _flock(self, file: int, former: Holder | None) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._taken(former) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            if former is not None and former.is_local() and not former.has_ended():
                raise self._taken(former) from None

    def _taken(self, former: Holder | None) -> LockError:
        who = former.text() if former is not None else "another process"
        return LockError(
            f"{self.path.parent}: a training runs here, {who}; wait for it or stop it, or give --folder DIR for a "
            "folder of its own"
        )

    def _refuse_other_machine(self, former: Holder | None) -> None:
        if former is not None and not former.is_local():
            raise LockError(
                f"{self.path.parent}: locked by a training on another machine, {former.text()}, of which cannot be "
                f"seen from here whether it still runs; if it does not (ssh {former.host} ps -p {former.pid}), remove "
                f"{self.path} and repeat, else give --folder DIR for a folder of its own"
            )

    def _removed(self, file: int) -> bool:
        try:
            return not os.path.samestat(os.fstat(file), os.stat(self.path))
        except OSError:
            return True


def _write(file: int) -> None:
    holder = Holder(socket.gethostname(), os.getpid(), process_started(os.getpid()), utc_now())
    content = (json.dumps(dataclasses.asdict(holder)) + "\n").encode()
    os.pwrite(file, content, 0)
    os.ftruncate(file, len(content))


def _parse(content: bytes) -> Holder | None:
    try:
        fields = json.loads(content)
        return Holder(str(fields["host"]), int(fields["pid"]), str(fields["started"]), str(fields["since"]))
    except (ValueError, LookupError, TypeError):
        return None
