"""What an error report is made of: the errors of each utterance and speaker, and what was confused with what."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.scoring.align import ErrorCounts, Unit, align_all, count_all
from hybrid_asr.scoring.alternatives import Resolved, resolve
from hybrid_asr.scoring.markup import MarkupError

Metric = Literal["wer", "cer"]
UNITS: dict[Metric, Unit] = {"wer": "word", "cer": "character"}


class ScoringError(UserError):
    """References and hypotheses that cannot be scored against each other."""


class Scored(NamedTuple):
    """One utterance to score; a `marked` text holds alternatives and optional words as NIST writes them."""

    id: str
    reference: str
    hypothesis: str
    speaker: str | None = None
    marked_reference: bool = False
    marked_hypothesis: bool = False


@dataclass(frozen=True, kw_only=True)
class TextErrors:
    """Error counts in words and in characters."""

    words: ErrorCounts
    characters: ErrorCounts

    def counts(self, metric: Metric) -> ErrorCounts:
        """Words for `wer`, characters for `cer`."""
        return self.words if metric == "wer" else self.characters

    def counts_to_json(self) -> dict[str, int]:
        """The counts under the names that they have in every JSON file of ours."""
        return {
            "substitutions": self.words.substitutions,
            "deletions": self.words.deletions,
            "insertions": self.words.insertions,
            "reference_words": self.words.reference,
            "character_substitutions": self.characters.substitutions,
            "character_deletions": self.characters.deletions,
            "character_insertions": self.characters.insertions,
            "reference_characters": self.characters.reference,
        }


@dataclass(frozen=True, kw_only=True)
class UtteranceErrors(TextErrors):
    """The errors of one utterance without its texts, as report.json keeps them."""

    id: str
    speaker: str | None

    def to_json(self) -> dict[str, Any]:
        """Its counts."""
        return {"id": self.id, "speaker": self.speaker, **self.counts_to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "UtteranceErrors":
        """What `to_json` wrote. Raises LookupError, TypeError or ValueError where that is damaged."""
        words, characters = counts_from_json(data)
        return UtteranceErrors(id=data["id"], speaker=data["speaker"], words=words, characters=characters)


@dataclass(frozen=True, kw_only=True)
class UtteranceScore(UtteranceErrors):
    """The errors of one utterance, with its texts; `written` is the reference with its alternatives, if it has any."""

    reference: str
    hypothesis: str
    written: str | None = None


@dataclass(frozen=True, kw_only=True)
class SpeakerScore(TextErrors):
    """The errors of one speaker."""

    speaker: str
    utterances: int

    def to_json(self) -> dict[str, Any]:
        """Its counts and both rates."""
        rates = {"wer": self.words.rate, "cer": self.characters.rate}
        return {"speaker": self.speaker, "utterances": self.utterances, **rates, **self.counts_to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "SpeakerScore":
        """What `to_json` wrote. Raises LookupError, TypeError or ValueError where that is damaged."""
        words, characters = counts_from_json(data)
        return cls(speaker=str(data["speaker"]), utterances=int(data["utterances"]), words=words, characters=characters)


class Confusion(NamedTuple):
    """A unit of the reference and the one recognized in its place; "" where a side has none (deletion, insertion)."""

    reference: str
    hypothesis: str
    count: int


def score_utterances(items: Sequence[Scored], metric: Metric = "wer") -> tuple[UtteranceScore, ...]:
    """Count the errors of each item in words and in characters.

    Of alternatives those are taken that give the fewest errors, in words and in characters by themselves; the texts of
    a row are those of `metric`. Optional words that were left out count as right.
    """
    texts = {name: [_resolved(item, UNITS[name]) for item in items] for name in UNITS}
    counts = {name: _count(texts[name], UNITS[name]) for name in UNITS}
    return tuple(
        UtteranceScore(
            id=item.id,
            speaker=item.speaker,
            reference=shown.reference,
            hypothesis=shown.hypothesis,
            words=words,
            characters=characters,
            written=item.reference if item.marked_reference else None,
        )
        for item, shown, words, characters in zip(items, texts[metric], counts["wer"], counts["cer"], strict=True)
    )


def _resolved(item: Scored, unit: Unit) -> Resolved:
    if not (item.marked_reference or item.marked_hypothesis):
        return Resolved(item.reference, item.hypothesis)
    try:
        return resolve(
            item.reference,
            item.hypothesis,
            unit,
            marked_reference=item.marked_reference,
            marked_hypothesis=item.marked_hypothesis,
        )
    except MarkupError as error:
        raise ScoringError(f"utterance '{item.id}': {error}") from error


def _count(texts: Sequence[Resolved], unit: Unit) -> list[ErrorCounts]:
    """The errors of each pair; what was left out of the reference is in it, and no error."""
    counted = count_all([text.reference for text in texts], [text.hypothesis for text in texts], unit)
    left_out = [sum(1 if unit == "word" else len(word) for word in text.left_out) for text in texts]
    return [counts + ErrorCounts(reference=more) for counts, more in zip(counted, left_out, strict=True)]


def score_speakers(rows: Sequence[UtteranceScore], metric: Metric) -> tuple[SpeakerScore, ...]:
    """Add up the utterances of each known speaker; the speaker with the highest rate first."""
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
    times = Counter((step.reference, step.hypothesis) for steps in aligned for step in steps if step.kind != "equal")
    ordered = sorted(times.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Confusion(reference, hypothesis, count) for (reference, hypothesis), count in ordered)


def counts_from_json(data: Mapping[str, Any]) -> tuple[ErrorCounts, ErrorCounts]:
    """Words and characters of what `TextErrors.counts_to_json` wrote.

    Raises LookupError, TypeError or ValueError where that is damaged.
    """
    words, characters = (
        ErrorCounts(
            int(data[f"{prefix}substitutions"]),
            int(data[f"{prefix}deletions"]),
            int(data[f"{prefix}insertions"]),
            int(data[f"reference_{unit}"]),
        )
        for prefix, unit in (("", "words"), ("character_", "characters"))
    )
    return words, characters
