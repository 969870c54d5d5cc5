"""Sound files through libsndfile, with the lengths that it gets wrong corrected.  Axes: S samples, C channels."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Literal

import numpy as np
import soundfile
from jaxtyping import Float32

from hybrid_asr.audio.embedded import AudioFile, EmbeddedFile
from hybrid_asr.audio.flac_frames import flac_sum
from hybrid_asr.audio.formats import AGAIN, AudioError, beginning
from hybrid_asr.audio.frame_counts import check_frames
from hybrid_asr.audio.header_sizes import Verdict, ViewedFile
from hybrid_asr.audio.mpeg import count_frames, is_mpeg
from hybrid_asr.audio.mpg123_errors import mpg123_errors

_NO_LENGTH = 1 << 48  # libsndfile gives 2^63 - 1 for a flac stream without a length
_NO_END = "it does not state its length, so that libsndfile cannot read it to its end"
_FLAC_BYTES = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}  # of a sample, by libsndfile's name
_BLOCK = 1024  # samples
_AT_ONCE = 1 << 20  # samples
_CHECKED_AT_THEIR_END = ("FLAC", "MP3", "SDS")  # formats of which libsndfile knows only by reading that they are cut
_MPEG_SLACK = 4 * 1152  # samples: encoders disagree on whether the tag counts the padding of the first and last frames


@contextmanager
def open_sound(path: AudioFile, head: bytes, sizes: Verdict) -> Iterator[soundfile.SoundFile | None]:
    """Open a file that begins with `head` as its `sizes` say; None where libsndfile does not know it."""
    view = None if sizes.view is None else ViewedFile(path, sizes.view)
    if view is None and isinstance(path, EmbeddedFile):
        view = path.open()
    sound = None
    try:
        with mpg123_errors() if is_mpeg(head, path) else nullcontext(), suppress(soundfile.LibsndfileError):
            # as bytes: a name need not be UTF-8
            sound = soundfile.SoundFile(view or os.fsencode(path))  # type: ignore[arg-type]
        yield sound
    finally:
        for opened in (sound, view):
            if opened is not None:
                opened.close()


class SndfileSource:
    """An open sound file: `rate` in Hz, `channels`, `subtype` (their coding), `length()`, `read(begin, end)`.

    `unreadable` says why libsndfile cannot read it to its end, if so: a stream that does not state its length. `notes`
    says what is doubtful about it, more of which may show when its length is asked for.
    """

    def __init__(self, path: AudioFile, sound: soundfile.SoundFile, notes: tuple[str, ...] = ()) -> None:
        """Take over `sound`; raises AudioError if its header promises more than the file holds."""
        self.path, self.rate, self.channels = path, sound.samplerate, sound.channels
        self.subtype = sound.subtype
        self._sound, self._frames, self._mpeg = sound, sound.frames, sound.subtype == "MPEG_LAYER_III"
        if (
            sound.format == "RAW" and path.suffix.lower() != ".gsm"
        ):  # by the suffix .au alone libsndfile takes a file for samples
            head = beginning(path)[:8].hex(" ")
            raise AudioError(f"{path}: has no header: no sound file begins with the bytes {head}; {AGAIN}")
        self.notes = (*notes, *check_frames(path, sound))
        self._position = 0  # of a file in which libsndfile cannot seek
        self.unreadable = self._check_mpeg() if self._mpeg else ""
        if self._frames >= _NO_LENGTH:
            self.unreadable = _NO_END
        elif sound.format == "RAW":
            self.unreadable = "it is GSM 6.10 without a header"
        elif sound.subtype.startswith("DWVW"):
            self.unreadable = "libsndfile opens its coding DWVW, but cannot read it"

    def _check_mpeg(self) -> str:
        """Why libsndfile cannot read an mp3 to its end: fewer samples than its frames hold are stated, or none.

        Raises AudioError where more are stated.
        """
        counted = count_frames(self.path)
        stated = f"{self._frames / self.rate:.2f} s"
        held = f"{counted.samples / self.rate:.2f} s"
        if counted.samples > self._frames + _MPEG_SLACK:
            if counted.tagged:
                self.notes = (*self.notes, f"{self.path}: its header states {stated}, {held} follow: all are read")
                return f"its header states {stated} of {held}, so that libsndfile reads no more"
            return _NO_END
        if counted.tagged and self._frames > counted.samples + _MPEG_SLACK:
            raise AudioError(f"{self.path}: is truncated: its header promises {stated}, the file holds {held}; {AGAIN}")
        if not counted.tagged:
            self._frames = min(self._frames, counted.samples)
        return ""

    def length(self) -> int:
        """Samples per channel, taken from the header once its last sample has been read."""
        last = self._frames - 1
        unsure = self._mpeg or self._sound.format in _CHECKED_AT_THEIR_END
        if unsure and last >= 0 and not len(self._read(last, last + 1)):
            self._frames = len(self.read(0, None))
        return self._frames

    def read(self, begin: int, end: int | None) -> Float32[np.ndarray, "samples channels"]:
        """The samples `begin` to `end` (None: the last), fewer where the file ends; AudioError if it is truncated."""
        stop = self._frames if end is None else min(end, self._frames)
        samples = self._read(begin, stop)
        lacking = max(0, stop - begin) - len(samples)
        if lacking > (_MPEG_SLACK if self._mpeg else 0):
            raise AudioError(
                f"{self.path}: is truncated: its header promises {self._frames / self.rate:.2f} s, the file holds "
                f"{(stop - lacking) / self.rate:.2f} s; {AGAIN}"
            )
        if lacking:
            promise = f"its header counts {stop} samples, {stop - lacking} can be decoded"
            self.notes = (*self.notes, f"{self.path}: is cut by a few samples: {promise}; what is there is read")
        return samples

    def _read(self, begin: int, end: int) -> Float32[np.ndarray, "samples channels"]:
        if begin >= end:
            return np.zeros((0, self.channels), np.float32)
        with mpg123_errors() if self._mpeg else nullcontext([]) as errors:
            try:
                self._seek(begin)
                samples = self._verified() if (begin, end) == (0, self._frames) else self._floats(end - begin)
            except soundfile.LibsndfileError as error:
                raise AudioError(
                    f"{self.path}: is truncated or damaged: its header promises {self._frames / self.rate:.2f} s, of "
                    f"which {self._decodable() / self.rate:.2f} s or a little more can be decoded; {AGAIN}"
                ) from error
        if errors and begin == 0:  # elsewhere it also complains of what it has not read, before the segment
            within = f"within its first {end / self.rate:.2f} s"
            raise AudioError(f"{self.path}: is damaged {within}: libmpg123 says '{errors[0]}'; {AGAIN}")
        return samples

    def _seek(self, begin: int) -> None:
        """Go to the sample `begin`; what lies before it is read where libsndfile cannot seek, as in GSM 6.10."""
        if self._sound.seekable():
            self._sound.seek(begin)
            return
        assert begin >= self._position, "such a file is read forwards"
        while self._position < begin:
            self._floats(min(_AT_ONCE, begin - self._position))

    def _floats(self, count: int) -> Float32[np.ndarray, "samples channels"]:
        self._position += count
        return self._blocks(count, "float32")

    def _blocks(self, count: int, dtype: Literal["float32", "int16", "int32"]) -> np.ndarray:
        """The next `count` samples, fewer at the end: a header may promise more than the memory holds."""
        blocks = [self._sound.read(min(count, _AT_ONCE), dtype=dtype, always_2d=True)]
        while len(blocks[-1]) == _AT_ONCE and (rest := count - _AT_ONCE * len(blocks)) > 0:
            blocks.append(self._sound.read(min(rest, _AT_ONCE), dtype=dtype, always_2d=True))
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def _verified(self) -> Float32[np.ndarray, "samples channels"]:
        """All samples; those of a flac must give the MD5 in its header, since nothing else reveals lost frames."""
        (stated, wanted), size = flac_sum(self.path), _FLAC_BYTES.get(self._sound.subtype)
        if self._sound.format != "FLAC" or not wanted or size is None:
            return self._floats(self._frames)
        width = 2 if size == 2 else 4  # bytes that a sample is read into, its own in the upper ones
        samples = self._blocks(self._frames, "int16" if width == 2 else "int32")
        parts = samples.astype(f"<i{width}", copy=False).view(np.uint8).reshape(-1, width)[:, width - size :]
        ends = {len(parts), stated * self.channels}  # a count that is too small may have its own sum
        if wanted not in (hashlib.md5(parts[:end].tobytes(), usedforsecurity=False).digest() for end in ends):
            raise AudioError(
                f"{self.path}: is damaged: its {len(samples)} samples do not give the MD5 in its header; {AGAIN}"
            )
        return samples.astype(np.float32) * np.float32(2.0 ** (1 - 8 * width))

    def _decodable(self) -> int:
        """Samples before the first block that cannot be decoded; a flac that has failed can only be opened anew."""
        count, file = 0, self._sound.name
        if not isinstance(file, bytes):
            file.seek(0)
        with suppress(soundfile.LibsndfileError), soundfile.SoundFile(file) as sound:  # type: ignore[arg-type]
            while len(block := sound.read(_BLOCK, dtype="float32", always_2d=True)):
                count += len(block)
        return count
