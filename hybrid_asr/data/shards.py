"""Tar shards: the audio of utterances by offset and length within uncompressed tar files, on a disk or on a server.

Shards that a manifest names by a relative path lie beside it, or below HYBRID_ASR_SHARDS, a folder or an address: where
they are is a matter of the machine, such as a disk to which they were staged, and not of a run. Of addresses, only the
part that has no credentials is shown.
"""

import functools
import io
import os
import tarfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast
from urllib.parse import quote, urlsplit, urlunsplit

from hybrid_asr.audio.embedded import EmbeddedFile, in_memory
from hybrid_asr.audio.formats import AudioError
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.problems import tell_user
from hybrid_asr.data.http_ranges import (
    Fetched,
    RangeError,
    RefusedError,
    UnansweredError,
    fetch,
    is_address,
    without_credentials,
)

HEADER = tarfile.BLOCKSIZE  # bytes before the content of a member
SHARD_FIELDS = {"offset": "a whole number", "bytes": "a whole number", "crc32": "text"}
_OPEN_FILES = 64  # shards that a process keeps open
_NOT_THEIRS = "the manifest and the shard do not belong together: pack again, or take the shard written with it"
_MOVED = "copy it there, or name the folder or address of the shards by HYBRID_ASR_SHARDS"


class ShardSettings(NamedTuple):
    """Where shards lie that are named by a relative path, and how long a server is waited for; of the environment."""

    root: str | None
    token: str | None
    timeout_s: float
    retries: int


class MemberPlace(NamedTuple):
    """Where a member's content lies within a shard, and its CRC-32, as eight hexadecimal digits, where it is known."""

    shard: str
    offset: int
    size: int
    crc32: str | None


def shard_problem(record: dict[str, Any]) -> str | None:
    """What is wrong with those fields of a manifest's line that say where in a shard the audio lies."""
    offset, size, crc = (record.get(name) for name in SHARD_FIELDS)
    if offset is None and size is None and crc is None:
        if is_address(record["audio"]):
            return "audio is an address without offset and bytes: only tar shards are read from a server; see 'pack'"
        return None
    if offset is None or size is None:
        return "of the fields 'offset' and 'bytes' one is missing: both say where in a shard the audio lies; add it"
    if offset < HEADER or offset % HEADER:
        return (
            f"offset is {offset}, a member of a tar file begins at a multiple of {HEADER} behind its header; correct it"
        )
    if size < 1:
        return f"bytes is {size}, it must be 1 or more; correct it"
    if crc is not None and (len(crc) != 8 or not set(crc) <= set("0123456789abcdef")):
        return f"crc32 is '{crc}', it must be eight digits of 0 to f; correct it"
    return None


def shard_settings() -> ShardSettings:
    """The settings of the environment. Raises UserError for a value that is none."""
    root, token = (os.environ.get(name) or None for name in ("HYBRID_ASR_SHARDS", "HYBRID_ASR_SHARDS_TOKEN"))
    timeout_s, retries = _whole_number("HYBRID_ASR_SHARDS_TIMEOUT_S", 30), _whole_number("HYBRID_ASR_SHARDS_RETRIES", 6)
    return ShardSettings(root, token, float(max(1, timeout_s)), retries)


def _whole_number(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    if not text.isdecimal():
        raise UserError(f"{variable} must be a whole number such as {default}, not '{text}'; correct it")
    return int(text)


def locate(shard: str, folder: Path) -> Path | str:
    """The path or the address of a shard that a manifest in `folder` names."""
    root = os.environ.get("HYBRID_ASR_SHARDS")
    if is_address(shard):
        return shard
    if not root or os.path.isabs(shard):
        return folder / shard
    if not is_address(root):
        return Path(root) / shard
    parts = urlsplit(root)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(shard)}"))


def tell_remote(member: MemberPlace | None, folder: Path, *, workers: int) -> None:
    """Tell the user that a training waits for a server where no worker reads ahead; `member` is any utterance's."""
    if member is not None and workers == 0 and isinstance(address := locate(member.shard, folder), str):
        host = urlsplit(address).hostname
        tell_user(f"note: audio comes from {host} while each step waits for it; data.workers=4 would read it ahead")


def shown(location: Path | str) -> str:
    """A shard's path or address for messages."""
    name = str(location)
    return without_credentials(name) if is_address(name) else name


def read_member(place: MemberPlace, folder: Path) -> EmbeddedFile:
    """The content of a member, in memory, compared with its header and its checksum.

    Raises AudioError, which names the shard and where it can be the member, the cause and the remedy.
    """
    location = locate(place.shard, folder)
    if isinstance(location, str):
        data = _fetch(location, place).data
    else:
        data = _pread(location, place.offset - HEADER, HEADER + place.size)
    return _checked(data, location, place)


def _checked(data: bytes, location: Path | str, place: MemberPlace) -> EmbeddedFile:
    """The content behind a member's header. Raises AudioError."""
    name = member_name(data[:HEADER], location, place)
    content = data[HEADER:]
    if place.crc32 is not None and f"{zlib.crc32(content):08x}" != place.crc32:
        raise AudioError(
            f"{name}: is damaged: its {place.size:,} bytes do not give the CRC-32 {place.crc32} of the manifest; copy "
            "or download the shard again, or pack again"
        )
    return in_memory(name, content, suffix=_suffix(name))


def open_member(place: MemberPlace, shard: Path) -> EmbeddedFile:
    """The content of a member of a shard on a disk, of which only what is asked for is read, and not its checksum.

    Raises AudioError.
    """
    name = member_name(_pread(shard, place.offset - HEADER, HEADER), shard, place)
    if os.fstat(_opened(shard).fileno()).st_size < place.offset + place.size:
        _pread(shard, place.offset, place.size)  # which says so
    begin, size = place.offset, place.size
    return EmbeddedFile(name, suffix=_suffix(name), size=size, opened=lambda: window(shard, begin, size))


def member_name(header: bytes, location: Path | str, place: MemberPlace) -> str:
    """`SHARD (MEMBER)`, if the 512 bytes before the content are the header of a file of its size. Raises AudioError."""
    shard, begin = shown(location), place.offset - HEADER
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        raise AudioError(f"{shard}: no member of a tar file begins at byte {begin:,}; {_NOT_THEIRS}") from None
    if not member.isreg() or member.size != place.size:
        held = f"{member.size:,} bytes" if member.isreg() else "no file"
        raise AudioError(f"{shard} ({member.name}): has {held}, {place.size:,} bytes by the manifest; {_NOT_THEIRS}")
    return f"{shard} ({member.name})"


class RemoteShards:
    """Shards on servers, of each of which one member is read, to learn whether it is there and how long it is."""

    def __init__(self) -> None:
        self._totals: dict[str, int | None] = {}
        self._failed: dict[str, str] = {}  # what was not given, by the shard, or by the server that gives nothing

    def sample(self, place: MemberPlace, address: str) -> EmbeddedFile | None:
        """The content of the first member that is asked for of a shard; of others None, if the shard is long enough.

        A shard that is not given, and a server that does not answer, is asked once. Raises AudioError.
        """
        server = urlsplit(address).netloc
        if problem := self._failed.get(address) or self._failed.get(server):
            raise AudioError(problem)
        if address not in self._totals:
            try:
                fetched = _fetch(address, place)
            except AudioError as error:
                match error.__cause__:
                    case UnansweredError():
                        self._failed[server] = str(error)
                    case RefusedError():
                        self._failed[address] = str(error)
                raise
            self._totals[address] = fetched.total
            return _checked(fetched.data, address, place)
        total, end = self._totals[address], place.offset + place.size
        if total is not None and total < end:
            raise AudioError(
                f"{shown(address)}: is truncated: it has {total:,} bytes, byte {end:,} is needed; upload it again"
            )
        return None


def _fetch(address: str, place: MemberPlace) -> Fetched:
    """A member with its header. Raises AudioError."""
    settings = shard_settings()
    own = settings.root and is_address(settings.root) and urlsplit(address)[:2] == urlsplit(settings.root)[:2]
    try:
        return fetch(
            address,
            place.offset - HEADER,
            HEADER + place.size,
            timeout_s=settings.timeout_s,
            retries=settings.retries,
            token=settings.token if own else None,
        )
    except RangeError as error:
        raise AudioError(str(error)) from error


@functools.lru_cache(_OPEN_FILES)
def _opened(shard: Path) -> BinaryIO:
    """A shard that stays open; raises AudioError where it is not there."""
    try:
        return cast(BinaryIO, shard.open("rb", buffering=0))
    except FileNotFoundError:
        raise AudioError(f"{shard}: there is no such shard; {_MOVED}") from None
    except OSError as error:
        raise AudioError(f"{shard}: cannot be read: {error.strerror}; check the path and its permissions") from None


def _pread(shard: Path, begin: int, size: int) -> bytes:
    """Bytes of a shard, all that were asked for, whatever other threads read. Raises AudioError."""
    file, blocks, missing = _opened(shard), list[bytes](), size
    try:
        while missing and (block := os.pread(file.fileno(), missing, begin + size - missing)):
            blocks.append(block)
            missing -= len(block)
    except OSError as error:
        _opened.cache_clear()
        raise AudioError(f"{shard}: cannot be read: {error.strerror}; look at the disk or the network") from None
    if missing:
        held = os.fstat(file.fileno()).st_size
        _opened.cache_clear()
        raise AudioError(
            f"{shard}: is truncated: it has {held:,} bytes, byte {begin + size:,} is needed; copy or download it again"
        )
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


class _Window(io.RawIOBase):
    """A range of bytes of a shard on a disk, as a file."""

    def __init__(self, shard: Path, begin: int, size: int):
        self.name, self.mode, self._shard, self._begin, self._size, self._position = (
            str(shard),
            "rb",
            shard,
            begin,
            size,
            0,
        )

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._position))
        memoryview(buffer).cast("B")[:count] = _pread(self._shard, self._begin + self._position, count)
        self._position += count
        return count


def window(shard: Path, begin: int, size: int) -> BinaryIO:
    """A range of bytes of a shard on a disk, as a file that has been opened for reading."""
    return cast(BinaryIO, io.BufferedReader(_Window(shard, begin, size)))


def _suffix(name: str) -> str:
    return Path(name.removesuffix(")")).suffix
