"""What an error report is made of: the errors of each utterance, of each speaker, and what was mistaken for what."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.scoring.align import ErrorCounts, Unit, align_all, count_all

Metric = Literal["wer", "cer"]
UNITS: dict[Metric, Unit] = {"wer": "word", "cer": "character"}


class ScoringError(UserError):
    """References and hypotheses that cannot be scored against each other."""


class Scored(NamedTuple):
    """One utterance to score."""

    id: str
    reference: str
    hypothesis: str
    speaker: str | None = None


@dataclass(frozen=True)
class UtteranceScore:
    """The errors of one utterance."""

    id: str
    speaker: str | None
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts

    def counts(self, metric: Metric) -> ErrorCounts:
        """Words for `wer`, characters for `cer`."""
        return self.words if metric == "wer" else self.characters

    def to_json(self) -> dict[str, Any]:
        """Its counts, without the texts."""
        return {"id": self.id, "speaker": self.speaker, **count_keys(self.words, self.characters)}


@dataclass(frozen=True)
class SpeakerScore:
    """The errors of one speaker."""

    speaker: str
    utterances: int
    words: ErrorCounts
    characters: ErrorCounts

    def counts(self, metric: Metric) -> ErrorCounts:
        """Words for `wer`, characters for `cer`."""
        return self.words if metric == "wer" else self.characters

    def to_json(self) -> dict[str, Any]:
        """Its counts and both rates."""
        rates = {"wer": self.words.rate, "cer": self.characters.rate}
        return {"speaker": self.speaker, "utterances": self.utterances, **rates} | count_keys(
            self.words, self.characters
        )


class Confusion(NamedTuple):
    """A unit of the reference and what was written in its place; "" where a side has none (deletion, insertion)."""

    reference: str
    hypothesis: str
    count: int


def score_utterances(items: Sequence[Scored]) -> tuple[UtteranceScore, ...]:
    """Count the errors of each item in words and in characters."""
    references, hypotheses = [item.reference for item in items], [item.hypothesis for item in items]
    counts = zip(
        items, count_all(references, hypotheses, "word"), count_all(references, hypotheses, "character"), strict=True
    )
    return tuple(
        UtteranceScore(item.id, item.speaker, item.reference, item.hypothesis, words, characters)
        for item, words, characters in counts
    )


def score_speakers(rows: Sequence[UtteranceScore], metric: Metric) -> tuple[SpeakerScore, ...]:
    """Add up the utterances of each speaker that is known; the worst speaker first."""
    members: dict[str, list[UtteranceScore]] = {}
    for row in rows:
        if row.speaker is not None:
            members.setdefault(row.speaker, []).append(row)
    speakers = [
        SpeakerScore(
            speaker=speaker,
            utterances=len(own),
            words=sum((row.words for row in own), ErrorCounts()),
            characters=sum((row.characters for row in own), ErrorCounts()),
        )
        for speaker, own in members.items()
    ]
    return tuple(sorted(speakers, key=lambda item: (-item.counts(metric).rate, item.speaker)))


def confusions(rows: Sequence[UtteranceScore], metric: Metric) -> tuple[Confusion, ...]:
    """Every kind of error with its number, the most frequent first."""
    wrong = [row for row in rows if row.counts(metric).errors]
    aligned = align_all([row.reference for row in wrong], [row.hypothesis for row in wrong], UNITS[metric])
    found = Counter((step.reference, step.hypothesis) for steps in aligned for step in steps if step.kind != "equal")
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Confusion(reference, hypothesis, count) for (reference, hypothesis), count in ordered)


def count_keys(words: ErrorCounts, characters: ErrorCounts) -> dict[str, int]:
    """The counts under the names that they have in every JSON file of ours."""
    return {
        "substitutions": words.substitutions,
        "deletions": words.deletions,
        "insertions": words.insertions,
        "reference_words": words.reference,
        "character_substitutions": characters.substitutions,
        "character_deletions": characters.deletions,
        "character_insertions": characters.insertions,
        "reference_characters": characters.reference,
    }
