"""How many samples the frames of a flac file hold, by the headers of the last ones (RFC 9639, sections 8.2 and 9.1)."""

import re
from typing import BinaryIO, NamedTuple

from hybrid_asr.audio.embedded import AudioFile
from hybrid_asr.audio.formats import beginning
from hybrid_asr.audio.header_sizes import Verdict, View

_INFO_BYTES = 42  # the magic, and the block STREAMINFO
_MAGIC = (b"fLaC\0", b"fLaC\x80")  # STREAMINFO is the first block
_TAIL_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 20
_LARGEST_FRAME = 1 << 20  # bytes; those of 8 channels of 32 bits are smaller
_SYNC = re.compile(rb"(?=\xff[\xf8\xf9])")
_BLOCKS = (0, 192, 576, 1152, 2304, 4608, 0, 0, *(256 << power for power in range(8)))  # by their code; 0: elsewhere


class _Frame(NamedTuple):
    """Its place in the bytes read, the number that it codes (of itself, or of its first sample), and its samples."""

    place: int
    number: int
    block: int


def judge_flac(path: AudioFile, file: BinaryIO, begin: int, size: int) -> Verdict:
    """Compare the count in STREAMINFO of `file`, a flac from byte `begin` to `size`, with the last frame's header.

    libsndfile reads no more than that count, without an error. Where it is 0, or too large, the decoder finds out.
    """
    file.seek(begin)
    info = file.read(_INFO_BYTES)
    stated = _count(info)
    if not stated or len(info) < _INFO_BYTES:
        return Verdict()
    largest_frame = min(int.from_bytes(info[15:18], "big"), _LARGEST_FRAME)
    tail_begin = max(begin + _INFO_BYTES, size - max(_TAIL_BYTES, 3 * largest_frame))
    file.seek(tail_begin)
    tail = file.read(size - tail_begin)
    if _ends_as_stated(tail, int.from_bytes(info[10:12], "big"), stated):
        return Verdict()
    held = _held(tail, has_all=tail_begin == begin + _INFO_BYTES)
    if held == stated or held is None:
        return Verdict()
    if (other := _second_flac(file, begin + _INFO_BYTES)) >= 0:
        what = f"another sound file, at byte {other}"
        return Verdict((f"{path}: behind its samples stands {what}; it is not read, save it as a file of its own",))
    if held < stated:
        return Verdict()
    header = bytearray(info)
    header[21:26] = ((info[21] >> 4 << 36) + held).to_bytes(5, "big")
    note = f"{path}: its header states {stated} samples, its frames hold {held}: all of them are read"
    return Verdict((note,), View(bytes(header), begin + _INFO_BYTES, size))


def find_flac(file: BinaryIO, head: bytes) -> int | None:
    """The byte at which the flac in `file` begins, which is not 0 behind an ID3v2 tag; None for other formats."""
    begin = 0
    if head.startswith(b"ID3") and len(head) >= 10:
        begin = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    file.seek(begin)
    return begin if file.read(5) in _MAGIC else None


def flac_sum(path: AudioFile) -> tuple[int, bytes]:
    """The samples per channel that the header of a flac states, and their MD5, which is empty where it states none."""
    info = beginning(path)[:_INFO_BYTES]
    known = info.startswith(_MAGIC) and len(info) == _INFO_BYTES and any(info[26:])
    return (_count(info), info[26:]) if known else (0, b"")


def _count(info: bytes) -> int:
    """The samples per channel that STREAMINFO states; 0 where it states none."""
    return int.from_bytes(info[21:26], "big") & ((1 << 36) - 1)


def _ends_as_stated(tail: bytes, block: int, stated: int) -> bool:
    """Whether the last header in `tail` is of a frame that ends at sample `stated`; all others have `block` samples."""
    place = len(tail)
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        if frame := _frame(tail, place):
            return stated in (frame.number * block + frame.block, frame.number + frame.block)
    return False


def _held(tail: bytes, has_all: bool) -> int | None:
    """The sample at which the last frame in `tail` ends; None where none continues the one before it, nor is the first.

    By that the bits that look like a header within a frame are told from one. `has_all`: there are no frames before.
    """
    frames = [frame for match in _SYNC.finditer(tail) if (frame := _frame(tail, match.start()))]
    if has_all and len(frames) == 1 and frames[0].number == 0:
        return frames[0].block
    counted = {frame.number + 1: frame for frame in frames}
    summed = {frame.number + frame.block: frame for frame in frames}
    for frame in reversed(frames):
        before = counted.get(frame.number)
        if before and before.place < frame.place:
            return frame.number * before.block + frame.block
        before = summed.get(frame.number)
        if before and before.place < frame.place:
            return frame.number + frame.block
    return None


def _frame(data: bytes, place: int) -> _Frame | None:
    """The frame whose header stands at `place`; None where none does."""
    head = data[place : place + 16]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        return None
    block_code, rate_code, coded = head[2] >> 4, head[2] & 15, _coded_number(head[4:])
    if block_code == 0 or rate_code == 15 or head[3] >> 4 > 10 or head[3] & 1 or coded is None:
        return None
    number, width = coded
    at = 4 + width
    block_bytes = block_code - 5 if block_code in (6, 7) else 0
    end = at + block_bytes + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if end >= len(head) or _crc8(head[:end]) != head[end]:
        return None
    return _Frame(place, number, _BLOCKS[block_code] or int.from_bytes(head[at : at + block_bytes], "big") + 1)


def _coded_number(data: bytes) -> tuple[int, int] | None:
    """The number at the start of `data`, coded as in UTF-8 of up to 7 bytes, and its bytes; None if it is none."""
    ones = 8 - (data[0] ^ 0xFF).bit_length()
    if ones == 0:
        return data[0], 1
    rest = data[1:ones]
    if ones in (1, 8) or len(rest) < ones - 1 or any(byte >> 6 != 2 for byte in rest):
        return None
    number = data[0] & ((1 << 7 - ones) - 1 if ones < 7 else 0)
    for byte in rest:
        number = number << 6 | byte & 63
    return number, ones


def _crc8(data: bytes) -> int:
    """The CRC of 8 bits with the polynomial x^8 + x^2 + x + 1."""
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value << 1 ^ (0x107 if value & 0x80 else 0)
    return value


def _second_flac(file: BinaryIO, begin: int) -> int:
    """The byte from `begin` on at which another flac begins, or -1."""
    magic, before = b"fLaC\0\0\0\x22", b""
    file.seek(begin)
    while block := file.read(_BLOCK_BYTES):
        place = (before + block).find(magic)
        if place >= 0:
            return file.tell() - len(block) - len(before) + place
        before = block[1 - len(magic) :]
    return -1
