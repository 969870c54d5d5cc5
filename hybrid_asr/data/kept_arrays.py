"""Arrays kept in files beside what they were computed from: made once, then memory-mapped by every process.

A file holds a line with the format's number, the length and the CRC-32 of a header, the header (JSON: facts; name,
type, length, place and CRC-32 of each array), and the arrays. One that is damaged or of another format is made anew.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hybrid_asr.common.files import atomic_path
from hybrid_asr.common.lock import NO_LOCKS
from hybrid_asr.common.problems import tell_user

SUFFIX = ".arrays"
MOST = 8  # files of one name that are kept, those that were made last
_FORMAT = b"hybrid-asr arrays 1\n"
_ALIGNED = 64  # bytes
_PIECE = 1 << 22  # bytes
_held: set[tuple[int, Path]] = set()  # locks, each with the thread that holds it


@dataclasses.dataclass(frozen=True)
class Columns:
    """Named arrays, and facts that JSON can hold. Those of a file are sent to another process as its path alone."""

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    path: Path | None = None

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __reduce__(self) -> tuple[Any, ...]:
        return (Columns, (self.arrays, self.facts)) if self.path is None else (map_columns, (self.path,))


class DamagedError(ValueError):
    """A file that does not hold what it was written with."""


def map_columns(path: Path, *, checked: bool = False) -> Columns:
    """Memory-map the arrays of a file; with `checked` all of it is read once and compared with its checksums.

    Raises DamagedError, and OSError.
    """
    with path.open("rb") as file:
        start = file.read(len(_FORMAT) + 12)
        if len(start) < len(_FORMAT) + 12 or not start.startswith(_FORMAT):
            raise DamagedError("it is of another format")
        length, crc = int.from_bytes(start[-12:-4], "little"), int.from_bytes(start[-4:], "little")
        header = file.read(length) if length < os.fstat(file.fileno()).st_size else b""
        if zlib.crc32(header) != crc or not header:
            raise DamagedError("its header is damaged")
        content, begin = json.loads(header), _aligned(len(start) + length)
        arrays: dict[str, np.ndarray] = {}
        for name, (dtype, count, place, crc) in content["arrays"].items():
            size = np.dtype(dtype).itemsize * count
            if begin + place + size > os.fstat(file.fileno()).st_size:
                raise DamagedError("it is cut off")
            if checked and _checksum(file, begin + place, size) != crc:
                raise DamagedError(f"its array '{name}' is damaged")
            mapped = np.memmap(path, dtype, "r", begin + place, (count,)) if count else np.zeros(0, dtype)
            arrays[name] = np.asarray(mapped)
    return Columns(arrays, content["facts"], path)


def write_columns(path: Path, columns: Columns) -> None:
    """Write arrays of one dimension, and facts; whole or not at all."""
    arrays = {name: np.ascontiguousarray(array) for name, array in columns.arrays.items()}
    places, place = {}, 0
    for name, array in arrays.items():
        places[name] = (array.dtype.str, len(array), place, zlib.crc32(array.data))
        place = _aligned(place + array.nbytes)
    header = json.dumps({"facts": columns.facts, "arrays": places}).encode()
    start = _FORMAT + len(header).to_bytes(8, "little") + zlib.crc32(header).to_bytes(4, "little") + header
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(start.ljust(_aligned(len(start)), b"\0"))
        for array in arrays.values():
            file.write(array.data)
            file.write(bytes(_aligned(array.nbytes) - array.nbytes))


class Store:
    """The files that are kept about one thing: below the first of `folders` that has them, or that can be written to.

    Without folders nothing is kept: what is asked for is made each time. `about` begins the files' names: a digest of
    what they were computed from.
    """

    def __init__(self, folders: tuple[Path, ...] = (), about: str = ""):
        self.folders, self.about = folders, about

    def get(self, name: str, key: str, make: Callable[[], Columns]) -> Columns:
        """What is kept under `name` and `key`, or else what `make` gives, kept from now on.

        Of several processes that ask at once, on all machines that see the folder, one makes it and the others wait.
        """
        file = f"{self.about}.{name}.{key}{SUFFIX}" if key else f"{self.about}.{name}{SUFFIX}"
        if not self.folders:
            return make()
        if (kept := self._find(file)) is not None:
            return kept
        folder = self._writable()
        if folder is None:
            return make()
        with _locked(folder):
            if (kept := self._find(file)) is not None:
                return kept
            return self._keep(folder / file, make(), f"{self.about}.{name}.*{SUFFIX}")

    def discard_others(self) -> None:
        """Remove what is kept about anything else, such as the manifest before it was changed."""
        for folder in self.folders:
            for path in folder.glob(f"*{SUFFIX}"):
                if not path.name.startswith(f"{self.about}."):
                    with contextlib.suppress(OSError):
                        path.unlink()

    def _find(self, file: str) -> Columns | None:
        for folder in self.folders:
            try:
                return map_columns(folder / file, checked=True)
            except FileNotFoundError:
                continue
            except (DamagedError, OSError) as error:
                tell_user(f"note: {folder / file}: {error}; it is made anew")
        return None

    def _writable(self) -> Path | None:
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                if os.access(folder, os.W_OK):
                    if folder != self.folders[0]:
                        tell_user(f"note: {self.folders[0]} cannot be written to; the index is kept in {folder}")
                    return folder
        tell_user(
            f"note: neither {' nor '.join(map(str, self.folders))} can be written to; the index is not kept, and every "
            "start makes it again"
        )
        return None

    def _keep(self, path: Path, columns: Columns, others: str) -> Columns:
        try:
            write_columns(path, columns)
        except OSError as error:
            tell_user(f"note: {path}: {error.strerror}; it is not kept, and every start makes it again")
            return columns
        made = sorted(path.parent.glob(others), key=lambda other: other.stat().st_mtime_ns)
        for other in made[:-MOST]:
            other.unlink(missing_ok=True)
        return map_columns(path)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, unless this thread holds it already; where there are no locks, go on without."""
    own = (threading.get_ident(), folder)
    if own in _held:
        yield
        return
    with (folder / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        _held.add(own)
        try:
            yield
        finally:
            _held.discard(own)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNED) * _ALIGNED


def _checksum(file: Any, place: int, size: int) -> int:
    file.seek(place)
    crc = 0
    while size > 0:
        piece = file.read(min(size, _PIECE))
        crc, size = zlib.crc32(piece, crc), size - len(piece)
    return crc
