"""Files that are whole or not there: written beside their place, flushed, then renamed."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from hybrid_asr.lock import process_started


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
