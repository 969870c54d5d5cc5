"""How sure an error rate is: the bootstrap over utterances or speakers (Bisani and Ney, 2004).

Axes: U utterances (or other units of resampling), C columns that are summed, R resamples, M metrics.

A resample draws as many utterances as there are, with replacement; its rate is the sum of its errors over the sum of
its reference units.  Intervals are percentiles of the rates of 10,000 resamples.  The utterances of one speaker share
their luck, which the bootstrap over speakers (clusters) respects: the honest interval for another set of speakers,
though too narrow for fewer than about twenty of them.  Where no utterance has an error, the interval is [0, 0].

The seed is fixed and utterances are put in an order of their own first: the same counts give the same numbers, however
often and in whatever order they come.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 10_000
SEED = 2004
_DRAWS_AT_ONCE = 2**21  # bounds the memory to some 50 MB


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class PairedDifference(NamedTuple):
    """The rate of one system minus that of another on the same utterances; below 0 the first is better."""

    difference: float
    ci95: Interval | None  # None: fewer than two units to resample
    p_bootstrap: float | None  # two-sided


def rate_intervals(
    errors: Int[np.ndarray, "utterances metrics"],
    reference: Int[np.ndarray, "utterances metrics"],
    *,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> list[Interval] | None:
    """The 95 % interval of sum(errors) / sum(reference) of each metric, from the same resamples.

    With `groups` (a speaker's name for each utterance) whole groups are drawn.  None with fewer than two units to draw.
    """
    metrics = errors.shape[1]
    totals = _grouped(np.concatenate([errors, reference], axis=1), groups)
    if len(totals) < 2:
        return None
    sums = _resample(totals, resamples, seed)
    return [_interval(_rates(sums[:, m], sums[:, metrics + m])) for m in range(metrics)]


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
    totals = _grouped(np.stack([errors - other_errors, reference], axis=1), groups)
    difference = float(totals[:, 0].sum() / totals[:, 1].sum())
    if len(totals) < 2:
        return PairedDifference(difference, None, None)
    sums = _resample(totals, resamples, seed)
    drawn = _rates(sums[:, 0], sums[:, 1])
    tail = int(min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)))
    return PairedDifference(difference, _interval(drawn), min(1.0, 2 * (1 + tail) / (1 + len(drawn))))


def _grouped(
    values: Int[np.ndarray, "utterances columns"], groups: Sequence[str] | None
) -> Int[np.ndarray, "units columns"]:
    """Sum the utterances of each group."""
    if groups is None:
        return values
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.zeros((len(names), values.shape[1]), dtype=values.dtype)
    np.add.at(totals, members, values)
    return totals


def _resample(
    totals: Int[np.ndarray, "units columns"], resamples: int, seed: int
) -> Float[np.ndarray, "resamples columns"]:
    """The sums of the rows that each resample draws; exact, since they are whole numbers."""
    units = len(totals)
    ordered = totals[np.lexsort(totals.T)].astype(np.float64)
    random = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // units)
    sums = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(units, size=(rows, units)) + units * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units)  # (R, U)
        sums.append(times @ ordered)
    return np.concatenate(sums)


def _rates(
    errors: Float[np.ndarray, " resamples"], reference: Float[np.ndarray, " resamples"]
) -> Float[np.ndarray, " some"]:
    """The rates of those resamples that drew a reference unit at all."""
    return errors[reference > 0] / reference[reference > 0]


def _interval(rates: Float[np.ndarray, " some"]) -> Interval:
    low, high = np.percentile(rates, [2.5, 97.5])
    return Interval(float(low), float(high))
