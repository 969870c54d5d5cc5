"""Words of a decoding marked for their low CTC confidence: by what threshold, and how many of them are wrong."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from hybrid_asr.attention.confidence import CtcConfidence, ctc_confidence
from hybrid_asr.attention.labeled_words import LabeledWords, choose_evenly, label_words
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.decodings import Damaged, Decoding, read_utterances
from hybrid_asr.run.config import RunConfig, set_paths
from hybrid_asr.scoring.align import Step
from hybrid_asr.scoring.roc import Area, area_under_curve, best_cut
from hybrid_asr.scoring.scores import UNITS, Metric, UtteranceScore

MOST = 150  # utterances of a set whose words are checked
LONGEST_S = 40.0  # of one of them
SECONDS = 900.0  # of all of them together
USUAL: dict[Metric, float] = {"wer": 0.25, "cer": 0.6}  # nats a label, of models of ours (docs/attention.md)
ENOUGH = 20  # wrong words that a validation set must have to choose a threshold by
LISTED = 20  # words with the lowest confidence
NAMES: dict[Metric, str] = {"wer": "words", "cer": "characters"}
CONTEXT: dict[Metric, int] = {"wer": 3, "cer": 8}  # units before and after one that are shown with it

Mark = str | None  # the CTC confidence of a unit that is marked, for people
Marks = dict[str, list[tuple[Step, Mark]]]  # by utterance


class Threshold(NamedTuple):
    """Above how many nats a label a word is marked, and where that number comes from."""

    nats: float
    origin: str


class Example(NamedTuple):
    """A marked word in its context; `step` has the reference word in its place."""

    id: str
    step: Step
    mark: str
    before: str
    after: str


class LowConfidence(NamedTuple):
    """The marks of each utterance, for each step of its alignment with the reference, and how many of them are wrong.

    The counts are those of an even choice from the set: utterances that are shown because they have errors would
    flatter the marks. `unaligned` utterances have no marks, since CTC has no path; `unread` are errors of reading.
    """

    threshold: Threshold
    marks: Marks
    examples: list[Example]
    utterances: int
    words: int
    marked: int
    wrong: int
    caught: int
    unaligned: int
    unread: list[str]
    area: Area | None

    @property
    def least_confidence(self) -> float:
        """The threshold as a probability: words below it are marked."""
        return math.exp(-self.threshold.nats)


def refuse_unmarkable(bundle: Bundle) -> None:
    """Raise UserError, which says why, for a model whose words cannot be marked."""
    if bundle.model.ctc is None or bundle.model.decoder is None:
        lacking = "CTC head" if bundle.model.ctc is None else "attention decoder"
        raise UserError(
            f"Words that may be wrong are marked where two heads can disagree; this model has no {lacking}."
        )
    if bundle.tokenizer.writes == "phonemes":
        raise UserError(
            "Words that may be wrong are not marked: a phoneme model's text does not tell what was pronounced."
        )


def find_threshold(
    cfg: RunConfig, bundle: Bundle, weights: str, chosen: Decoding, table: Sequence[Decoding | Damaged]
) -> Threshold:
    """That of the best F1 on the validation set, decoded by the same decoder and weights; else the usual one."""
    label = f"valid/{chosen.decoder}"
    if chosen.set_name == "valid":
        return _usual(chosen.metric, "on valid itself none is chosen")
    validated = [
        row
        for row in table
        if isinstance(row, Decoding) and (row.group, row.search, row.weights) == ("valid", chosen.search, weights)
    ]
    if not validated:
        return _usual(
            chosen.metric, f"there is no {label} of this model to choose by: hybrid-asr decode RUN --sets valid"
        )
    try:
        manifest, rows = (
            Manifest.read(set_paths(cfg, ["valid"])["valid"], audio="unchecked"),
            read_utterances(validated[0]),
        )
    except UserError as error:
        return _usual(chosen.metric, str(error))
    ids = _choose(manifest, rows)
    checked = [row for row in rows if row.id in ids]
    numbers, wrong, _ = _words(
        [*label_words(bundle, manifest, checked, ctc_confidence, unit=UNITS[chosen.metric], bad=_ignore)]
    )
    counted = f"{wrong.sum()} of {len(wrong)} {NAMES[chosen.metric]} are wrong"
    if wrong.sum() < ENOUGH:
        return _usual(chosen.metric, f"on {label} only {counted}, too few to choose by")
    return Threshold(best_cut(numbers, wrong), f"the best F1 on {label}, where {counted}")


def _usual(metric: Metric, why: str) -> Threshold:
    return Threshold(USUAL[metric], f"the usual one; {why}")


def _ignore(_: int, __: UserError) -> None:
    """Utterances that cannot be read are left out."""


def _choose(manifest: Manifest, rows: Sequence[UtteranceScore]) -> set[str]:
    return set(choose_evenly(manifest, [row.id for row in rows], most=MOST, longest_s=LONGEST_S, seconds=SECONDS))


def find_low_confidence(
    bundle: Bundle,
    threshold: Threshold,
    manifest: Manifest,
    rows: Sequence[UtteranceScore],
    metric: Metric,
    *,
    shown: Sequence[str],
) -> LowConfidence:
    """Mark the units of a decoding: in an even choice of its utterances, and in those that are `shown`."""
    sample, unread = _choose(manifest, rows), list[str]()
    wanted = {item.id for item in manifest if item.id in {*sample, *shown} and item.duration_s <= LONGEST_S}
    checked = [row for row in rows if row.id in wanted]
    note_error = partial(_append_error, unread)
    labeled = [*label_words(bundle, manifest, checked, ctc_confidence, unit=UNITS[metric], bad=note_error)]
    if not labeled:
        raise UserError(unread[0] if unread else f"No utterance of at most {LONGEST_S:g} s has a text to check.")
    counted = [words for words in labeled if words.id in sample]
    numbers, wrong, names = _words(counted)
    marked = numbers > threshold.nats
    examples = sorted(pair for words in labeled for pair in _examples(words, threshold, metric))
    return LowConfidence(
        threshold=threshold,
        marks={words.id: _marks(words, threshold) for words in labeled if words.error_signs is not None},
        examples=[example for *_, example in examples[:LISTED]],
        utterances=sum(words.error_signs is not None for words in counted),
        words=len(numbers),
        marked=int(marked.sum()),
        wrong=int(wrong.sum()),
        caught=int((marked & wrong).sum()),
        unaligned=sum(words.error_signs is None for words in labeled),
        unread=unread,
        area=area_under_curve(numbers, wrong, utterances=names) if wrong.any() and not wrong.all() else None,
    )


def _append_error(errors: list[str], _: int, error: UserError) -> None:
    errors.append(str(error))


def _words(labeled: Sequence[LabeledWords[CtcConfidence]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The nats of each unit, whether it is wrong, and its utterance."""
    rows = [
        (confidence.ctc, wrong, words.id)
        for words in labeled
        if words.error_signs is not None
        for confidence, wrong in zip(words.error_signs, words.wrong, strict=True)
    ]
    return (
        np.array([nats for nats, *_ in rows]),
        np.array([wrong for _, wrong, _ in rows], bool),
        [name for *_, name in rows],
    )


def _mark(confidence: CtcConfidence, threshold: Threshold) -> Mark:
    if confidence.ctc <= threshold.nats:
        return None
    percent = 100 * confidence.probability
    return "under 1 %" if percent < 1 else f"{percent:.0f} %"


def _marks(words: LabeledWords[CtcConfidence], threshold: Threshold) -> list[tuple[Step, Mark]]:
    confidences = iter(words.error_signs or [])
    return [(step, _mark(next(confidences), threshold) if step.hypothesis else None) for step in words.steps]


def _examples(
    words: LabeledWords[CtcConfidence], threshold: Threshold, metric: Metric
) -> list[tuple[float, str, int, Example]]:
    """The marked units of an utterance with the keys that they are sorted by: the lowest confidence first."""
    most, space = CONTEXT[metric], " " if metric == "wer" else ""
    steps = [step for step in words.steps if step.hypothesis]
    texts, marked = [step.hypothesis for step in steps], []
    for index, (step, confidence) in enumerate(zip(steps, words.error_signs or [], strict=False)):
        mark = _mark(confidence, threshold)
        if mark is not None:
            before, after = texts[max(0, index - most) : index], texts[index + 1 : index + 1 + most]
            example = Example(words.id, step, mark, space.join(before), space.join(after))
            marked.append((-confidence.ctc, words.id, index, example))
    return marked


def segments(text: str, marks: Sequence[tuple[Step, Mark]]) -> list[tuple[str, Mark]]:
    """A text, cut where a mark begins and ends; joined it is the text again."""
    parts: list[tuple[str, Mark]] = []
    begin = end = 0
    for step, mark in marks:
        start = text.find(step.hypothesis, end)
        if start < 0:  # spelled otherwise than it is scored
            return [(text, None)]
        end = start + len(step.hypothesis)
        if mark is not None:
            parts += [(text[begin:start], None), (text[start:end], mark)]
            begin = end
    return [part for part in [*parts, (text[begin:], None)] if part[0]]
