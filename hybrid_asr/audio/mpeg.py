"""The length of an mp3 file that does not state it: its frames are counted header by header (ISO 11172-3, 13818-3).

libsndfile guesses the length of such a file from its size and its first bit rate, and reads no further than the guess:
with a variable bit rate it may miss three quarters of the file.
"""

from collections.abc import Iterator
from pathlib import Path

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the version bits, Hz
_KILOBITS = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_TAGS = (b"Xing", b"Info", b"VBRI")  # in the first frame: the length is stated
_LONGEST_FRAME = 2881  # bytes


def is_mpeg(head: bytes, path: Path) -> bool:
    """Whether libsndfile will try a file with this beginning as mp3: by its first bytes, or by its suffix."""
    return head.startswith(b"ID3") or bool(_frame(head[:4].ljust(4))[0]) or path.suffix.lower() in (".mp3", ".m1a")


def untagged_samples(path: Path) -> int | None:
    """Samples per channel of a layer III file, counted frame by frame; None if a tag in its first frame states them."""
    with path.open("rb") as file:
        start = _id3_bytes(file.read(10))
        file.seek(start)
        head = file.read(8 * _LONGEST_FRAME)
        position, size, _ = next(_frames(head), (0, 0, 0))
        if any(tag in head[position : position + size] for tag in _TAGS):
            return None
        return sum(samples for _, _, samples in _frames(head + file.read()))


def _id3_bytes(head: bytes) -> int:
    """The length of an ID3v2 tag at the start of the file, given in four groups of seven bits; 0 without one."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    a, b, c, d = head[6:10]
    return 10 + (a << 21 | b << 14 | c << 7 | d)


def _frames(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Position, bytes and samples per channel of each frame; what lies between frames is skipped."""
    position = 0
    while 0 <= position <= len(data) - 4:
        size, samples = _frame(data[position : position + 4])
        if size:
            yield position, size, samples
            position += size
        else:
            position = data.find(b"\xff", position + 1)


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
