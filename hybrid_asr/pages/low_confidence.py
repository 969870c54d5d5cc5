"""Which words of a decoding are marked as doubtful, by what threshold, and how well that finds the wrong ones."""

import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from hybrid_asr.attention.confidence import CtcConfidence, ctc_confidence
from hybrid_asr.attention.confidence_errors import LabeledWords, choose_evenly, label_words
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.decodings import Damaged, Decoding, read_utterances
from hybrid_asr.run.config import RunConfig, set_paths
from hybrid_asr.scoring.align import Step
from hybrid_asr.scoring.ranking import Area, area_under_curve, best_cut
from hybrid_asr.scoring.scores import UNITS, Metric, UtteranceScore

MOST = 150  # utterances of a set that are looked at
LONGEST_S = 40.0  # of one
SECONDS = 900.0  # of all of them
USUAL: dict[Metric, float] = {"wer": 0.25, "cer": 0.6}  # nats a label, of models of ours (docs/attention.md)
ENOUGH = 20  # wrong words without which a validation set tells no threshold
LISTED = 20
NAMES: dict[Metric, str] = {"wer": "words", "cer": "characters"}
AROUND: dict[Metric, int] = {"wer": 3, "cer": 8}  # units before and behind one that are shown with it

Mark = str | None  # of a unit that is doubtful: what CTC thinks of it, for people
Marks = dict[str, list[tuple[Step, Mark]]]  # by utterance


class Threshold(NamedTuple):
    """Above how many nats a label a word is doubtful, and where that comes from."""

    nats: float
    origin: str


class Example(NamedTuple):
    """A doubtful word in its context; `step` has what was said in its place."""

    id: str
    step: Step
    mark: str
    before: str
    behind: str


class LowConfidence(NamedTuple):
    """The marks of each utterance, step by step of its alignment, and what they are worth.

    The numbers of units are those of an even choice from the set: utterances that are shown because they have errors
    would flatter the marks. `unaligned` utterances have no marks, since CTC has no path; `unread` tells of others.
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
    def support(self) -> float:
        """The threshold as a probability."""
        return math.exp(-self.threshold.nats)


def refuse_one_head(bundle: Bundle) -> None:
    """Raise UserError, which says why, of a model whose words cannot be marked."""
    if bundle.model.ctc is None or bundle.model.decoder is None:
        lacking = "CTC head" if bundle.model.ctc is None else "attention decoder"
        raise UserError(f"Doubtful words are marked where two heads can disagree; this model has no {lacking}.")
    if bundle.tokenizer.writes == "phonemes":
        raise UserError("Doubtful words are not marked: a phoneme model's text does not tell what was pronounced.")


def find_threshold(
    cfg: RunConfig, bundle: Bundle, weights: str, chosen: Decoding, table: Sequence[Decoding | Damaged]
) -> Threshold:
    """That of the best F1 on the validation set, as the same decoder wrote it with these weights; else the usual."""
    label = f"valid/{chosen.decoder}"
    if chosen.set_name == "valid":
        return _usual(chosen.metric, "on valid itself none is chosen")
    here = [
        one for one in table if isinstance(one, Decoding) and (one.set_name, one.decoder) == ("valid", chosen.decoder)
    ]
    if not here or here[0].weights != weights:
        return _usual(
            chosen.metric, f"there is no {label} of this model to choose by: hybrid-asr decode RUN --sets valid"
        )
    try:
        manifest, rows = Manifest.read(set_paths(cfg, ["valid"])["valid"], audio="unchecked"), read_utterances(here[0])
    except UserError as error:
        return _usual(chosen.metric, str(error))
    ids = _spread(manifest, rows)
    mine = [row for row in rows if row.id in ids]
    numbers, wrong, _ = _words(
        [*label_words(bundle, manifest, mine, ctc_confidence, unit=UNITS[chosen.metric], bad=_pass)]
    )
    counted = f"{wrong.sum()} of {len(wrong)} {NAMES[chosen.metric]} are wrong"
    if wrong.sum() < ENOUGH:
        return _usual(chosen.metric, f"on {label} only {counted}, too few to choose by")
    return Threshold(best_cut(numbers, wrong), f"the best F1 on {label}, where {counted}")


def _usual(metric: Metric, why: str) -> Threshold:
    return Threshold(USUAL[metric], f"the usual one; {why}")


def _pass(_: int, __: UserError) -> None:
    """What cannot be read tells nothing."""


def _spread(manifest: Manifest, rows: Sequence[UtteranceScore]) -> set[str]:
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
    sample, unread = _spread(manifest, rows), list[str]()
    wanted = {one.id for one in manifest if one.id in {*sample, *shown} and one.duration_s <= LONGEST_S}
    mine = [row for row in rows if row.id in wanted]
    unreadable = partial(_tell, unread)
    seen = [*label_words(bundle, manifest, mine, ctc_confidence, unit=UNITS[metric], bad=unreadable)]
    if not seen:
        raise UserError(unread[0] if unread else f"No utterance of at most {LONGEST_S:g} s has a text to look at.")
    judged = [one for one in seen if one.id in sample]
    numbers, wrong, names = _words(judged)
    marked = numbers > threshold.nats
    examples = sorted(pair for one in seen for pair in _examples(one, threshold, metric))
    return LowConfidence(
        threshold=threshold,
        marks={one.id: _marks(one, threshold) for one in seen if one.error_signs is not None},
        examples=[example for *_, example in examples[:LISTED]],
        utterances=sum(one.error_signs is not None for one in judged),
        words=len(numbers),
        marked=int(marked.sum()),
        wrong=int(wrong.sum()),
        caught=int((marked & wrong).sum()),
        unaligned=sum(one.error_signs is None for one in seen),
        unread=unread,
        area=area_under_curve(numbers, wrong, utterances=names) if wrong.any() and not wrong.all() else None,
    )


def _tell(told: list[str], _: int, error: UserError) -> None:
    told.append(str(error))


def _words(seen: Sequence[LabeledWords[CtcConfidence]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The doubt of each unit, whether it is wrong, and its utterance."""
    known = [
        (doubt.ctc, bad, one.id)
        for one in seen
        if one.error_signs is not None
        for doubt, bad in zip(one.error_signs, one.wrong, strict=True)
    ]
    return (
        np.array([ctc for ctc, *_ in known]),
        np.array([bad for _, bad, _ in known], bool),
        [name for *_, name in known],
    )


def _mark(doubt: CtcConfidence, threshold: Threshold) -> Mark:
    if doubt.ctc <= threshold.nats:
        return None
    return "CTC support under 1 %" if doubt.support < 0.01 else f"CTC support {100 * doubt.support:.0f} %"


def _marks(one: LabeledWords[CtcConfidence], threshold: Threshold) -> list[tuple[Step, Mark]]:
    error_signs = iter(one.error_signs or [])
    return [(step, _mark(next(error_signs), threshold) if step.hypothesis else None) for step in one.steps]


def _examples(
    one: LabeledWords[CtcConfidence], threshold: Threshold, metric: Metric
) -> list[tuple[float, str, int, Example]]:
    """The doubtful units of an utterance, behind what they are sorted by: the most doubtful first."""
    most, space = AROUND[metric], " " if metric == "wer" else ""
    said = [step for step in one.steps if step.hypothesis]
    texts, found = [step.hypothesis for step in said], []
    for place, (step, doubt) in enumerate(zip(said, one.error_signs or [], strict=False)):
        mark = _mark(doubt, threshold)
        if mark is not None:
            before, behind = texts[max(0, place - most) : place], texts[place + 1 : place + 1 + most]
            example = Example(one.id, step, mark, space.join(before), space.join(behind))
            found.append((-doubt.ctc, one.id, place, example))
    return found


def segments(text: str, marks: Sequence[tuple[Step, Mark]]) -> list[tuple[str, Mark]]:
    """A text, cut where a mark begins and ends; joined it is the text again."""
    found: list[tuple[str, Mark]] = []
    begin = end = 0
    for step, mark in marks:
        place = text.find(step.hypothesis, end)
        if place < 0:  # spelled otherwise than it is scored
            return [(text, None)]
        end = place + len(step.hypothesis)
        if mark is not None:
            found += [(text[begin:place], None), (text[place:end], mark)]
            begin = end
    return [one for one in [*found, (text[begin:], None)] if one[0]]
