"""Edit distance between reference and hypothesis, in words or characters; jiwer finds the alignments.

Before anything is counted both sides are brought to NFC with single spaces (the rules `none@1`), so that two spellings
of the same characters are no error; case and punctuation count, unless the caller normalizes them away.

**Characters** are Unicode code points.  The space between two words is one of them, as with jiwer and ESPnet, since a
reader sees a wrong word boundary.  Not so beside a character of a script that is written without spaces (Chinese,
Japanese, Thai, Lao, Burmese, Khmer): there a space tells how the corpus was cut into words, not what was said, and is
dropped on both sides.  Korean has spaces between words and keeps them.

**Ties**: of several alignments with the fewest errors one is taken, always the same; another tool may report another
split into substitutions, deletions and insertions (sclite weighs them 4, 3, 3), never fewer errors (Levenshtein, 1966).
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, assert_never

import jiwer

from hybrid_asr.text.normalize import normalize

Unit = Literal["word", "character"]
Kind = Literal["equal", "substitute", "delete", "insert"]

# Thai and Lao, Burmese, Khmer, CJK radicals to kana, kana extensions, Han and its compatibility forms, half-width kana.
SPACELESS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u31c0-\u31ff\u3400-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_DROPPED_SPACE = re.compile(f"(?<=[{SPACELESS}]) | (?=[{SPACELESS}])")


@dataclass(frozen=True)
class ErrorCounts:
    """Numbers of units; they add up over utterances, and `sum(counts, ErrorCounts())` is that of a set."""

    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference: int = 0  # units of the reference

    def __add__(self, other: "ErrorCounts") -> "ErrorCounts":
        return ErrorCounts(
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
            self.reference + other.reference,
        )

    @property
    def errors(self) -> int:
        """The edit distance."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per unit of the reference, above 1 with many insertions; an empty reference counts as one unit."""
        return self.errors / max(self.reference, 1)


class Step(NamedTuple):
    """One column of an alignment; the side that has no unit there holds an empty text."""

    kind: Kind
    reference: str
    hypothesis: str


def split(text: str, unit: Unit) -> list[str]:
    """The words or the characters of `text` that are counted (see the module)."""
    text = normalize(text, "none@1")
    match unit:
        case "word":
            return text.split()
        case "character":
            return list(_DROPPED_SPACE.sub("", text))
        case _:
            assert_never(unit)


def count_errors(reference: str, hypothesis: str, unit: Unit) -> ErrorCounts:
    """The errors of one hypothesis."""
    return count_all([reference], [hypothesis], unit)[0]


def count_all(references: Sequence[str], hypotheses: Sequence[str], unit: Unit) -> list[ErrorCounts]:
    """The errors of each hypothesis; one call for a whole set is far faster than many."""
    output = _process(references, hypotheses, unit)
    rows = zip(output.references, output.alignments, strict=True)
    return [_count(chunks, len(reference)) for reference, chunks in rows]


def align(reference: str, hypothesis: str, unit: Unit = "word") -> list[Step]:
    """The alignment of one hypothesis, unit by unit; its errors are those of `count_errors`."""
    return align_all([reference], [hypothesis], unit)[0]


def align_all(references: Sequence[str], hypotheses: Sequence[str], unit: Unit = "word") -> list[list[Step]]:
    """The alignment of each hypothesis."""
    output = _process(references, hypotheses, unit)
    rows = zip(output.references, output.hypotheses, output.alignments, strict=True)
    return [[step for chunk in chunks for step in _steps(chunk, ref, hyp)] for ref, hyp, chunks in rows]


def _count(chunks: Sequence[jiwer.AlignmentChunk], reference: int) -> ErrorCounts:
    """Add up the lengths of one alignment's pieces."""
    sizes = Counter[str]()
    for chunk in chunks:  # an insertion is as long as its part of the hypothesis, any other as that of the reference
        left, right = chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx
        sizes[chunk.type] += right if chunk.type == "insert" else left
    return ErrorCounts(sizes["substitute"], sizes["delete"], sizes["insert"], reference)


def _steps(chunk: jiwer.AlignmentChunk, reference: list[str], hypothesis: list[str]) -> list[Step]:
    left = reference[chunk.ref_start_idx : chunk.ref_end_idx]
    right = hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]
    match chunk.type:
        case "equal" | "substitute" as kind:
            return [Step(kind, a, b) for a, b in zip(left, right, strict=True)]
        case "delete":
            return [Step("delete", a, "") for a in left]
        case "insert":
            return [Step("insert", "", b) for b in right]
        case other:
            raise AssertionError(f"jiwer knows no '{other}'")


def _process(references: Sequence[str], hypotheses: Sequence[str], unit: Unit) -> jiwer.WordOutput:
    """Let jiwer align, on our units: its own transforms would split otherwise."""

    def units(texts: list[str]) -> list[list[str]]:
        return [split(text, unit) for text in texts]

    return jiwer.process_words(
        list(references),
        list(hypotheses),
        reference_transform=units,  # type: ignore[arg-type]
        hypothesis_transform=units,  # type: ignore[arg-type]
    )
