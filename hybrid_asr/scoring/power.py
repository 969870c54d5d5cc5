"""What a comparison can find: the smallest difference, and how many more seeds or test utterances it would take.

From the parts of the variance that a study, or a few seeds of one method, have shown, for any numbers of seeds and
units (`crossed_effects` has the formula). Such an estimate is as uncertain as the parts: from three seeds, a rough one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from hybrid_asr.scoring.crossed_effects import Errors, OtherErrors, Parts, by_units
from hybrid_asr.scoring.ratio_error import ratio_error
from hybrid_asr.scoring.student_t import quantile_of, t_power

SHARE = 0.8  # of repetitions of a study in which a difference is to be found
MOST_SEEDS = 100
MOST_TIMES = 1000  # as many units as there are now


class Spread(NamedTuple):
    """The variance of the difference of two methods with one seed each on `units` units, in its three parts.

    `seed` is what a seed does to all units, `unit` how differently the units suit the methods, `single` what a seed
    does to single units; the latter two shrink with more units. `seed` and `single` are those of each independent set
    of seeds: two, or one where decoding alone differs or one side is a single output, or none. `units_freedom` are the
    degrees of freedom over units.
    """

    seed: tuple[float, ...]
    unit: float
    single: tuple[float, ...]
    units: int
    units_freedom: float


class Needed(NamedTuple):
    """Seeds of each method, or units, beyond those that there are; None where no sensible number is enough."""

    seeds: int | None
    units: int | None


def spread_of(
    errors: Errors, other_errors: OtherErrors, reference: Int[np.ndarray, " units"], *, same_trainings: bool = False
) -> Spread:
    """The parts as two methods show them; a side of one row adds nothing to `seed` and `single`."""
    samples = [errors - other_errors] if same_trainings else [errors, other_errors]
    methods = [(by_units(each, reference), each.shape[-2]) for each in samples if each.shape[-2] > 1]
    between = errors.mean(axis=-2) - other_errors.mean(axis=-2)
    found = ratio_error(between, reference)
    common = sum(float(parts.both) for parts, _ in methods)
    return Spread(
        seed=tuple(_of_seeds(parts, seeds) for parts, seeds in methods),
        unit=max(float(found.error) ** 2 - common, 0.0),
        single=tuple(float(parts.both) * seeds for parts, seeds in methods),
        units=len(reference),
        units_freedom=float(found.freedom),
    )


def spread_of_seeds(errors: Errors, reference: Int[np.ndarray, " units"]) -> Spread:
    """The parts for two methods of which one has been trained with several seeds, and the other is like it.

    How differently units will suit the two is unknown: as differently as they suit two seeds.
    """
    parts, seeds = by_units(errors, reference), errors.shape[-2]
    single = float(parts.both) * seeds
    return Spread((_of_seeds(parts, seeds),) * 2, 2 * single, (single,) * 2, len(reference), float(parts.units_freedom))


def expected_error(spread: Spread, seeds: int, units: int) -> tuple[float, float]:
    """The standard error of a difference with so many seeds of each method and units, and its degrees of freedom."""
    scale = spread.units / units
    freedom = max(spread.units_freedom / scale, 1.0)
    common = [scale * single / seeds for single in spread.single]
    over_units = scale * spread.unit + sum(common)
    variance, squares, least = over_units, over_units**2 / freedom, freedom
    if seeds > 1:
        for seed, both in zip(spread.seed, common, strict=True):
            over_seeds = seed / seeds + both
            variance += over_seeds - both
            squares += (over_seeds**2 + both**2 / freedom) / (seeds - 1)
            least = min(least, seeds - 1.0)
    if not variance:
        return 0.0, freedom
    return float(np.sqrt(variance)), max(variance**2 / squares, least)


def power(spread: Spread, difference: float, *, seeds: int, units: int) -> float:
    """The share of repetitions of a study that would find a true difference with p below 0.05."""
    error, freedom = expected_error(spread, seeds, units)
    return t_power(abs(difference) / error, freedom) if error else float(difference != 0)


def smallest_difference(spread: Spread, *, seeds: int, units: int, share: float = SHARE) -> float:
    """The true difference that this share of repetitions of a study would find."""
    error, freedom = expected_error(spread, seeds, units)
    low, high = 0.0, 2 * quantile_of(freedom) + 10
    for _ in range(25):
        middle = (low + high) / 2
        low, high = (middle, high) if t_power(middle, freedom) < share else (low, middle)
    return high * error


def more_needed(spread: Spread, difference: float, *, seeds: int, units: int, share: float = SHARE) -> Needed:
    """How many more of either, the other staying as it is, for a true difference of this size."""
    if not difference:
        return Needed(None, None)
    enough_seeds = _least(
        lambda count: power(spread, difference, seeds=count, units=units) >= share, seeds, seeds + MOST_SEEDS
    )
    enough_units = _least(
        lambda count: power(spread, difference, seeds=seeds, units=count) >= share, units, units * MOST_TIMES
    )
    return Needed(
        None if enough_seeds is None or not sum(spread.seed + spread.single) else enough_seeds - seeds,
        None if enough_units is None else enough_units - units,
    )


def _of_seeds(parts: Parts, seeds: int) -> float:
    """The variance of one seed's rate that all units share."""
    return max(float(parts.seeds) - float(parts.both), 0.0) * seeds


def _least(enough: Callable[[int], bool], low: int, high: int) -> int | None:
    """The smallest number above `low` that is enough, if `high` is."""
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
