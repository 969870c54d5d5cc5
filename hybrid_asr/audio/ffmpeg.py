"""Sound files that libsndfile cannot read, decoded by an `ffmpeg` process.  Axes: S samples, C channels.

ffmpeg writes AU to a pipe: 32-bit floats behind a short header that gives rate and channels. The stream begins at the
file's start, since seeking is not exact to the sample in all formats; it is closed once the segment has been read.
"""

import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import Float32

from hybrid_asr.audio.embedded import AudioFile, EmbeddedFile
from hybrid_asr.audio.formats import AGAIN, AudioError, beginning

_BLOCK_BYTES = 1 << 20
# A line of the log: perhaps the component that writes, and its address, then the level.
_LOG_LINE = re.compile(r"^(?:\[[^\]]* @ 0x[0-9a-f]+\] )*\[(warning|error|fatal|panic)\] (.*)")
_CUT = re.compile("ended prematurely|Packet corrupt|[Tt]runcat")


@contextmanager
def _descriptor(file: AudioFile) -> Iterator[tuple[str, tuple[int, ...]]]:
    """A path by which a child process reads `file`, and what it must inherit: an embedded file is given as memory."""
    if not isinstance(file, EmbeddedFile):
        yield str(file), ()
        return
    number = os.memfd_create("sound")
    try:
        with file.open() as source, os.fdopen(number, "wb", closefd=False) as memory:
            shutil.copyfileobj(source, memory)
        yield f"/proc/self/fd/{number}", (number,)
    finally:
        os.close(number)


class FfmpegSource:
    """A sound file behind an ffmpeg process: `rate` in Hz, `channels`, `length()`, `read(begin, end)`; close it.

    `notes` says what is doubtful about its header.
    """

    def __init__(self, path: AudioFile, why: str, *, remedy: str = AGAIN, notes: tuple[str, ...] = ()) -> None:
        """Start ffmpeg on `path`, which libsndfile cannot read for the reason `why`.

        Raises AudioError if there is no ffmpeg on PATH or it finds no audio in the file.
        """
        program = shutil.which("ffmpeg")
        if program is None:
            raise AudioError(f"{path}: {why}; install ffmpeg (such as 'apt install ffmpeg') to read it, or {remedy}")
        self.path, self.notes, self._why, self._remedy, self._position = path, notes, why, remedy, 0
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close; a pipe that nobody reads could fill up)
        options = ["-nostdin", "-v", "level+warning", "-xerror", "-protocol_whitelist", "file,pipe"]
        output = ["-map", "0:a:0", "-f", "au", "-c:a", "pcm_f32be", "pipe:1"]
        with _descriptor(path) as (name, inherited):
            self._process = subprocess.Popen(
                [program, *options, "-i", f"file:{name}", *output],
                stdout=subprocess.PIPE,
                stderr=self._log,
                pass_fds=inherited,
            )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout
        try:
            self.rate, self.channels = self._header()
        except AudioError:
            self.close()
            raise

    def __enter__(self) -> "FfmpegSource":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, whether or not all was read."""
        self._process.kill()
        self._process.wait()
        self._pipe.close()
        self._log.close()

    def length(self) -> int:
        """Samples per channel of the whole file, found by decoding the rest of it; nothing can be read afterwards."""
        self._skip(None)
        return self._position

    def read(self, begin: int, end: int | None) -> Float32[np.ndarray, "samples channels"]:
        """The samples `begin` to `end` (None: the last), fewer where the file ends; only forwards."""
        assert begin >= self._position, "an ffmpeg stream only goes forwards"
        self._skip(begin)
        return self._take(None if end is None else end - self._position)

    def _header(self) -> tuple[int, int]:
        """Rate and channels from the AU header, at whose end the samples begin."""
        head = self._pipe.read(24)
        if len(head) < 24:
            self._fail()
        _, offset, _, _, rate, channels = struct.unpack(">4sIIIII", head)
        self._pipe.read(offset - 24)
        return rate, channels

    def _skip(self, until: int | None) -> None:
        """Decode and drop what lies before sample `until` (None: all)."""
        block = _BLOCK_BYTES // (4 * self.channels)
        while until is None or self._position < until:
            if not len(self._take(block if until is None else min(block, until - self._position))):
                return

    def _take(self, samples: int | None) -> Float32[np.ndarray, "samples channels"]:
        """The next `samples` (None: all), fewer at the end of the file."""
        size = 4 * self.channels
        data = self._pipe.read() if samples is None else self._pipe.read(max(0, samples) * size)
        count = len(data) // size
        self._position += count
        if samples is None or count < samples:
            if self._process.wait() != 0:
                self._fail()
            self._check_log()
        return np.frombuffer(data[: count * size], ">f4").astype(np.float32).reshape(count, self.channels)

    def _read_log(self) -> list[tuple[str, str]]:
        """The level and the text of each line that ffmpeg has written."""
        self._log.seek(0)
        lines = map(_LOG_LINE.search, self._log.read().decode("utf-8", "replace").splitlines())
        return [(line[1], line[2]) for line in lines if line and not line[2].startswith("Estimating duration")]

    def _check_log(self) -> None:
        """Notice a file that is cut, which some formats of ffmpeg do not take for an error."""
        said = [text for _, text in self._read_log() if _CUT.search(text)]
        if said and "prematurely" in said[0]:
            raise AudioError(
                f"{self.path}: is truncated: ffmpeg says '{said[0]}' after {self._position / self.rate:.2f} s; {AGAIN}"
            )
        notes = (f"{self.path}: ffmpeg says '{text}'; what is there is read" for text in said[:1])
        self.notes = tuple(dict.fromkeys((*self.notes, *notes)))

    def _fail(self) -> None:
        """Raise AudioError with the first error that ffmpeg wrote to its log, or the first warning."""
        self._process.wait()
        lines = self._read_log()
        errors = [text for level, text in lines if level != "warning"]
        ended = f"nothing, but ends with status {self._process.returncode}"
        message = (*errors, *(text for _, text in lines), ended)[0]
        if self._position:
            where = f"after {self._position / self.rate:.2f} s of sound ffmpeg says"
        else:
            where = f"ffmpeg says of its beginning, the bytes {beginning(self.path)[:8].hex(' ')}"
        raise AudioError(f"{self.path}: is damaged or not audio: {self._why}, and {where}: {message}; {self._remedy}")
