"""Read and write sound files: any format, any rate, any number of channels, in full or a segment.  Axes: S samples."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil, gcd
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from hybrid_asr.audio.embedded import AudioFile, EmbeddedFile, bytes_of
from hybrid_asr.audio.extent import sphere_coding
from hybrid_asr.audio.ffmpeg import FfmpegSource
from hybrid_asr.audio.flac_frames import find_flac, judge_flac
from hybrid_asr.audio.formats import AGAIN, AudioError, check_present, check_rate, refuse_non_audio
from hybrid_asr.audio.frame_counts import voc_blocks
from hybrid_asr.audio.header_sizes import judge
from hybrid_asr.audio.ogg import OggStreams, check_ogg
from hybrid_asr.audio.sndfile import SndfileSource, open_sound
from hybrid_asr.common.errors import AudioWarning

END_TOLERANCE_S = 0.01  # a segment may end this far past its file: tables round their times
_CANCELED = 1e-3  # the power of the mean of the channels, less than this part of their mean power
_LOUDEST = 2.0**32  # full scale is 1; some programs write whole numbers of 32 bits as floats
_CONTEXT_S = 0.05  # read on both sides of a segment for the resampling filter, which is shorter


class AudioInfo(NamedTuple):
    """What a sound file holds: its rate in Hz, its samples per channel, its channels.

    `notes` says what is doubtful about its header: file, cause, and what was done.
    """

    rate: int
    samples: int
    channels: int
    notes: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Its length in seconds."""
        return self.samples / self.rate


def info(path: str | os.PathLike[str] | EmbeddedFile) -> AudioInfo:
    """Rate, length and channels of a sound file, from its header where that can be trusted.

    The whole file is decoded only if ffmpeg must read it. Raises AudioError as `read` does, except that samples which
    are not numbers are found by reading alone.
    """
    path = _as_file(path)
    with open_source(path) as source:
        samples = source.length()
        if samples == 0:
            raise _empty(path)
        return AudioInfo(source.rate, samples, source.channels, source.notes)


def warn(message: str) -> None:
    """Give `message` as a Python warning, an AudioWarning, which by default is shown once."""
    warnings.warn(message, AudioWarning, stacklevel=2)


def read(
    path: str | os.PathLike[str] | EmbeddedFile,
    *,
    start_s: float = 0.0,
    duration_s: float | None = None,
    rate: int = 16000,
    channel: int | None = None,
    tell: Callable[[str], None] = warn,
) -> Float32[np.ndarray, " samples"]:
    """A sound file, or the segment of `duration_s` at `start_s`, at `rate` Hz, full scale 1.

    Read is `channel` (1 is the first), or the mean of all; `tell` gets a message, which names the file, where what is
    read is in doubt.

    wav, flac, mp3, ogg, SPHERE and all else that libsndfile knows; other formats through `ffmpeg` if it is on PATH.
    A segment is the same samples as that slice of the file, from round(start_s * rate) on, so that neighboring
    segments meet without a gap; only the segment, and 50 ms around it where it must be resampled, is read. (ffmpeg
    decodes from the start of the file, so that many segments of one long file are better cut from wav or flac.)
    Raises AudioError for a missing, empty, truncated or damaged file, for one that is not audio, for samples that are
    NaN or infinite, for a channel that it lacks, and for a segment that ends more than 10 ms past the end of its file.
    """
    path = _as_file(path)
    _check_segment(path, start_s, duration_s, rate)
    with open_source(path) as source:
        begin = round(start_s * rate)
        end = None if duration_s is None else round((start_s + duration_s) * rate)
        common = gcd(source.rate, rate)
        out, into = (
            rate // common,
            source.rate // common,
        )  # `into` samples of the file last as long as `out` of the result
        context = 0 if out == into else ceil(_CONTEXT_S * rate)
        first = max(0, begin - context) // out * out  # where a sample of the file and one of the result coincide
        last = None if end is None else ceil((end + context) * into / out)
        decoded = _mono(source.read(first // out * into, last), path, channel, tell)
        _check_finite(path, decoded, first / rate, source.rate)
        if out != into:
            decoded = soxr.resample(decoded, source.rate, rate, quality="VHQ")
        samples = decoded[begin - first : None if end is None else end - first]
        wanted = 1 if end is None else end - begin
        if len(samples) < max(1, wanted - round(END_TOLERANCE_S * rate)):
            raise _past_the_end(path, start_s, duration_s, source.length() / source.rate)
        for note in source.notes:
            tell(note)
        return np.ascontiguousarray(samples)


def write(path: str | os.PathLike[str], samples: Float32[np.ndarray, " samples"], rate: int) -> None:
    """Write `samples` (full scale 1, louder ones are clipped) as 16-bit wav or flac, by the suffix of `path`.

    What is read back differs by at most half a step of 16 bits. The file appears whole or not at all.
    Raises AudioError for another suffix and for samples that are NaN or infinite.
    """
    path = Path(path)
    container = {".wav": "WAV", ".flac": "FLAC"}.get(path.suffix.lower())
    if container is None:
        raise AudioError(f"{path}: only .wav and .flac are written; choose one of these suffixes")
    _check_finite(path, samples, 0.0, rate)
    # libsndfile would scale by 32767, yet divides by 32768 when it reads
    steps = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
    # no fsync, which would cost a corpus of thousands of files minutes
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        soundfile.write(unfinished, steps, rate, format=container, subtype="PCM_16")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def change_speed(samples: Float32[np.ndarray, " samples"], factor: float, rate: int) -> Float32[np.ndarray, " changed"]:
    """Play `samples` `factor` times as fast: tempo and pitch both change (sox's and Kaldi's 'speed'; Ko et al., 2015).

    The result has round(S / factor) samples at the same `rate` in Hz, to which the factor is relative.
    """
    assert factor > 0 and rate > 0, "a speed is a positive factor"
    if factor == 1.0:
        return samples
    wanted = round(len(samples) / factor)
    changed = soxr.resample(samples, rate * factor, rate, quality="HQ")[:wanted]
    return np.pad(changed, (0, wanted - len(changed)))


def _as_file(path: str | os.PathLike[str] | EmbeddedFile) -> AudioFile:
    return path if isinstance(path, EmbeddedFile) else Path(path)


@contextmanager
def open_source(path: AudioFile) -> Iterator[SndfileSource | FfmpegSource]:
    """Open a file with libsndfile where it knows the format and the length, else with ffmpeg."""
    check_present(path)
    with path.open("rb") as file:
        head = file.read(512)
        refuse_non_audio(path, head)
        size = bytes_of(path)
        flac = find_flac(file, head)
        sizes = judge(path, file, head, size) if flac is None else judge_flac(path, file, flac, size)
        foreign = sphere_coding(file, head)
        blocks = voc_blocks(path, file, size) if head.startswith(b"Creative Voice File") else 1
    streams = check_ogg(path) if head.startswith(b"OggS") else OggStreams(1, ())
    notes, remedy = (*sizes.notes, *streams.notes), AGAIN
    if streams.chained > 1:
        why = f"it is a chain of {streams.chained} streams, of which libsndfile reads the first alone"
        notes = (
            *notes,
            f"{path}: is a chain of {streams.chained} Ogg streams; all of them are read, one after another",
        )
    elif blocks > 1:
        why = f"its samples are in {blocks} blocks, of which libsndfile knows the first alone"
    elif foreign:
        why, remedy = f"its samples are compressed: {foreign}", "unpack it with 'sph2pipe -f wav FILE.sph FILE.wav'"
    else:
        with open_sound(path, head, sizes) as sound:
            if sound is not None:
                source = SndfileSource(path, sound, notes)
                check_rate(path, source.rate)
                if not source.unreadable:
                    yield source
                    return
                notes = source.notes
            why = "its format is not known to libsndfile, or it is damaged" if sound is None else source.unreadable
    with FfmpegSource(path, why, remedy=remedy, notes=notes) as source:
        check_rate(path, source.rate)
        yield source


def _mono(
    samples: Float32[np.ndarray, "samples channels"], path: AudioFile, channel: int | None, tell: Callable[[str], None]
) -> Float32[np.ndarray, " samples"]:
    """One channel, or the mean of all; where they cancel each other, as on a balanced line, the first."""
    channels = samples.shape[1]
    if channel is not None:
        if not 1 <= channel <= channels:
            raise AudioError(f"{path}: has no channel {channel}, its channels are 1 to {channels}; correct the channel")
        return samples[:, channel - 1]
    if channels == 1:
        return samples[:, 0]
    mean = samples @ np.full(channels, 1 / channels, np.float32)  # many times faster than .mean(axis=1)
    if np.vdot(mean, mean) < _CANCELED * np.vdot(samples, samples) / channels:
        tell(
            f"{path}: its channels cancel each other, as if of opposite phase; the first is read in place of their "
            "mean: choose one by 'channel' in the manifest, or --channel"
        )
        return samples[:, 0]
    return mean


def _check_segment(path: AudioFile, start_s: float, duration_s: float | None, rate: int) -> None:
    if not 0 <= start_s < float("inf"):
        raise AudioError(f"{path}: a segment cannot start at {start_s} s; correct its start")
    if duration_s is not None and not 1 / rate <= duration_s < float("inf"):
        raise AudioError(f"{path}: a segment cannot last {duration_s} s; correct its duration")


def _check_finite(path: AudioFile, samples: Float32[np.ndarray, " samples"], start_s: float, rate: int) -> None:
    valid = np.abs(samples) <= _LOUDEST  # False for NaN, too
    if not valid.all():
        index = int(np.argmin(valid))
        raise AudioError(
            f"{path}: the sample at {start_s + index / rate:.3f} s is {samples[index]}; "
            "write the file anew from its source"
        )


def _empty(path: AudioFile) -> AudioError:
    return AudioError(f"{path}: holds no samples; copy or download it again, or leave it out")


def _past_the_end(path: AudioFile, start_s: float, duration_s: float | None, file_s: float) -> AudioError:
    if file_s == 0:
        return _empty(path)
    segment = f"starts at {start_s:.2f} s" if duration_s is None else f"ends at {start_s + duration_s:.2f} s"
    return AudioError(f"{path}: lasts {file_s:.2f} s, the segment {segment}; correct its times")
