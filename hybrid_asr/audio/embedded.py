"""Sound files that have no path of their own: members of a tar shard, or bytes in memory."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias


class EmbeddedFile:
    """What readers of sound need of a file: `open`, `size` in bytes, `suffix`, and a name for messages (its `str`)."""

    def __init__(self, name: str, *, suffix: str, size: int, opened: Callable[[], BinaryIO]):
        """`opened` gives the file from its beginning, anew for each call."""
        self.name, self.suffix, self.size = name, suffix, size
        self._opened = opened

    def __str__(self) -> str:
        return self.name

    def open(self, mode: Literal["rb"] = "rb") -> BinaryIO:
        """The bytes of the file, from its beginning."""
        return self._opened()


AudioFile: TypeAlias = Path | EmbeddedFile


class _Memory(io.BytesIO):
    """Bytes as a file that has been opened for reading."""

    def __init__(self, data: bytes):
        super().__init__(data)
        self.name = ""

    @property
    def mode(self) -> str:
        """How it was opened."""
        return "rb"


def in_memory(name: str, data: bytes, *, suffix: str) -> EmbeddedFile:
    """A sound file that consists of `data`."""
    return EmbeddedFile(name, suffix=suffix, size=len(data), opened=lambda: _Memory(data))


def bytes_of(file: AudioFile) -> int:
    """The size of a file in bytes."""
    return file.size if isinstance(file, EmbeddedFile) else file.stat().st_size
