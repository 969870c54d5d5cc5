"""Methods compared by several trainings each: rates by seed and unit, both drawn at random and crossed.

Axes: S seeds, U units (utterances, or speakers with all of their utterances), R any axes before.

Every seed is tested on every unit. The variance of a method's rate is then

    σ²_seed / S + σ²_unit / U + σ²_seed·unit / (S · U)

(Searle, Casella and McCulloch, 1992): more utterances do not help against a lucky seed, more seeds do not help against
an odd test set. Each part is estimated from mean squares, and Student's t has the degrees of freedom that Satterthwaite
(1946) gives their sum. Two methods share the units, on which their rates are subtracted, and no seeds; only where
decoding alone differs do they share the trainings, and there the outputs of each seed are subtracted first.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from hybrid_asr.scoring.intervals import Interval, around_rate, without_errors
from hybrid_asr.scoring.ratio_error import Figures, ratio_error
from hybrid_asr.scoring.student_t import p_of, quantile_of

Errors = Int[np.ndarray, "*R seeds units"] | Float[np.ndarray, "*R seeds units"]
OtherErrors = Int[np.ndarray, "*R other_seeds units"] | Float[np.ndarray, "*R other_seeds units"]


class Parts(NamedTuple):
    """What the variance of a mean rate is made of, as rates squared.

    `units` is the squared standard error over units, which has the seeds' differences on single units in it; `seeds`
    the variance of the seeds' rates over S, which has them, too; `both` is that common part, to be subtracted once.
    Each comes with its degrees of freedom. With one seed `seeds` and `both` are 0, and nothing is known of other seeds.
    """

    units: Figures
    units_freedom: Figures
    seeds: Figures
    seeds_freedom: float
    both: Figures
    both_freedom: Figures


class Effect(NamedTuple):
    """A rate or a difference, its standard error and the degrees of freedom of its t."""

    value: Figures
    error: Figures
    freedom: Figures


def by_units(errors: Errors, reference: Int[np.ndarray, "*R units"]) -> Parts:
    """The parts of the variance of one method's rate, or of a difference of rates over the same trainings."""
    seeds, units = errors.shape[-2:]
    total = reference.sum(axis=-1)
    over_units = ratio_error(errors.mean(axis=-2), reference)
    if seeds == 1:
        return Parts(np.square(over_units.error), over_units.freedom, 0.0, 0.0, 0.0, 0.0)
    rates = errors.sum(axis=-1) / total[..., None]
    expected = rates[..., :, None] * reference[..., None, :]
    single = (errors - expected).var(axis=-2, ddof=1).sum(axis=-1) * units / (units - 1) / np.square(total)
    return Parts(
        np.square(over_units.error),
        over_units.freedom,
        rates.var(axis=-1, ddof=1) / seeds,
        seeds - 1.0,
        single / seeds,
        (seeds - 1) * over_units.freedom,
    )


def rate_effect(errors: Errors, reference: Int[np.ndarray, "*R units"]) -> Effect:
    """The mean rate of a method's seeds."""
    value = errors.mean(axis=-2).sum(axis=-1) / reference.sum(axis=-1)
    parts = by_units(errors, reference)
    return Effect(value, *_combined(parts.units, parts.units_freedom, [parts]))


def difference_effect(
    errors: Errors, other_errors: OtherErrors, reference: Int[np.ndarray, "*R units"], *, same_trainings: bool = False
) -> Effect:
    """The mean rate of one method minus that of another, on the same units; below 0 the first is better.

    With `same_trainings` row s of both comes from one training. A method of one seed among several stands for this
    training alone.
    """
    if same_trainings:
        return rate_effect(errors - other_errors, reference)
    between = errors.mean(axis=-2) - other_errors.mean(axis=-2)
    units = ratio_error(between, reference)
    methods = [by_units(each, reference) for each in (errors, other_errors)]
    value = between.sum(axis=-1) / reference.sum(axis=-1)
    return Effect(value, *_combined(np.square(units.error), units.freedom, methods))


def rate_interval(effect: Effect, reference: int) -> Interval | None:
    """The 95 % interval of a single rate; `reference` is the number of words that one seed was tested on."""
    if not float(effect.value):
        return without_errors(reference)
    if not np.isfinite(effect.error):
        return None
    return around_rate(float(effect.value), float(effect.error), float(effect.freedom))


def difference_interval(effect: Effect) -> Interval | None:
    """The 95 % interval of a single difference; None where its spread is unknown."""
    if not float(effect.error) > 1e-12:
        return None
    width = quantile_of(float(effect.freedom)) * float(effect.error)
    return Interval(float(effect.value) - width, float(effect.value) + width)


def difference_p(effect: Effect) -> float | None:
    """The two-sided p of a single difference: 1 where there is none, None where its spread is unknown."""
    if not float(effect.error) > 1e-12:
        return 1.0 if effect.value == 0 else None
    return p_of(float(effect.value) / float(effect.error), float(effect.freedom))


def _combined(units: Figures, units_freedom: Figures, methods: list[Parts]) -> tuple[Figures, Figures]:
    """Standard error and degrees of freedom; no part of the variance is taken for less than 0."""
    seeds = sum(method.seeds for method in methods)
    both = sum(method.both for method in methods)
    variance = np.maximum(units + np.maximum(seeds - both, 0), seeds)
    squares = np.square(units) / units_freedom + sum(
        np.square(method.seeds) / method.seeds_freedom for method in methods if method.seeds_freedom
    )
    subtracted = sum(np.square(method.both) / method.both_freedom for method in methods if method.seeds_freedom)
    with np.errstate(invalid="ignore", divide="ignore"):
        freedom = np.where(variance > 0, np.square(variance) / (squares + subtracted), 1.0)
    fewest = [method.seeds_freedom for method in methods if method.seeds_freedom]
    return np.sqrt(variance), np.maximum(freedom, np.minimum(units_freedom, min(fewest, default=np.inf)))
