"""The audio of utterances, to be played on a page and drawn above the attention."""

import base64
import io as memory
from typing import NamedTuple

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32

from hybrid_asr.data.manifest import Manifest

RATE = 16000
LONGEST_S = 40.0  # longer utterances are shown without their audio
BUDGET = 4_000_000  # characters of audio on a page, so that it stays small whatever the test set


class Clip(NamedTuple):
    """The audio of an utterance as a data URI; empty where it would not fit, `why` then says so."""

    uri: str
    why: str


class AudioClips:
    """The audio of a set's utterances, as clips of at most `budget` characters together."""

    def __init__(self, manifest: Manifest, *, budget: int = BUDGET):
        self.manifest = manifest
        self._indices = {utterance.id: index for index, utterance in enumerate(manifest)}
        self._budget_left = budget

    def has(self, key: str) -> bool:
        """Whether the set's manifest has this utterance."""
        return key in self._indices

    def seconds(self, key: str) -> float:
        """The duration of an utterance."""
        return float(self.manifest.durations[self._indices[key]])

    def read(self, key: str, rate: int) -> Float32[np.ndarray, " samples"]:
        """The samples of an utterance. Raises UserError that names a bad file."""
        return self.manifest.read_audio(self._indices[key], rate)

    def clip(self, key: str) -> Clip:
        """An utterance to be played, as MP3, which every browser plays; mono, 16 kHz."""
        if not self.has(key):
            return Clip("", "The set's manifest has no such utterance any more.")
        if self.seconds(key) > LONGEST_S:
            return Clip("", f"Longer than {LONGEST_S:g} s: not embedded.")
        uri = encode(self.read(key, RATE), RATE)
        if len(uri) > self._budget_left:
            return Clip("", "Not embedded: the page would be too large.")
        self._budget_left -= len(uri)
        return Clip(uri, "")


def encode(samples: Float32[np.ndarray, " samples"], rate: int) -> str:
    """A data URI of `samples` (full scale 1)."""
    if rate != RATE:
        samples, rate = soxr.resample(samples, rate, RATE), RATE
    file = memory.BytesIO()
    soundfile.write(file, samples, rate, format="MP3", subtype="MPEG_LAYER_III")
    return f"data:audio/mpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
