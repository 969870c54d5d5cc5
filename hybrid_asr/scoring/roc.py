"""How well a number separates wrong words from right ones: the area under the ROC curve, with its bootstrap interval.

Axes: W words (or other things that are right or wrong), U utterances, R resamples.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from hybrid_asr.scoring.bootstrap import SEED
from hybrid_asr.scoring.intervals import Interval

RESAMPLES = 2000


class Area(NamedTuple):
    """The chance that a wrong word has a higher number than a right one, ties counting half (Hanley and McNeil, 1982).

    0.5 is guessing. `ci95` is None where too few are wrong, or right, to draw from.
    """

    value: float
    ci95: Interval | None


def area_under_curve(
    numbers: Float[np.ndarray, " words"], wrong: Bool[np.ndarray, " words"], *, utterances: Sequence[str]
) -> Area:
    """The area, and its interval by drawing whole utterances: the errors of one are correlated.

    Raises ValueError where all words are right, or all wrong.
    """
    if wrong.all() or not wrong.any():
        raise ValueError(f"{int(wrong.sum())} of {len(wrong)} words are wrong: nothing to separate")
    _, members = np.unique(np.asarray(utterances), return_inverse=True)
    _, level = np.unique(numbers, return_inverse=True)
    units = int(members.max()) + 1
    random, drawn = np.random.default_rng(SEED), []
    for _ in range(RESAMPLES if units > 1 else 0):
        times = np.bincount(random.integers(units, size=units), minlength=units)[members]
        area = _area(level, wrong, times)
        if area is not None:
            drawn.append(area)
    observed = _area(level, wrong, np.ones(len(wrong), np.int64))
    assert observed is not None
    ends = np.percentile(drawn, [2.5, 97.5]) if drawn else None
    return Area(observed, None if ends is None else Interval(float(ends[0]), float(ends[1])))


def best_cut(numbers: Float[np.ndarray, " words"], wrong: Bool[np.ndarray, " words"]) -> float:
    """The number above which words are to be marked for the best F1, of equal ones that with the fewest marks.

    F1 is the harmonic mean of precision, the share of the marked that are wrong, and recall, the share of the wrong
    that are marked. The cut lies midway between the last that is marked and the next. Raises ValueError where no word
    is wrong.
    """
    if not wrong.any():
        raise ValueError(f"none of {len(wrong)} words is wrong: nothing to mark")
    order = np.argsort(-numbers, kind="stable")
    ordered, caught = numbers[order], wrong[order].cumsum()
    scores = 2 * caught / (np.arange(1, len(numbers) + 1) + caught[-1])
    scores[:-1][ordered[1:] == ordered[:-1]] = -1.0  # equal numbers are marked together
    last = int(scores.argmax())
    below = ordered[last + 1] if last + 1 < len(ordered) else ordered[last] - 1.0
    return float((ordered[last] + below) / 2)


def _area(level: np.ndarray, wrong: np.ndarray, times: np.ndarray) -> float | None:
    """The area of words that count `times` each, by the ranks of their numbers; None without a wrong or a right one."""
    bad, good = times * wrong, times * ~wrong
    pairs = bad.sum() * good.sum()
    if not pairs:
        return None
    right = np.bincount(level, good)
    below = np.concatenate([[0.0], right.cumsum()[:-1]]) + right / 2  # the right words with a lower number
    return float((np.bincount(level, bad) * below).sum() / pairs)
