"""Where the samples of a file lie by its header: container by container, the place and the size that it states.

RIFF, RF64, BW64: EBU Tech 3306; AIFF: Apple 1989; W64: Sony; CAF: Apple 2006; AU: Sun; SPHERE: NIST 1990.
"""

import struct
from typing import BinaryIO, NamedTuple

_LARGEST = 1 << 48  # bytes of a chunk before the samples
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"


class Layout(NamedTuple):
    """How the chunks of a container follow each other.

    The first stands at byte `first`; each begins with a name and a size, in the format `head` of `struct`, and ends at
    a multiple of `align`. A size counts the head where `counts_head`. The samples are in the chunk `samples`, behind
    `skipped` bytes.
    """

    first: int
    head: str
    align: int
    samples: bytes
    skipped: int = 0
    counts_head: bool = False

    def step(self, size: int) -> int:
        """From the beginning of a chunk with this size to that of the next."""
        whole = size if self.counts_head else size + struct.calcsize(self.head)
        return whole + -whole % self.align


_RIFF = Layout(12, "<4sI", 2, b"data")
_LAYOUTS = {
    **dict.fromkeys((b"RIFF", b"RF64", b"BW64"), _RIFF),
    b"RIFX": _RIFF._replace(head=">4sI"),
    b"FORM": Layout(12, ">4sI", 2, b"SSND", skipped=8),
    b"riff": Layout(40, "<16sQ", 8, _W64_DATA, counts_head=True),
    b"caff": Layout(8, ">4sq", 1, b"data", skipped=4),
}
_KINDS = {b"RIFF": (b"WAVE",), b"RIFX": (b"WAVE",), b"FORM": (b"AIFF", b"AIFC")}


class Extent(NamedTuple):
    """The samples begin at byte `begin`; the header states `size` bytes of them, or None: no length.

    The size stands at byte `field`, in the format `kind` of `struct`, and counts `extra` bytes more (`kind` is "" where
    it is text). `layout` tells what may follow.
    """

    begin: int
    size: int | None
    field: int
    kind: str
    extra: int = 0
    layout: Layout | None = None


def find_samples(file: BinaryIO, head: bytes) -> Extent | None:
    """The extent that the header of `file`, which begins with `head`, states; None for other containers."""
    magic = head[:4]
    if magic in _LAYOUTS and (magic not in _KINDS or head[8:12] in _KINDS[magic]):
        return _in_chunks(file, _LAYOUTS[magic])
    if magic in (b".snd", b"dns.") and len(head) >= 24:
        order = ">" if magic == b".snd" else "<"
        begin, size = struct.unpack(f"{order}II", head[4:12])
        return Extent(begin, size, 8, f"{order}I")
    return _sphere(file) if magic == b"NIST" else None


def _in_chunks(file: BinaryIO, layout: Layout) -> Extent | None:
    """The extent of the samples in chunks; sizes beyond 4 GiB stand in RF64's chunk ds64."""
    size_kind, head_bytes = layout.head[0] + layout.head[-1], struct.calcsize(layout.head)
    position, long_field = layout.first, None
    file.seek(position)
    while len(chunk := file.read(head_bytes)) == head_bytes:
        name, size = struct.unpack(layout.head, chunk)
        if name == layout.samples:
            field, extra = position + head_bytes - struct.calcsize(size_kind), layout.skipped
            if long_field is not None:  # which libsndfile takes even where the chunk has a size of its own
                file.seek(long_field)
                field, size_kind, size = long_field, "<Q", int.from_bytes(file.read(8), "little")
            extra += head_bytes if layout.counts_head else 0
            stated = None if size < 0 else max(0, size - extra)
            return Extent(position + head_bytes + layout.skipped, stated, field, size_kind, extra, layout)
        if not 0 <= size < _LARGEST:
            return None
        if name == b"ds64":
            long_field = position + head_bytes + 8
        position += max(layout.step(size), head_bytes)
        file.seek(position)
    return None


def _sphere(file: BinaryIO) -> Extent | None:
    """The extent of a SPHERE file; libsndfile takes all that follows the header for samples."""
    fields = _sphere_fields(file)
    if "embedded" in fields.get("sample_coding", ""):
        return None
    try:
        begin = int(fields["header"])
        each = int(fields["channel_count"]) * int(fields["sample_n_bytes"])
        count = int(fields.get("sample_count", -1))  # below 0 where none is stated
        if begin < 0 or each <= 0:
            return None
        return Extent(begin, None if count < 0 else count * each, 0, "")
    except (KeyError, ValueError):
        return None


def sphere_coding(file: BinaryIO, head: bytes) -> str:
    """The sample_coding of a SPHERE file whose samples are compressed, such as by shorten; else nothing."""
    coding = _sphere_fields(file).get("sample_coding", "") if head.startswith(b"NIST_1A") else ""
    return coding if "embedded" in coding else ""


def _sphere_fields(file: BinaryIO) -> dict[str, str]:
    """The fields of a SPHERE header as text; its length in bytes as `header`."""
    file.seek(0)
    lines = file.read(1024).decode("latin-1").split("\n")
    words = (line.split(maxsplit=2) for line in lines)
    fields = {name: value.strip() for name, _, value in (three for three in words if len(three) == 3)}
    return {"header": lines[1].strip() if len(lines) > 1 else "", **fields}
