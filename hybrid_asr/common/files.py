"""Files that are whole or not there: written beside their place, flushed, then renamed."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from hybrid_asr.common.lock import process_started


@contextlib.contextmanager
def atomic_path(
    path: Path | str, *, former: Path | None = None, folder: Literal["make", "expect"] = "make"
) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends well it takes `path`'s place, else it is removed.

    What stood there before is kept as `former`, where that is given. A folder that a program has made and that is to
    be "expected" may have vanished with its disk: then it is not made again. An OSError names `path`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if folder == "make":
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if former is not None:
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, former)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)) == temporary:
            error.filename = str(path)
            error.filename2 = None
        raise
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """A rename outlasts a loss of power only once its folder is on the disk; not all file systems can do that."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(place)
    finally:
        os.close(place)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of `atomic_path` in `folder` that processes left when they were killed."""
    for path in folder.glob(".*.*.tmp"):
        pid = path.name.split(".")[-2]
        if pid == str(os.getpid()) or not (pid.isdigit() and process_started(int(pid))):
            path.unlink(missing_ok=True)


def write_text(path: Path | str, text: str, *, folder: Literal["make", "expect"] = "make") -> None:
    """Write `text` as UTF-8, whole or not at all; `folder` as in `atomic_path`."""
    with atomic_path(path, folder=folder) as temporary:
        temporary.write_text(text, encoding="utf-8")


MISSING = "there is no such file"


def why_unreadable(path: Path | str, *, pipes: bool = False, largest: int | None = None) -> str | None:
    """Why `path` is no file whose bytes can be read, as the end of a message, or None where it is one.

    A pipe or a device would keep its reader waiting, or feed it for ever: with `pipes` a pipe serves, such as a shell's
    `<(command)`. `largest` bounds the size in bytes.
    """
    try:
        found = os.stat(path)
    except OSError as error:
        if error.errno == errno.ENOENT and os.path.islink(path):
            return "is a symbolic link to a file that is not there"
        known = {errno.ENOENT: MISSING, errno.ELOOP: "is a symbolic link that leads in a circle"}
        return known.get(error.errno or 0, f"cannot be read: {error.strerror}")
    except ValueError:
        return "no file has such a name: there is a zero byte in it"
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    kind = stat.S_IFMT(found.st_mode)
    if kind != stat.S_IFREG and not (pipes and kind == stat.S_IFIFO):
        return f"is {kinds.get(kind, 'a socket')}, not a file"
    if largest is not None and found.st_size > largest:
        return f"has {found.st_size:,} bytes, more than the {largest:,} that such a file may have"
    return None if os.access(path, os.R_OK) else "cannot be read: Permission denied"


def find_below(root: Path | str, path: Path | str) -> Path:
    """A file that a recipe names: below `root` where it is there, else as it stands; the latter may not be there."""
    below = Path(root) / path
    return below if below.exists() else Path(path)


class RepeatedKey(ValueError):
    """A key that stands twice in an object of JSON: the message is the key."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, for `object_pairs_hook`: Python would take the last of equal keys. Raises RepeatedKey."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise RepeatedKey(next(name for name in names if names.count(name) > 1))
    return found
