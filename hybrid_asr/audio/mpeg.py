"""The length of an mp3 file: its frames are counted header by header (ISO 11172-3, 13818-3).

libsndfile reads no further than the tag in the first frame says, though two files may have been put together. Of a
file without a tag it guesses the length from the size and the first bit rate: with a variable one it may miss three
quarters.
"""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from hybrid_asr.audio.embedded import AudioFile

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the version bits, Hz
_KILOBITS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_BLOCK = 1 << 18  # bytes that are read at a time
_WIDEST_GAP = 1 << 20  # bytes without a frame, behind which no more are looked for
_TAGS = (b"Xing", b"Info", b"VBRI")  # in the first frame: the length is stated


def is_mpeg(head: bytes, path: AudioFile) -> bool:
    """Whether libsndfile will try a file with this beginning as mp3: by its first bytes, or by its suffix."""
    return head.startswith(b"ID3") or bool(_frame(head[:4].ljust(4))[0]) or path.suffix.lower() in (".mp3", ".m1a")


class CountedFrames(NamedTuple):
    """The samples per channel of a layer III file, by its frames, and whether a tag in the first states them, too."""

    samples: int
    tagged: bool


def count_frames(path: AudioFile) -> CountedFrames:
    """Count the frames of a layer III file behind its ID3 tag."""
    with path.open("rb") as file:
        frames = list(_frames(file, _id3_bytes(file.read(10))))
        position, size, _ = frames[0] if frames else (0, 0, 0)
        file.seek(position)
        first = file.read(size)
    tagged = any(tag in first for tag in _TAGS)
    return CountedFrames(sum(samples for _, _, samples in frames), tagged)


def _id3_bytes(head: bytes) -> int:
    """The length of an ID3v2 tag at the start of the file, given in four groups of seven bits; 0 without one."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    a, b, c, d = head[6:10]
    return 10 + (a << 21 | b << 14 | c << 7 | d)


def _frames(file: BinaryIO, position: int) -> Iterator[tuple[int, int, int]]:
    """Position, bytes and samples per channel of each frame from `position` on; what lies between them is skipped."""
    block, begin, end = b"", position, position
    while position <= end + _WIDEST_GAP:
        if position - begin + 4 > len(block):
            file.seek(position)
            block, begin = file.read(_BLOCK), position
            if len(block) < 4:
                return
        at = position - begin
        size, samples = _frame(block[at : at + 4])
        if size:
            yield position, size, samples
            position = end = position + size
        else:
            found = block.find(b"\xff", at + 1)
            position = begin + (found if found >= 0 else len(block))


def _frame(header: bytes) -> tuple[int, int]:
    """Bytes and samples per channel of the frame that these four bytes open; (0, 0) if they open none."""
    if header[0] != 0xFF or header[1] & 0xE6 != 0xE2:  # the sync word and layer III
        return 0, 0
    version, bits, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or bits in (0, 15) or rate == 3:
        return 0, 0
    samples = 1152 if version == 3 else 576
    kilobits = _KILOBITS[3 if version == 3 else 2][bits]
    return samples // 8 * kilobits * 1000 // _RATES[version][rate] + (header[2] >> 1 & 1), samples
