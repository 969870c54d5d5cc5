"""What a header says of its samples beside what the file holds: too much is an error, too little is read to the end."""

import io
import struct
from typing import Any, BinaryIO, NamedTuple

from hybrid_asr.audio.embedded import AudioFile
from hybrid_asr.audio.extent import Extent, find_samples
from hybrid_asr.audio.formats import AGAIN, AudioError

_SLACK_BYTES = 64  # careless writers count the header among the samples: a millisecond or two, not a truncation
_UNKNOWN = {4: 0x7F000000, 8: 1 << 62}  # what writers to a pipe put where a size should be, or more, by its bytes
_BLOCK = 1 << 16
_WRAP = 1 << 32
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN", b"<?xpacket")  # of players and editors, behind the samples
_OTHER_FILE = (b"RIFF", b"RIFX", b"RF64", b"FORM", b".snd", b"NIST_1A", b"fLaC", b"OggS", b"caff")


class Verdict(NamedTuple):
    """How a file must be read: what is doubtful, and the view of it that has a header which is right, if need be."""

    notes: tuple[str, ...] = ()
    view: "View | None" = None


class View(NamedTuple):
    """A file with `header` in place of all that stands before byte `begin`, and nothing from byte `end` on."""

    header: bytes
    begin: int
    end: int


def judge(path: AudioFile, file: BinaryIO, head: bytes, size: int) -> Verdict:
    """Compare the header of `file`, which begins with `head` and has `size` bytes, with the bytes that follow.

    libsndfile shortens a file whose header promises more without an error, and passes over what its header does not
    count. Raises AudioError where samples are missing.
    """
    extent = find_samples(file, head)
    if extent is None:
        return Verdict()
    held, stated = max(0, size - extent.begin), extent.size
    width = struct.calcsize(extent.kind or "<I")
    if stated is None or (stated + extent.extra >= _UNKNOWN[width] and stated > held):
        return _to_the_end(path, file, extent, held, f"its header states no length: all {held} bytes that follow")
    if stated > held:
        promise = f"its header promises {stated} bytes of samples, the file holds {held}"
        if stated > held + _SLACK_BYTES:
            raise AudioError(f"{path}: is truncated: {promise}; {AGAIN}")
        return Verdict((f"{path}: is cut by a few bytes: {promise}; what is there is read",), _view(file, extent, held))
    if stated == held:
        return Verdict()
    return _with_rest(path, file, extent, stated, held)


def _with_rest(path: AudioFile, file: BinaryIO, extent: Extent, stated: int, held: int) -> Verdict:
    """The verdict where more follows than the samples that the header counts."""
    rest = _Rest(file, extent, extent.begin + held)
    promise = f"its header states {stated} bytes of samples, {held} follow"
    wrapped = stated + (held - stated) // _WRAP * _WRAP
    if rest.is_named(extent.begin + stated):
        notes = (f"{path}: behind its samples stands {rest.other_sound}; it is not read, save it as a file of its own",)
        return _without_rest(file, extent, stated, notes if rest.other_sound else ())
    if (stated and held - stated <= _SLACK_BYTES) or rest.is_zero(extent.begin + stated):
        return _without_rest(file, extent, stated)
    if extent.kind.endswith("I") and wrapped > stated and rest.is_named(extent.begin + wrapped):
        return _to_the_end(path, file, extent, wrapped, f"{promise} (it counts to 4 GiB): {wrapped} of them")
    return _to_the_end(path, file, extent, held, f"{promise}: all of them")


def _without_rest(file: BinaryIO, extent: Extent, stated: int, notes: tuple[str, ...] = ()) -> Verdict:
    """Read what the header counts; of SPHERE and W64 libsndfile would read all that follows."""
    counted = extent.kind and not (extent.layout and extent.layout.counts_head)
    return Verdict(notes, None if counted else _view(file, extent, stated))


def _to_the_end(path: AudioFile, file: BinaryIO, extent: Extent, count: int, why: str) -> Verdict:
    return Verdict((f"{path}: {why} are read as samples",), _view(file, extent, count))


def _view(file: BinaryIO, extent: Extent, count: int) -> View:
    """The file with a header that states `count` bytes of samples, which are the last of it."""
    file.seek(0)
    header, size = bytearray(file.read(extent.begin)), count + extent.extra
    if size >= _WRAP and header.startswith(b"RIFF"):
        header[:12] = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I3QI", 28, size + extent.begin, size, 0, 0)
        header[-4:] = b"\xff" * 4
    elif extent.kind:
        most = (1 << 8 * struct.calcsize(extent.kind)) - 1
        struct.pack_into(extent.kind, header, extent.field, min(size, most))
    return View(bytes(header), extent.begin, extent.begin + count)


class _Rest:
    """What follows the samples of a file that ends at byte `end`; `other_sound` names a second recording in there."""

    def __init__(self, file: BinaryIO, extent: Extent, end: int):
        self._file, self._layout, self._end = file, extent.layout, end
        self.other_sound = ""

    def is_named(self, begin: int) -> bool:
        """Whether chunks stand from byte `begin` to the end (or from where it is aligned), a tag, or another file."""
        starts = {begin, begin + -begin % (self._layout.align if self._layout else 1)}
        return any(self._has_chunks(start) for start in sorted(starts))

    def is_zero(self, begin: int) -> bool:
        """Whether all bytes from `begin` on are zero; of a rest beyond 4 MiB, those at 64 places."""
        rest = self._end - begin
        for place in range(begin, self._end, max(_BLOCK, rest // 63)) if rest > _BLOCK else (begin,):
            self._file.seek(place)
            block = self._file.read(_BLOCK)
            if block.count(0) < len(block):
                return False
        self._file.seek(self._end - min(rest, _BLOCK))
        block = self._file.read(_BLOCK)
        return block.count(0) == len(block)

    def _has_chunks(self, position: int) -> bool:
        while position < self._end:
            self._file.seek(position)
            head = self._file.read(32)
            if head.startswith(_TAGS):
                return True
            if head.startswith(_OTHER_FILE):
                self.other_sound = f"another sound file, at byte {position}"
                return True
            step = self._step(head)
            if step is None or position + step > self._end + 1:
                return False
            if self._layout and head.startswith(self._layout.samples):
                self.other_sound = f"a second chunk of samples, at byte {position}"
            position += step
        return True

    def _step(self, head: bytes) -> int | None:
        """Bytes of the chunk that begins with `head`; None where none does."""
        layout = self._layout
        if layout is None or len(head) < struct.calcsize(layout.head):
            return None
        name, size = struct.unpack_from(layout.head, head)
        known = size >= 24 if layout.counts_head else size >= 0 and all(0x20 <= byte < 0x7F for byte in name)
        return layout.step(size) if known else None


class ViewedFile(io.RawIOBase):
    """A view of a file, as a file."""

    def __init__(self, path: AudioFile, view: View):
        self._file, self._view, self._position = path.open("rb"), view, 0
        self.name = str(path)

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, as in any file."""
        size = len(self._view.header) + self._view.end - self._view.begin
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read into `buffer`; the number of bytes."""
        view, wanted = self._view, len(buffer)
        data = view.header[self._position : self._position + wanted]
        place = view.begin + self._position + len(data) - len(view.header)
        self._file.seek(max(place, view.begin))
        data += self._file.read(max(0, min(wanted - len(data), view.end - place)))
        memoryview(buffer).cast("B")[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
