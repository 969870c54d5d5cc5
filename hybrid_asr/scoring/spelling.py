"""Errors that are none of recognition: words that differ by what nobody sees, by case, or by punctuation alone.

How many they are is found by scoring again without the difference. What is left out so counts each by itself; an error
of case and punctuation at once is only in `case_or_punctuation`.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hybrid_asr.scoring.align import Unit, count_all
from hybrid_asr.scoring.scores import UNITS, Metric, UtteranceScore
from hybrid_asr.text.lookalikes import describe_invisible, skeleton
from hybrid_asr.text.normalize import normalize
from hybrid_asr.text.tags import without_tags

_EMPTY_CELLS = ("nan", "null", "none", "n/a", "<na>", "nil", "undefined")  # what programs write for no text
_FEWEST_EMPTY = 2  # a single text may be the word
_NAMED = 5  # characters


@dataclass(frozen=True, kw_only=True)
class SpellingErrors:
    """Numbers of errors that vanish with a difference of spelling; `characters` are those that made `unseen` ones.

    `tags` counts those that vanish without tags such as [noise].
    `empty_cells` counts references and hypotheses that are such a text as "nan" as a whole.
    """

    unseen: int
    case: int
    punctuation: int
    case_or_punctuation: int
    tags: int
    characters: tuple[str, ...]
    empty_cells: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self) | {"characters": list(self.characters)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "SpellingErrors":
        """What `to_json` wrote. Raises LookupError, TypeError or ValueError where that is damaged."""
        numbers = {name: int(data[name]) for name in ("unseen", "case", "punctuation", "case_or_punctuation")}
        cells = {str(text): int(times) for text, times in data["empty_cells"].items()}
        numbers["tags"] = int(data.get("tags", 0))  # reports of former versions lack it
        return cls(**numbers, characters=tuple(map(str, data["characters"])), empty_cells=cells)

    def notes(self, errors: int, unit: Unit) -> list[str]:
        """What a reader of a report must know, one note a line; `errors` are all of the set."""
        found = []
        if self.unseen:
            named = ", ".join(self.characters[:_NAMED]) + (", ..." if len(self.characters) > _NAMED else "")
            found.append(
                f"{self.unseen} of {errors} {unit} errors differ by characters that cannot be told apart by eye "
                f"({named}); score with --rules basic@2 to ignore them"
            )
        if self.case_or_punctuation:
            found.append(
                f"{self.case_or_punctuation} of {errors} {unit} errors are of case or punctuation "
                f"({self.case} of case alone, {self.punctuation} of punctuation alone); "
                "score with --rules basic@2 to ignore them"
            )
        if self.tags:
            found.append(
                f"{self.tags} of {errors} {unit} errors are of tags such as [noise]; score with --rules basic@2 to "
                "leave tags out"
            )
        if self.empty_cells:
            cells = ", ".join(f"{times} '{text}'" for text, times in self.empty_cells.items())
            found.append(f"whole texts that programs write for an empty cell count as words: {cells}; check both files")
        return [f"Note: {note}" for note in found]


def spelling_errors(rows: Sequence[UtteranceScore], metric: Metric) -> SpellingErrors:
    """What becomes of the errors of `rows`, in the units of `metric`, without differences of spelling."""
    unit = UNITS[metric]
    wrong = [row for row in rows if row.counts(metric).errors]

    def vanishing(spell: Callable[[str], str]) -> list[int]:
        counts = count_all([spell(row.reference) for row in wrong], [spell(row.hypothesis) for row in wrong], unit)
        pairs = zip(wrong, counts, strict=True)
        return [row.counts(metric).errors - without.errors for row, without in pairs]

    unseen = vanishing(skeleton)
    named = Counter(
        name for row, number in zip(wrong, unseen, strict=True) if number > 0 for name in _unlike_characters(row)
    )
    texts = Counter(text.strip().casefold() for row in rows for text in (row.reference, row.hypothesis))
    return SpellingErrors(
        unseen=max(0, sum(unseen)),
        case=max(0, sum(vanishing(str.lower))),
        punctuation=max(0, sum(vanishing(_without_punctuation))),
        case_or_punctuation=max(0, sum(vanishing(_basic)) - max(0, sum(unseen))),
        tags=max(0, sum(vanishing(without_tags))),
        characters=tuple(name for name, _ in named.most_common()),
        empty_cells={text: texts[text] for text in _EMPTY_CELLS if texts[text] >= _FEWEST_EMPTY},
    )


def _unlike_characters(row: UtteranceScore) -> set[str]:
    """Names of the characters that are hard to see, and in one of the two texts only, if there are such."""
    sides = [set(describe_invisible(text)) for text in (row.reference, row.hypothesis)]
    return sides[0] ^ sides[1] or sides[0] | sides[1]


def _basic(text: str) -> str:
    return normalize(text, "basic@2", tags="keep")


def _without_punctuation(text: str) -> str:
    """Only apostrophes remain of punctuation and symbols, as in the rules `basic@2`."""
    return "".join(" " if unicodedata.category(one)[0] in "PS" and one not in "'’" else one for one in text)
