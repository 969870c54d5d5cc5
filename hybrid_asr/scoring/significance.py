"""Whether two systems differ on the same utterances: the paired bootstrap, and exact sign flips where there are few.

Units are utterances, or speakers where all are known: the errors of one speaker's utterances are correlated. From 20
units on both systems are resampled together (Bisani and Ney, 2004). Below, the bootstrap is far too sure (of two
utterances that differ alike every resample says the same): there the two systems' errors are exchanged in all 2^n ways
(Fisher, 1935), so that two utterances can say no more than p = 0.5. The interval is that of Student's t.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from hybrid_asr.scoring.bootstrap import RESAMPLES, SEED, bootstrap_p, resampled_rates, resampled_sums
from hybrid_asr.scoring.intervals import Interval, group_totals, in_order
from hybrid_asr.scoring.ratio_error import FEWEST_UNITS, RatioError, ratio_error
from hybrid_asr.scoring.student_t import quantile_of

FEWEST = 20  # units for the bootstrap's p

Test = Literal["bootstrap", "sign flips"]


class PairedDifference(NamedTuple):
    """The rate of one system minus that of another on the same utterances; below 0 the first is better.

    `ci95` is None with fewer than three units, where all differ by the same rate, and where fewer than 20 differ by the
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
    """Compare two systems on the same utterances, or groups of them: what is hard for both cancels."""
    totals = in_order(group_totals(np.stack([errors - other_errors, reference], axis=1), groups))
    units = len(totals)
    difference = float(totals[:, 0].sum() / totals[:, 1].sum())
    test: Test = "sign flips" if units < FEWEST else "bootstrap"
    if units < 2:
        return PairedDifference(difference, None, None, test, units, None)
    found = ratio_error(totals[:, 0], totals[:, 1])
    equal = test == "sign flips" and np.ptp(totals[:, 0]) == 0  # which tells nothing of their spread
    interval = None if equal else _interval(difference, found, int(np.count_nonzero(totals[:, 1])))
    if test == "sign flips":
        return PairedDifference(difference, interval, sign_flip_p(totals[:, 0]), test, units, 2.0 / 2**units)
    sums = resampled_sums(totals, resamples, seed)
    drawn = resampled_rates(sums[:, 0], sums[:, 1])
    beyond = int(min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)))
    freedom = float(found.freedom) if np.isfinite(found.freedom) else 1.0
    p, smallest = (bootstrap_p(tail, len(drawn), units=units, freedom=freedom) for tail in (beyond, 0))
    return PairedDifference(difference, interval, p, test, units, smallest)


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


def _interval(difference: float, found: RatioError, units: int) -> Interval | None:
    """The interval of a difference over so many units with a reference."""
    if units < FEWEST_UNITS or not float(found.error) > 1e-12:
        return None
    width = quantile_of(float(found.freedom)) * float(found.error)
    return Interval(difference - width, difference + width)
