"""The transcripts of a manifest as the rules spell them; of a large one spelled by all cores, and never all held."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain

import numpy as np
from jaxtyping import Bool

from hybrid_asr.data.kept_arrays import Columns
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.manifest_lines import Transcript
from hybrid_asr.data.text_digest import text_digest
from hybrid_asr.text.normalize import TextConfig


def spelled_texts(manifest: Manifest, text: TextConfig, *, what: str) -> Iterator[str]:
    """Every transcript, in order; `what` they are for is told while it takes long."""
    return chain.from_iterable(manifest.map_transcripts(partial(_spell, text=text), what=what))


def hold_words(manifest: Manifest, text: TextConfig) -> Bool[np.ndarray, " utterances"]:
    """Whether the rules leave anything of each transcript; kept beside a large manifest."""

    def make() -> Columns:
        pieces = list(manifest.map_transcripts(partial(_hold_words, text=text), what="looking for words"))
        return Columns({"words": np.concatenate(pieces)})

    return manifest.kept("words", text_digest(text), make)["words"]


def _spell(first: int, transcripts: Iterable[Transcript], *, text: TextConfig) -> list[str]:
    return [text.spell(transcript.text, transcript.language) for transcript in transcripts]


def _hold_words(first: int, transcripts: Iterable[Transcript], *, text: TextConfig) -> np.ndarray:
    return np.array([one != "" for one in _spell(first, transcripts, text=text)], np.bool_)
