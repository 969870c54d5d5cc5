"""The labels of transcripts, counted in one pass over a set; how many frames CTC needs for them, and how much audio."""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from operator import eq
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int, Int64

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.problems import SHOWN
from hybrid_asr.data.kept_arrays import Columns
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.manifest_lines import Transcript
from hybrid_asr.data.odd_transcripts import Findings
from hybrid_asr.data.oddities import kept_summary
from hybrid_asr.data.text_digest import text_digest, tokenizer_digest
from hybrid_asr.text.labels import Writes, text_units
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.tokenizer import Tokenizer


class CheckError(UserError):
    """A training that should not begin; the message names what is wrong with its sets."""


class LabelCounts(NamedTuple):
    """What one pass over the transcripts of a set finds; arrays have one entry an utterance.

    `labels` counts labels, `needs` the frames that CTC needs for them: one each and a blank between equal neighbors.
    `unwritable` are the utterances with characters that the tokenizer lacks, `lacking` these characters; of a tokenizer
    that `writes` phonemes they are the words that its lexicon lacks. `rate` is the first percentile of labels a second.
    """

    labels: Int[np.ndarray, " utterances"]
    needs: Int[np.ndarray, " utterances"]
    unwritable: Int64[np.ndarray, " some"]
    lacking: frozenset[str]
    speakers: frozenset[str]
    writes: Writes = "text"
    rate: float = 0.0


def label_counts(
    manifest: Manifest, tokenizer: Tokenizer, text: TextConfig, *, empty: Literal["refuse", "allow"] = "refuse"
) -> LabelCounts:
    """Count the labels of every transcript as `text` spells it; those of a large manifest are kept beside it.

    The same pass over a large manifest finds what is odd in its transcripts, so that they are read and spelled once.

    Raises CheckError where nothing is left of transcripts, which sets that are only scored may have (`empty`: "allow").
    """

    def make() -> Columns:
        count = partial(_count, tokenizer=tokenizer, text=text)
        pieces = list(manifest.map_transcripts(count, what="counting labels"))
        if manifest.keeps:
            kept_summary(manifest, text, lambda: (piece.findings for piece in pieces))
        lacking = frozenset[str]().union(*(piece.lacking for piece in pieces))
        arrays = {
            "labels": np.concatenate([piece.labels for piece in pieces]),
            "needs": np.concatenate([piece.needs for piece in pieces]),
            "unwritable": np.array([index for piece in pieces for index in piece.unwritable], np.int64),
        }
        rate = float(np.percentile(arrays["labels"] / manifest.durations, 1, overwrite_input=True))
        speakers = frozenset[str]().union(*(piece.speakers for piece in pieces))
        facts = {"lacking": sorted(lacking), "speakers": sorted(speakers), "rate": rate}
        return Columns(arrays, facts)

    if len(manifest) == 0:
        none = np.zeros(0, np.int32)
        return LabelCounts(none, none, np.zeros(0, np.int64), frozenset(), frozenset(), tokenizer.writes)
    kept = manifest.kept("labels", text_digest(text, tokenizer_digest(tokenizer)), make)
    if empty == "refuse" and not kept["labels"].all():
        raise CheckError(describe_empty(manifest, np.flatnonzero(kept["labels"] == 0).tolist(), text))
    return LabelCounts(
        kept["labels"],
        kept["needs"],
        kept["unwritable"],
        frozenset(kept.facts["lacking"]),
        frozenset(kept.facts["speakers"]),
        tokenizer.writes,
        kept.facts["rate"],
    )


class _Counted(NamedTuple):
    """The counts of some utterances."""

    labels: np.ndarray
    needs: np.ndarray
    unwritable: list[int]
    lacking: set[str]
    speakers: set[str]
    findings: Findings


def _count(first: int, transcripts: Iterable[Transcript], *, tokenizer: Tokenizer, text: TextConfig) -> _Counted:
    findings = Findings(text)
    labels, needs, unwritable = list[int](), list[int](), list[int]()
    known, lacking, speakers = set[str](), set[str](), set[str]()
    separator = " " if tokenizer.writes == "phonemes" else ""
    for index, transcript in enumerate(transcripts, first):
        spelled = findings.look(index, transcript.text, transcript.language)
        encoded = tokenizer.encode(spelled)
        labels.append(len(encoded))
        needs.append(ctc_needs(encoded))
        units = text_units(spelled, tokenizer.writes, tokenizer.tags)
        if new := units - known:
            lacking |= tokenizer.missing(separator.join(sorted(new)))
            known |= new
        if not lacking.isdisjoint(units):
            unwritable.append(index)
        if transcript.speaker is not None:
            speakers.add(transcript.speaker)
    return _Counted(np.array(labels, np.int32), np.array(needs, np.int32), unwritable, lacking, speakers, findings)


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
    return len(labels) + sum(map(eq, labels, islice(labels, 1, None)))


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
