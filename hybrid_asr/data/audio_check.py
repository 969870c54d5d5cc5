"""What the samples of an utterance say: whether they can be read to their end, how loud, silent and clipped they are.

A frame is 20 ms. It is silent where it is 40 dB below the loud frames of its utterance (their 95th percentile).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from hybrid_asr.audio import io
from hybrid_asr.data.content import content_hash
from hybrid_asr.data.manifest import Manifest

MEASURES = np.dtype(
    [
        ("content", np.uint64),
        ("seconds", np.float32),
        ("file_s", np.float32),
        ("level", np.float32),
        ("peak", np.float32),
        ("silent", np.float32),
        ("clipped", np.float32),
    ]
)
"""A row of measures: the hash of the samples, their seconds and those of the whole file, the level of what is not
silent (dB below full scale), the peak (1 is full scale), the silent share of the frames, the clipped share of the
samples."""

MEASURES_READ = tuple(name for name in MEASURES.names or () if name != "content")
"""The numbers among them, which are NaN for audio that was not read; its content is 0."""

NO_SOUND = 1e-3  # a peak of -60 dB: the noise of any microphone is louder
_FRAME_S = 0.02
_BELOW_LOUD = 1e-2  # 40 dB
_FULL_SCALE = 0.999
_FLAT = 0.98  # of the peak: three equal samples in a row up there are a cut wave
_LEAST_PEAK = 0.1  # of a wave that is looked at for flat tops: quiet ones of 16 bits have such steps anywhere


class Measured(NamedTuple):
    """An utterance that was read, as a row of MEASURES, with what is doubtful about its file; or why it was not read.

    `kind` is "unreadable", or "duration" for an entry that ends behind its file.
    """

    row: tuple[float, ...] | None
    told: tuple[str, ...] = ()
    error: str = ""
    kind: str = ""


def measure_utterance(manifest: Manifest, index: int) -> Measured:
    """Decode utterance `index` to its end, at the rate of its file."""
    utterance, told = manifest[index], []
    try:
        file = manifest.audio_file(index, utterance)
        info = io.info(file)
    except io.AudioError as error:
        return Measured(None, error=str(error), kind="unreadable")
    try:
        samples = io.read(
            file,
            start_s=utterance.start_s,
            duration_s=utterance.duration_s,
            rate=info.rate,
            channel=utterance.channel,
            tell=told.append,
        )
    except io.AudioError as error:
        behind = utterance.start_s + utterance.duration_s > info.duration_s + io.END_TOLERANCE_S
        return Measured(None, error=str(error), kind="duration" if behind else "unreadable")
    loud = frame_levels(samples, info.rate)
    silent = loud < _BELOW_LOUD * np.percentile(loud, 95)
    level = np.sqrt(np.mean(np.square(loud[~silent]))) if not silent.all() else 0.0
    return Measured(
        (
            content_hash(samples, info.rate),
            len(samples) / info.rate,
            info.duration_s,
            20 * np.log10(max(float(level), 1e-10)),
            float(np.abs(samples).max()),
            float(silent.mean()),
            float(clipped(samples).mean()),
        ),
        told=tuple(dict.fromkeys([*info.notes, *told])),
    )


def frame_levels(samples: Float32[np.ndarray, " samples"], rate: int) -> Float32[np.ndarray, " frames"]:
    """The root of the mean power of each frame of 20 ms; what is left at the end belongs to the last one."""
    edges = np.arange(0, max(len(samples) - int(_FRAME_S * rate) + 1, 1), max(1, int(_FRAME_S * rate)))
    sizes = np.diff(np.append(edges, len(samples)))
    return np.sqrt(np.add.reduceat(np.square(samples), edges) / sizes).astype(np.float32)


def clipped(samples: Float32[np.ndarray, " samples"]) -> Bool[np.ndarray, " samples"]:
    """The samples at full scale, and those in flat tops of a wave that was cut before it was made quieter."""
    size = np.abs(samples)
    full, peak = size >= _FULL_SCALE, float(size.max())
    if peak < _LEAST_PEAK or len(samples) < 3:
        return full
    same = (samples[1:] == samples[:-1]) & (size[1:] >= _FLAT * peak)
    middle = same[1:] & same[:-1]  # number i: samples i, i + 1 and i + 2 are equal
    flat = np.zeros(len(samples), dtype=bool)
    for shift in range(3):
        flat[shift : shift + len(middle)] |= middle
    return full | flat
