"""Lines of a file at known places, read by one descriptor a process, which any number of threads may use."""

import contextlib
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

_FIRST = 1 << 10  # bytes: most lines are shorter


class LineFile:
    """A file that is opened when a line is first asked for, in each process for itself; sent as its path."""

    def __init__(self, path: Path):
        self.path = path
        self._descriptor: int | None = None

    def __reduce__(self) -> tuple[type["LineFile"], tuple[Path]]:
        return (LineFile, (self.path,))

    def line(self, place: int) -> bytes:
        """The line that begins at byte `place`."""
        if self._descriptor is None:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, descriptor)
            self._descriptor = descriptor
        size = _FIRST
        while True:
            raw = os.pread(self._descriptor, size, place)
            end = raw.find(b"\n")
            if end >= 0 or len(raw) < size:
                return raw[: end + 1] if end >= 0 else raw
            size *= 8

    @staticmethod
    @contextlib.contextmanager
    def reading(files: Sequence["LineFile"]) -> Iterator[list["Reader"]]:
        """Readers of the files from one place to a later one."""
        with contextlib.ExitStack() as stack:
            yield [Reader(stack.enter_context(file.path.open("rb"))) for file in files]


class Reader:
    """An open file that is read mostly line after line."""

    def __init__(self, file: BinaryIO):
        self._file, self._place = file, 0

    def at(self, place: int) -> bytes:
        """The line that begins at byte `place`."""
        if place != self._place:
            self._file.seek(place)
        raw = self._file.readline()
        self._place = place + len(raw)
        return raw
