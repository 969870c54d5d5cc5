"""Is an Ogg file (Vorbis, Opus) complete?  Its pages are counted and their checksums compared (RFC 3533).

libsndfile skips pages that are damaged or missing, and does not notice a missing end: it reports no error.
"""

import struct
import zlib
from typing import BinaryIO, NamedTuple

from hybrid_asr.audio.embedded import AudioFile, bytes_of
from hybrid_asr.audio.formats import AGAIN, AudioError

_HEAD = struct.Struct("<4sBBqIIIB")  # capture, version, flags, position, serial number, sequence, checksum, segments
_CHECKSUM_AT = 22
_FIRST, _LAST = 2, 4  # the flags of a stream's first and last page
_MIRROR = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class _Page(NamedTuple):
    serial: int
    sequence: int
    first: bool
    last: bool
    intact: bool


class OggStreams(NamedTuple):
    """The streams of a file: how many follow one another, as in a recording of a radio, and what is doubtful."""

    chained: int
    notes: tuple[str, ...]


def check_ogg(path: AudioFile) -> OggStreams:
    """The streams of `path`. Raises AudioError unless all of its pages are there and intact.

    A last page without the flag that ends the stream is legal enough: Android's MediaMuxer never sets it.
    """
    following: dict[int, int] = {}  # of each stream that is open, the sequence number of its next page
    chained, inside = 1, False
    with path.open("rb") as file:
        count, begin = 0, 0
        while page := _page(file):
            count += 1
            if not page.intact:
                raise _damaged(path, f"page {count}, at byte {begin:,}, does not match its checksum")
            chained += page.first and inside
            inside = not page.first
            expected = following.get(page.serial, page.sequence)
            if page.sequence != expected:
                lost = f"page {count}, at byte {begin:,}, is number {page.sequence} of its stream"
                raise _damaged(path, f"{lost} where number {expected} should follow")
            following[page.serial] = page.sequence + 1
            if page.last:
                del following[page.serial]
            begin = file.tell()
        if bytes_of(path) > begin:
            raise _damaged(path, f"at byte {begin:,}, behind page {count}, no complete page begins")
    unended = f"{path}: none of its {count} pages has the flag that ends the stream: it is read to the last of them"
    return OggStreams(chained, (unended,) if following else ())


def _page(file: BinaryIO) -> _Page | None:
    """The page that begins here, or None where none does."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size or head[:4] != b"OggS":
        return None
    _, _, flags, _, serial, sequence, checksum, segments = _HEAD.unpack(head)
    lengths = file.read(segments)
    body = file.read(sum(lengths))
    if len(lengths) < segments or len(body) < sum(lengths):
        return None
    blank = head[:_CHECKSUM_AT] + bytes(4) + head[_CHECKSUM_AT + 4 :]
    return _Page(
        serial, sequence, bool(flags & _FIRST), bool(flags & _LAST), _checksum(blank + lengths + body) == checksum
    )


def _checksum(data: bytes) -> int:
    """Ogg's CRC-32: zlib's polynomial with the bits of each byte, and of the result, the other way round."""
    crc = zlib.crc32(data.translate(_MIRROR), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def _damaged(path: AudioFile, what: str) -> AudioError:
    return AudioError(f"{path}: is damaged: {what}; {AGAIN}")
