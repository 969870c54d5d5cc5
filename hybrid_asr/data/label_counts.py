"""The labels of transcripts, counted in one pass over a set; how many frames CTC needs for them, and how much audio."""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.problems import SHOWN
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.text.labels import Writes, text_units
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.tokenizer import Tokenizer


class CheckError(UserError):
    """A training that should not begin; the message names what is wrong with its sets."""


class LabelCounts(NamedTuple):
    """What one pass over the transcripts of a set finds; arrays have one entry an utterance.

    `labels` counts labels, `needs` the frames that CTC needs for them: one each and a blank between equal neighbors.
    `unwritable` are the utterances with characters that the tokenizer lacks, `lacking` these characters; of a tokenizer
    that `writes` phonemes they are the words that its lexicon lacks.
    """

    labels: Int64[np.ndarray, " utterances"]
    needs: Int64[np.ndarray, " utterances"]
    unwritable: Int64[np.ndarray, " some"]
    lacking: frozenset[str]
    speakers: frozenset[str]
    writes: Writes = "text"


def label_counts(
    manifest: Manifest, tokenizer: Tokenizer, text: TextConfig, *, empty: Literal["refuse", "allow"] = "refuse"
) -> LabelCounts:
    """Count the labels of every transcript as `text` spells it.

    Raises CheckError where nothing is left of transcripts, which sets that are only scored may have (`empty`: "allow").
    """
    labels, needs, unwritable = np.zeros(len(manifest), np.int64), np.zeros(len(manifest), np.int64), []
    known: set[str] = set()
    lacking: set[str] = set()
    speakers: set[str] = set()
    separator = " " if tokenizer.writes == "phonemes" else ""
    nothing: list[int] = []
    for index, utterance in enumerate(manifest):
        spelled = text.spell(utterance.text, utterance.language)
        encoded = tokenizer.encode(spelled)
        if not encoded:
            nothing.append(index)
        labels[index], needs[index] = len(encoded), ctc_needs(encoded)
        units = text_units(spelled, tokenizer.writes, tokenizer.tags)
        if new := units - known:
            lacking |= tokenizer.missing(separator.join(sorted(new)))
            known |= new
        if not lacking.isdisjoint(units):
            unwritable.append(index)
        if utterance.speaker is not None:
            speakers.add(utterance.speaker)
    if nothing and empty == "refuse":
        raise CheckError(describe_empty(manifest, nothing, text))
    return LabelCounts(
        labels, needs, np.array(unwritable, np.int64), frozenset(lacking), frozenset(speakers), tokenizer.writes
    )


def describe_empty(manifest: Manifest, indices: list[int], text: TextConfig) -> str:
    """The message for transcripts of which the rules leave nothing: how many, the first few, the remedies."""
    shown = [f"{manifest.where(index)}: '{manifest[index].text}'" for index in indices[:SHOWN]]
    return (
        f"{len(indices)} of {len(manifest)} transcripts: the rules '{text.rules}' leave nothing of them: "
        f"{'; '.join(shown)}{'; ...' if len(indices) > SHOWN else ''}; leave them out with data.empty=leave_out, "
        "choose other rules with text.rules, or correct or remove the lines"
    )


def ctc_needs(labels: list[int]) -> int:
    """The fewest frames for CTC: one for each label, a blank between equal neighbors (Graves et al., 2006)."""
    return len(labels) + sum(label == following for label, following in pairwise(labels))


def least_seconds(
    largest: int, *, frames: Callable[[int], int], output_length: Callable[[int], int], rate: int
) -> Float64[np.ndarray, " needs"]:
    """Entry n is the shortest audio, in seconds, that gives n encoder frames, for n up to `largest`.

    `frames` maps samples to feature frames, `output_length` these to encoder frames; neither ever falls.
    """
    table, samples = np.zeros(largest + 1), 0
    for need in range(1, largest + 1):
        step = 1
        while output_length(frames(samples + step)) < need:
            step *= 2
        low, samples = samples + step // 2, samples + step
        while samples - low > 1:
            middle = (low + samples) // 2
            low, samples = (low, middle) if output_length(frames(middle)) >= need else (middle, samples)
        table[need] = (samples - 0.5) / rate  # a change of speed rounds to whole samples
    return table
