"""Whether two systems differ on the same utterances: the paired bootstrap, and exact sign flips where there are few.

Units are utterances, or speakers where all are known: the errors of one speaker's utterances are correlated. From 20
units on both systems are resampled together (Bisani and Ney, 2004). Below, the bootstrap is far too sure (of two
utterances that differ alike every resample says the same): there the two systems' errors are exchanged in all 2^n ways
(Fisher, 1935), so that two utterances can say no more than p = 0.5.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from hybrid_asr.scoring.intervals import (
    RESAMPLES,
    SEED,
    Interval,
    group_totals,
    percentile_interval,
    resampled_rates,
    resampled_sums,
)

FEWEST = 20  # units for the bootstrap's p

Test = Literal["bootstrap", "sign flips"]


class PairedDifference(NamedTuple):
    """The rate of one system minus that of another on the same utterances; below 0 the first is better.

    `ci95` is None with fewer than two units, where all differ by the same rate, and where fewer than 20 differ by the
    same number of errors: their spread is unknown. `p` is two-sided, None with fewer than two units. `smallest_p` is
    the least that the test could have given with so many `units`: a bootstrap's p of that size is an upper bound.
    """

    difference: float
    ci95: Interval | None
    p: float | None
    test: Test  # that `p` is of
    units: int
    smallest_p: float | None

    @property
    def is_bound(self) -> bool:
        """Whether the resamples cannot tell `p` from anything smaller."""
        return self.test == "bootstrap" and self.p is not None and self.p == self.smallest_p


def paired_test(
    errors: Int[np.ndarray, " utterances"],
    other_errors: Int[np.ndarray, " utterances"],
    reference: Int[np.ndarray, " utterances"],
    *,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> PairedDifference:
    """Compare two systems on the same utterances, or groups of them: what is hard for both cancels.

    The `p` of the bootstrap is twice the share of resamples on the far side of 0, ties included, with 1 added to both
    counts (Davison and Hinkley, 1997), at most 1: it is below 0.05 where the interval excludes 0.
    """
    totals = group_totals(np.stack([errors - other_errors, reference], axis=1), groups)
    difference = float(totals[:, 0].sum() / totals[:, 1].sum())
    test: Test = "sign flips" if len(totals) < FEWEST else "bootstrap"
    if len(totals) < 2:
        return PairedDifference(difference, None, None, test, len(totals), None)
    sums = resampled_sums(totals, resamples, seed)
    drawn = resampled_rates(sums[:, 0], sums[:, 1])
    interval = percentile_interval(drawn)
    if interval.low == interval.high or (test == "sign flips" and np.ptp(totals[:, 0]) == 0):
        interval = None  # from equal differences nothing is known of their spread
    if test == "sign flips":
        p, smallest = sign_flip_p(totals[:, 0]), 2.0 / 2 ** len(totals)
        return PairedDifference(difference, interval, p, test, len(totals), smallest)
    tail = int(min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)))
    p, smallest = min(1.0, 2 * (1 + tail) / (1 + len(drawn))), 2 / (1 + len(drawn))
    return PairedDifference(difference, interval, p, test, len(totals), smallest)


def sign_flip_p(differences: Int[np.ndarray, " units"]) -> float:
    """The exact two-sided p of a sum of paired differences, of which each might as well have the other sign.

    It is the share of all 2^n choices of signs whose sum is at least as far from 0 as that of `differences`, which is
    one of them; ties count. For at most 25 units.
    """
    assert len(differences) <= 25, "2^n sums are held at once"
    sums = np.zeros(1, dtype=np.int64)
    for size in differences:
        sums = np.concatenate([sums + size, sums - size])
    return float(np.mean(np.abs(sums) >= abs(differences.sum())))
