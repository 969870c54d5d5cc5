"""Atomic writing of files (beside the target, flushed, then renamed), and checks before reading them."""

import contextlib
import difflib
import errno
import itertools
import os
import re
import stat
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

from hybrid_asr.common.lock_holder import is_of_living_process, name_of_process

UNFINISHED = ".*.*.tmp"  # the names of temporary files
ABANDONED_S = 600.0  # without a write: a temporary file of another machine is of a process that has ended


@contextlib.contextmanager
def atomic_path(
    path: Path | str, *, former: Path | None = None, folder: Literal["make", "expect"] = "make"
) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block ends without an error it is renamed to `path`, else removed.

    The file that was there before is kept as `former`, where that is given. `folder="expect"` does not create the
    folder: one that a program made earlier may have vanished with its disk. An OSError names `path`.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{name_of_process()}.tmp")
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
    """A rename survives a loss of power only once its folder is on the disk; not all file systems can do that."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of `atomic_path` in `folder` that processes left when they were killed.

    Those of another machine's process are removed where nothing was written for ABANDONED_S.
    """
    for path in folder.glob(UNFINISHED):
        process = path.name.split(".")[-2]
        if process == name_of_process() or not _may_be_written(path, process):
            path.unlink(missing_ok=True)


def _may_be_written(path: Path, process: str) -> bool:
    alive = is_of_living_process(process)
    if alive is None:
        with contextlib.suppress(OSError):
            return time.time() - path.stat().st_mtime < ABANDONED_S
    return bool(alive)


def write_text(path: Path | str, text: str, *, folder: Literal["make", "expect"] = "make") -> None:
    """Write `text` as UTF-8, whole or not at all; `folder` as in `atomic_path`."""
    with atomic_path(path, folder=folder) as temporary:
        temporary.write_text(text, encoding="utf-8")


MISSING = "there is no such file"
A_FOLDER = "is a folder, not a file"


def read_problem(path: Path | str, *, pipes: bool = False, largest: int | None = None) -> str | None:
    """What keeps `path` from being read as a file, as the end of a message; None where nothing does.

    Devices and pipes are refused, since reading one may wait or go on for ever; with `pipes` a pipe is accepted, such
    as a shell's `<(command)`. `largest` bounds the size in bytes.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        if error.errno == errno.ENOENT and os.path.islink(path):
            return "is a symbolic link to a file that is not there"
        known = {errno.ENOENT: MISSING, errno.ELOOP: "is a symbolic link that leads in a circle"}
        return known.get(error.errno or 0, f"cannot be read: {error.strerror}")
    except ValueError:
        return "no file has such a name: there is a zero byte in it"
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG and not (pipes and kind == stat.S_IFIFO):
        return f"is {kinds.get(kind, 'a socket')}, not a file"
    if largest is not None and status.st_size > largest:
        return f"has {status.st_size:,} bytes, more than the {largest:,} that such a file may have"
    return None if os.access(path, os.R_OK) else "cannot be read: Permission denied"


def expand_home(path: Path | str) -> Path:
    """The path with a leading `~` or `~user` replaced by that home folder, which shells leave alone within quotes.

    A file that is really called so wins.
    """
    path = Path(path)
    if not path.parts[:1] or not path.parts[0].startswith("~") or os.path.lexists(path):
        return path
    return Path(os.path.expanduser(path))


CHECK_PATH = "check the path"


def why_missing(path: Path | str) -> str:
    """What a path that is not there looks like, as the end of a message that says so, remedy included."""
    text = str(path)
    if re.match(r"[A-Za-z]:[\\/]", text) or ("\\" in text and "/" not in text):
        return "this looks like a path of Windows: write it as this system does, with / (in WSL C:\\ is /mnt/c/)"
    if re.match(r"[a-z]+[a-z0-9]*:/", text):
        return "this is an address: download the file, and give its path"
    if text.startswith("~"):
        return "there is no home folder of this name; write the path in full"
    if any(letter in text for letter in "*?["):
        return "no file matches this pattern; check the folder and the suffix in it"
    return CHECK_PATH


_LOOKED_AT = 1000  # entries of a folder: enough for what people keep in one by hand


def near_files(path: Path | str, suffixes: Collection[str] = ()) -> list[str]:
    """The files and folders beside `path`, which is not there, that may be meant: its stem, else the nearest name.

    With `suffixes` only those that have one of them.
    """
    path = Path(path)
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        names = [entry.name for entry in itertools.islice(entries, _LOOKED_AT)]
        names = [name for name in names if not suffixes or Path(name).suffix in suffixes]
        near = sorted(name for name in names if Path(name).stem == path.stem)
        near = near or difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
        return [str(path.parent / name) for name in near[:3]]
    return []


def did_you_mean(path: Path | str, suffixes: Collection[str] = ()) -> str:
    """`; did you mean 'X'?`, the end of a message about a path that is not there; empty where nothing is near."""
    near = near_files(path, suffixes)
    return f"; did you mean {' or '.join(repr(name) for name in near)}?" if near else ""


def find_below(root: Path | str, path: Path | str) -> Path:
    """The path of a file that a recipe names: below `root` if it exists there, else as given, existing or not."""
    below = Path(root) / path
    return below if below.exists() else Path(path)


class RepeatedKey(ValueError):
    """A key that occurs twice in a JSON object; the message is the key."""


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, as `object_pairs_hook` of `json.loads`, which by itself keeps the last of equal keys.

    Raises RepeatedKey.
    """
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise RepeatedKey(next(key for key in keys if keys.count(key) > 1))
    return dict(pairs)
