"""The largest batch that fits: a search by bisection that guesses from what smaller ones took."""

import math
from collections.abc import Callable
from typing import NamedTuple

CLOSE = 0.05  # the next larger size that is known not to fit is at most this share above the result


class Outcome(NamedTuple):
    """A step that was done: the peak of memory in bytes, and its seconds."""

    peak: int
    seconds: float


class Found(NamedTuple):
    """The most rows that fit, 0 for none, and their step; `sure` where more were seen not to fit, or there are none.

    `line` is the number that the line through the last two steps says would fit, None without two.
    """

    rows: int
    outcome: Outcome | None
    sure: bool
    line: int | None = None


def largest_fitting(
    attempt: Callable[[int], Outcome | None], *, limit: int, first: int, most: int, time_left: Callable[[], float]
) -> Found:
    """Find the most rows, up to `most`, of which a step stays within `limit` bytes, beginning with `first`.

    `attempt` does a step of some rows; None: memory ran out. `time_left` is the seconds that steps may still take: a
    step that would take longer, by those before, is done with fewer rows, and without time for more rows than those
    that fit the search ends. Memory is nearly linear in the rows: the line through the last two steps says where to
    look next; where that does not halve what is left, the middle is next.
    """
    low, high, best = 0, most + 1, None
    tried: list[tuple[int, Outcome]] = []
    rows = min(max(first, 1), most)
    while high - low > max(1, math.floor(CLOSE * low)):
        if tried:
            per_row = max(outcome.seconds / number for number, outcome in tried)
            rows = min(rows, math.floor(time_left() / per_row)) if per_row > 0 else rows
        if rows <= low or time_left() <= 0:
            return Found(low, best, sure=False, line=_by_line(tried, limit))
        outcome, before = attempt(rows), high - low
        if outcome is not None:
            tried.append((rows, outcome))
        if outcome is not None and outcome.peak <= limit:
            low, best = rows, outcome
        else:
            high = rows
        halved = high > most or 2 * (high - low) <= before
        rows = _next(low, high, most, _by_line(tried, limit) if halved else None)
    return Found(low, best, sure=True, line=_by_line(tried, limit))


def _next(low: int, high: int, most: int, guess: int | None) -> int:
    """Where to look next: more than `low`, less than `high`."""
    if guess is None:
        guess = 2 * low if high > most else (low + high) // 2
    step = max(1, math.floor(CLOSE * low))
    guess = min(guess, 8 * max(low, 1))  # a line through two small steps is not trusted farther
    return min(max(guess, low + step), high - 1)


def _by_line(tried: list[tuple[int, Outcome]], limit: int) -> int | None:
    """How many rows take `limit` bytes, by the line through the two largest steps; None where it does not rise."""
    if len(tried) < 2:
        return None
    (fewer, less), (more, larger) = sorted(tried, key=lambda pair: pair[0])[-2:]
    slope = (larger.peak - less.peak) / (more - fewer) if more > fewer else 0.0
    return max(0, math.floor(fewer + (limit - less.peak) / slope)) if slope > 0 else None
