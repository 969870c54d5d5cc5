"""The error report of a set: rates with their 95 % intervals, and where the errors are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybrid_asr.scoring import text_report as printed
from hybrid_asr.scoring.align import ErrorCounts
from hybrid_asr.scoring.intervals import Interval, Rate, rate_intervals
from hybrid_asr.scoring.scores import (
    UNITS,
    Confusion,
    Metric,
    Scored,
    ScoringError,
    SpeakerScore,
    TextErrors,
    UtteranceErrors,
    UtteranceScore,
    confusions,
    counts_from_json,
    score_speakers,
    score_utterances,
)
from hybrid_asr.scoring.spelling import SpellingErrors, spelling_errors

_CONFUSIONS_IN_JSON = 100


@dataclass(frozen=True, kw_only=True)
class SetScore(TextErrors):
    """The error rates of a set and the counts behind them, as report.json keeps them.

    `metric` decides what makes a sentence wrong (`ser`) and the units of `confusions`.
    """

    metric: Metric
    wer: Rate
    cer: Rate
    ser: Rate
    empty: int  # hypotheses without a character
    speakers: tuple[SpeakerScore, ...]  # the highest rate of `metric` first
    confusions: tuple[Confusion, ...]  # the most frequent first
    rows: tuple[UtteranceErrors, ...]  # in the order in which they were given
    spelling: SpellingErrors | None = None  # None in reports of former versions

    @property
    def rate(self) -> Rate:
        """The rate of the chosen metric."""
        return self.wer if self.metric == "wer" else self.cer

    @property
    def rates(self) -> dict[str, Rate]:
        """All rates by their names: `wer`, `cer`, `ser`."""
        return {"wer": self.wer, "cer": self.cer, "ser": self.ser}

    @property
    def utterances(self) -> int:
        """How many utterances were scored."""
        return len(self.rows)

    def to_json(self) -> dict[str, Any]:
        """Plain containers for `json.dumps`; rates are fractions, intervals [low, high] or null."""
        return {
            "metric": self.metric,
            **_keys(self.rates),
            **self.counts_to_json(),
            "utterances": self.utterances,
            "empty": self.empty,
            **({"speakers": len(self.speakers), "spelling": self.spelling.to_json()} if self.spelling else {}),
            "confusions": [item._asdict() for item in self.confusions[:_CONFUSIONS_IN_JSON]],
            "per_speaker": [item.to_json() for item in self.speakers],
            "per_utterance": [row.to_json() for row in self.rows],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "SetScore":
        """What `to_json` wrote; intervals that a report of former versions lacks are computed from its counts.

        Raises LookupError, TypeError, ValueError or AttributeError where that is damaged.
        """
        metric: Metric = "cer" if data["metric"] == "cer" else "wer"
        rows = tuple(UtteranceErrors.from_json(row) for row in data["per_utterance"])
        if not rows:
            raise ValueError("no utterance")
        if "cer_ci95" not in data:
            data = {**_keys(compute_rates(rows, metric)), **data}
        wer, cer, ser = (Rate.from_json(data, name) for name in ("wer", "cer", "ser"))
        words, characters = counts_from_json(data)
        return SetScore(
            metric=metric,
            wer=wer,
            cer=cer,
            ser=ser,
            words=words,
            characters=characters,
            empty=int(data["empty"]),
            speakers=tuple(SpeakerScore.from_json(item) for item in data["per_speaker"]),
            confusions=tuple(Confusion(*(item[name] for name in Confusion._fields)) for item in data["confusions"]),
            rows=rows,
            spelling=SpellingErrors.from_json(data["spelling"]) if data.get("spelling") else None,
        )


@dataclass(frozen=True, kw_only=True)
class ErrorReport(SetScore):
    """The error rates of a set, with the texts of its utterances."""

    rows: tuple[UtteranceScore, ...]  # in the order in which they were given

    def text(self, *, aligned: int = 10) -> str:
        """The report for people, with the alignments of the `aligned` utterances that have the most errors."""
        parts = [
            _headline(self),
            "\n".join(self.spelling.notes(self.counts(self.metric).errors, UNITS[self.metric]))
            if self.spelling
            else "",
            printed.speaker_table(self.speakers, self.metric),
            printed.confusion_table(self.confusions),
            printed.alignments(self.rows, self.metric, most=aligned),
        ]
        return "\n\n".join(part for part in parts if part)


def report(items: Sequence[Scored], *, metric: Metric = "wer") -> ErrorReport:
    """Score a set.

    Raises ScoringError where there is no utterance, an id occurs twice, or no reference has a word.
    """
    _check(items)
    rows = score_utterances(items, metric)
    words = sum((row.words for row in rows), ErrorCounts())
    if not words.reference:
        raise ScoringError(
            f"none of the {len(rows)} references has a word, so that no rate is defined; the hypotheses have "
            f"{printed.counted(words.insertions, 'word')}, all of them insertions"
        )
    characters = sum((row.characters for row in rows), ErrorCounts())
    by_name = compute_rates(rows, metric)
    return ErrorReport(
        metric=metric,
        wer=by_name["wer"],
        cer=by_name["cer"],
        ser=by_name["ser"],
        words=words,
        characters=characters,
        empty=sum(not row.hypothesis.strip() for row in rows),
        speakers=score_speakers(rows, metric),
        confusions=confusions(rows, metric),
        rows=rows,
        spelling=spelling_errors(rows, metric),
    )


def speakers_of(rows: Sequence[UtteranceErrors]) -> list[str] | None:
    """The speaker of each utterance, if all are known."""
    known = [row.speaker for row in rows if row.speaker is not None]
    return known if len(known) == len(rows) else None


def compute_rates(rows: Sequence[UtteranceErrors], metric: Metric) -> dict[str, Rate]:
    """Word, character and sentence error rate (`wer`, `cer`, `ser`) with their intervals.

    A sentence is wrong that has an error in the units of `metric`.
    """
    wrong = [row.counts(metric).errors > 0 for row in rows]
    errors = np.array([[row.words.errors, row.characters.errors, bad] for row, bad in zip(rows, wrong, strict=True)])
    reference = np.array([[row.words.reference, row.characters.reference, 1] for row in rows])
    speakers = speakers_of(rows)
    over_utterances = rate_intervals(errors, reference)
    over_speakers = rate_intervals(errors, reference, groups=speakers) if speakers else [None] * 3
    values = [
        sum((row.words for row in rows), ErrorCounts()).rate,
        sum((row.characters for row in rows), ErrorCounts()).rate,
        sum(wrong) / len(rows),
    ]
    columns = zip(values, over_utterances, over_speakers, strict=True)
    wer, cer, ser = (Rate(*column) for column in columns)
    return {"wer": wer, "cer": cer, "ser": Rate(ser.value, _up_to_1(ser.ci95), _up_to_1(ser.ci95_speakers))}


def _keys(by_name: Mapping[str, Rate]) -> dict[str, Any]:
    """The keys of several rates."""
    return {key: value for name, rate in by_name.items() for key, value in rate.to_json(name).items()}


def _up_to_1(interval: Interval | None) -> Interval | None:
    """Of sentences no more than all are wrong."""
    return interval and Interval(interval.low, min(interval.high, 1.0))


def _check(items: Sequence[Scored]) -> None:
    if not items:
        raise ScoringError("there is no utterance to score")
    repeated = [key for key, times in Counter(item.id for item in items).items() if times > 1]
    if repeated:
        raise ScoringError(f"utterance '{repeated[0]}' occurs more than once; every id must be unique")


def _headline(scores: ErrorReport) -> str:
    """The rates and the numbers behind them."""
    counts, unit = scores.counts(scores.metric), UNITS[scores.metric]
    number = len(scores.speakers)
    unknown = printed.UNKNOWN_SPEAKERS if scores.wer.ci95 and not scores.wer.ci95_speakers else ""
    return "\n".join(
        [
            *(printed.rate_line(name.upper(), rate, scores.utterances, number) for name, rate in scores.rates.items()),
            f"{printed.counted(counts.reference, unit)}: {printed.counted(counts.substitutions, 'substitution')}, "
            f"{printed.counted(counts.deletions, 'deletion')}, {printed.counted(counts.insertions, 'insertion')}; "
            f"{printed.counted(scores.utterances, 'utterance')}, {scores.empty} with an empty hypothesis",
            *([unknown] if unknown else []),
        ]
    )
