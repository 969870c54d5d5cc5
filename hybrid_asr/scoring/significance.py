"""Whether two systems differ on the same utterances: the paired bootstrap (Bisani and Ney, 2004)."""

from collections.abc import Sequence
from typing import NamedTuple

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


class PairedDifference(NamedTuple):
    """The rate of one system minus that of another on the same utterances; below 0 the first is better."""

    difference: float
    ci95: Interval | None  # None: fewer than two units to resample
    p_bootstrap: float | None  # two-sided


def paired_bootstrap(
    errors: Int[np.ndarray, " utterances"],
    other_errors: Int[np.ndarray, " utterances"],
    reference: Int[np.ndarray, " utterances"],
    *,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> PairedDifference:
    """Compare two systems on the same utterances: both are resampled together, so what is hard for both cancels.

    `p_bootstrap` is twice the share of resamples on the far side of 0, ties included, with 1 added to both counts
    (Davison and Hinkley, 1997), at most 1: it is below 0.05 where the interval excludes 0.
    """
    totals = group_totals(np.stack([errors - other_errors, reference], axis=1), groups)
    difference = float(totals[:, 0].sum() / totals[:, 1].sum())
    if len(totals) < 2:
        return PairedDifference(difference, None, None)
    sums = resampled_sums(totals, resamples, seed)
    drawn = resampled_rates(sums[:, 0], sums[:, 1])
    tail = int(min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)))
    return PairedDifference(difference, percentile_interval(drawn), min(1.0, 2 * (1 + tail) / (1 + len(drawn))))
