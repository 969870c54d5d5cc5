"""A segment of a recording as a flac of its own, without loss: its samples are those of the recording."""

import io
from math import ceil, floor
from typing import NamedTuple

import numpy as np
import soundfile

from hybrid_asr.audio.embedded import AudioFile
from hybrid_asr.audio.io import open_source
from hybrid_asr.audio.sndfile import SndfileSource

MARGIN_S = 0.1  # on both sides, for the filter that resamples
# What flac can hold without loss, by libsndfile's names: how it is written, and how wide the samples given to it are.
_WRITTEN = {
    **dict.fromkeys(("PCM_S8", "PCM_U8"), ("PCM_S8", np.int16)),
    **dict.fromkeys(("PCM_16", "ULAW", "ALAW"), ("PCM_16", np.int16)),
    "PCM_24": ("PCM_24", np.int32),
}
_MOST_CHANNELS, _HIGHEST_RATE = 8, 655_350


class Recording(NamedTuple):
    """The seconds of a file, the bytes of a second of its samples in one channel, and whether it can be cut."""

    seconds: float
    bytes_a_second: int
    channels: int
    can_be_cut: bool


class Cut(NamedTuple):
    """A flac, and the second of the recording at which it begins, a whole one."""

    data: bytes
    start_s: int


def describe(file: AudioFile) -> Recording:
    """What `cut` must know of a file, from its header. Raises AudioError."""
    with open_source(file) as source:
        written = _WRITTEN.get(source.subtype) if isinstance(source, SndfileSource) else None
        fits = written is not None and source.channels <= _MOST_CHANNELS and source.rate <= _HIGHEST_RATE
        width = 3 if written and written[0] == "PCM_24" else 2
        return Recording(source.length() / source.rate, source.rate * width, source.channels, fits)


def cut(file: AudioFile, *, start_s: float, duration_s: float, channel: int | None) -> Cut:
    """The segment and a little before and after it, at the rate of the file: `channel` (1 is the first), or all.

    The flac begins at a whole second of the file, so that resampling it gives the samples that resampling the file
    gives, bit for bit. Raises AudioError.
    """
    with open_source(file) as source:
        assert isinstance(source, SndfileSource), "only what libsndfile reads is cut"
        subtype, kind = _WRITTEN[source.subtype]
        begin = max(0, floor(start_s - MARGIN_S))
        end = min(source.length(), ceil((start_s + duration_s + MARGIN_S) * source.rate))
        samples = source.read(begin * source.rate, end)
        rate = source.rate
    samples = samples if channel is None else samples[:, channel - 1 : channel]
    whole = np.rint(samples.astype(np.float64) * -float(np.iinfo(kind).min)).astype(kind)
    memory = io.BytesIO()
    soundfile.write(memory, whole, rate, format="FLAC", subtype=subtype)
    return Cut(memory.getvalue(), begin)
