"""The n-best oracle: the errors of the best text of each n-best, which no choice among them can go below."""

from collections.abc import Sequence

from hybrid_asr.scoring.align import ErrorCounts, Unit, count_all


def oracle(references: Sequence[str], nbests: Sequence[Sequence[str]], unit: Unit) -> ErrorCounts:
    """The errors of a set when the text with the fewest errors is taken of each n-best, the first of equals."""
    assert all(nbests), "an n-best is never empty"
    distinct = [list(dict.fromkeys(texts)) for texts in nbests]
    repeated = [reference for reference, texts in zip(references, distinct, strict=True) for _ in texts]
    counts = iter(count_all(repeated, [text for texts in distinct for text in texts], unit))
    best = [min((next(counts) for _ in texts), key=lambda candidate: candidate.errors) for texts in distinct]
    return sum(best, ErrorCounts())
