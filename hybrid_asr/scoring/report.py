"""The error report of a set: rates with their 95 % intervals, and where the errors are."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybrid_asr.scoring import text_report as printed
from hybrid_asr.scoring.align import ErrorCounts, count_all
from hybrid_asr.scoring.significance import Interval, rate_intervals
from hybrid_asr.scoring.utterances import (
    UNITS,
    Confusion,
    Metric,
    Scored,
    ScoringError,
    SpeakerScore,
    UtteranceScore,
    confusions,
    count_keys,
    score_speakers,
    score_utterances,
)
from hybrid_asr.text.normalize import normalize

_CONFUSIONS_IN_JSON = 100
_SUSPICIOUS_RATE = 0.5


@dataclass(frozen=True, kw_only=True)
class ErrorReport:
    """Error rates of a set, as fractions.

    `*_ci95` comes from the bootstrap over utterances, `*_ci95_speakers` from that over speakers, where all are known;
    None where there are fewer than two.  `metric` decides what makes a sentence wrong (`ser`) and the units of
    `confusions`.
    """

    metric: Metric
    wer: float
    wer_ci95: Interval | None
    wer_ci95_speakers: Interval | None
    cer: float
    cer_ci95: Interval | None
    cer_ci95_speakers: Interval | None
    ser: float
    ser_ci95: Interval | None
    ser_ci95_speakers: Interval | None
    words: ErrorCounts
    characters: ErrorCounts
    empty: int  # hypotheses without a character
    speakers: tuple[SpeakerScore, ...]  # the highest rate of `metric` first
    confusions: tuple[Confusion, ...]  # the most frequent first
    rows: tuple[UtteranceScore, ...]  # in the order in which they were given

    @property
    def rate(self) -> float:
        """The rate of the chosen metric."""
        return self.wer if self.metric == "wer" else self.cer

    @property
    def utterances(self) -> int:
        """How many utterances were scored."""
        return len(self.rows)

    def to_json(self) -> dict[str, Any]:
        """Plain containers for `json.dumps`; rates are fractions, intervals [low, high] or null."""
        return {
            "metric": self.metric,
            "wer": self.wer,
            "wer_ci95": _pair(self.wer_ci95),
            "wer_ci95_speakers": _pair(self.wer_ci95_speakers),
            "cer": self.cer,
            "cer_ci95": _pair(self.cer_ci95),
            "cer_ci95_speakers": _pair(self.cer_ci95_speakers),
            "ser": self.ser,
            "ser_ci95": _pair(self.ser_ci95),
            "ser_ci95_speakers": _pair(self.ser_ci95_speakers),
            **count_keys(self.words, self.characters),
            "utterances": self.utterances,
            "empty": self.empty,
            "confusions": [item._asdict() for item in self.confusions[:_CONFUSIONS_IN_JSON]],
            "per_speaker": [item.to_json() for item in self.speakers],
            "per_utterance": [row.to_json() for row in self.rows],
        }

    def text(self, *, aligned: int = 10) -> str:
        """The report for people, with the alignments of the `aligned` utterances that have the most errors."""
        parts = [
            _headline(self),
            _spelling_note(self),
            printed.speaker_table(self.speakers, self.metric),
            printed.confusion_table(self.confusions),
            printed.alignments(self.rows, self.metric, most=aligned),
        ]
        return "\n\n".join(part for part in parts if part)


def report(items: Sequence[Scored], *, metric: Metric = "wer") -> ErrorReport:
    """Score a set.

    Raises ScoringError where there is no utterance, an id stands twice, or no reference has a word.
    """
    _check(items)
    rows = score_utterances(items)
    words = sum((row.words for row in rows), ErrorCounts())
    if not words.reference:
        raise ScoringError(f"none of the {len(rows)} references has a word: no rate can be given; check the references")
    characters = sum((row.characters for row in rows), ErrorCounts())
    wrong = [row.counts(metric).errors > 0 for row in rows]
    wer, cer, ser = _intervals(rows, wrong, by_speaker=False)
    wer_speakers, cer_speakers, ser_speakers = _intervals(rows, wrong, by_speaker=True)
    return ErrorReport(
        metric=metric,
        wer=words.rate,
        wer_ci95=wer,
        wer_ci95_speakers=wer_speakers,
        cer=characters.rate,
        cer_ci95=cer,
        cer_ci95_speakers=cer_speakers,
        ser=sum(wrong) / len(rows),
        ser_ci95=ser,
        ser_ci95_speakers=ser_speakers,
        words=words,
        characters=characters,
        empty=sum(not row.hypothesis.strip() for row in rows),
        speakers=score_speakers(rows, metric),
        confusions=confusions(rows, metric),
        rows=rows,
    )


def speakers_of(rows: Sequence[UtteranceScore]) -> list[str] | None:
    """The speaker of each utterance, if all are known."""
    known = [row.speaker for row in rows if row.speaker is not None]
    return known if len(known) == len(rows) else None


def _check(items: Sequence[Scored]) -> None:
    if not items:
        raise ScoringError("there is no utterance to score")
    repeated = [key for key, times in Counter(item.id for item in items).items() if times > 1]
    if repeated:
        raise ScoringError(f"utterance '{repeated[0]}' stands more than once; every id must be unique")


def _intervals(rows: Sequence[UtteranceScore], wrong: Sequence[bool], *, by_speaker: bool) -> Sequence[Interval | None]:
    """The intervals of word, character and sentence error rate."""
    groups = speakers_of(rows) if by_speaker else None
    if by_speaker and groups is None:
        return [None] * 3
    errors = np.array([[row.words.errors, row.characters.errors, bad] for row, bad in zip(rows, wrong, strict=True)])
    reference = np.array([[row.words.reference, row.characters.reference, 1] for row in rows])
    return rate_intervals(errors, reference, groups=groups) or [None] * 3


def _headline(scores: ErrorReport) -> str:
    """The rates and the numbers behind them."""
    counts, unit = (scores.words, "word") if scores.metric == "wer" else (scores.characters, "character")
    number = len(scores.speakers)
    return "\n".join(
        [
            printed.rate_line("WER", scores.wer, scores.wer_ci95, scores.wer_ci95_speakers, speakers=number),
            printed.rate_line("CER", scores.cer, scores.cer_ci95, scores.cer_ci95_speakers, speakers=number),
            printed.rate_line("SER", scores.ser, scores.ser_ci95, scores.ser_ci95_speakers, speakers=number),
            f"{printed.counted(counts.reference, unit)}: {printed.counted(counts.substitutions, 'substitution')}, "
            f"{printed.counted(counts.deletions, 'deletion')}, {printed.counted(counts.insertions, 'insertion')}; "
            f"{printed.counted(scores.utterances, 'utterance')}, {scores.empty} with an empty hypothesis",
        ]
    )


def _spelling_note(scores: ErrorReport) -> str:
    """A hint where most errors are of case or punctuation: the two sides were normalized by different rules."""
    if scores.rate < _SUSPICIOUS_RATE:
        return ""
    references = [normalize(row.reference, "basic@1") for row in scores.rows]
    hypotheses = [normalize(row.hypothesis, "basic@1") for row in scores.rows]
    plain = sum(count_all(references, hypotheses, UNITS[scores.metric]), ErrorCounts())
    if plain.rate > scores.rate / 2:
        return ""
    return (
        f"Note: without case and punctuation the {scores.metric.upper()} is {printed.percent(plain.rate)}; "
        "bring both sides into one spelling before you compare"
    )


def _pair(interval: Interval | None) -> list[float] | None:
    return list(interval) if interval else None
