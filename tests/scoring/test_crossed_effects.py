"""Rates over seeds and units: the parts of the variance, who is paired with whom, and what the tests promise."""

import numpy as np
import pytest

from hybrid_asr.scoring.crossed_effects import (
    by_units,
    difference_effect,
    difference_interval,
    difference_p,
    rate_effect,
    rate_interval,
)
from hybrid_asr.scoring.power import (
    Spread,
    expected_error,
    more_needed,
    power,
    smallest_difference,
    spread_of,
    spread_of_seeds,
)
from hybrid_asr.scoring.significance import paired_test
from tools.benchmarks.calibration import coverage, false_finds, few_speakers, planted
from tools.benchmarks.simulated_errors import Effects, Setting


def test_the_parts_are_those_of_the_analysis_of_variance() -> None:
    """With equal units the mean squares of the two-way layout, by hand."""
    random = np.random.default_rng(1)
    errors, reference = random.poisson(3.0, (4, 6)), np.full(6, 10)
    rates = errors / 10
    by_seed, by_unit, mean = rates.mean(axis=1), rates.mean(axis=0), rates.mean()
    seeds = 6 * ((by_seed - mean) ** 2).sum() / 3
    units = 4 * ((by_unit - mean) ** 2).sum() / 5
    both = ((rates - by_seed[:, None] - by_unit + mean) ** 2).sum() / 15
    parts = by_units(errors, reference)
    assert np.allclose([parts.seeds, parts.units, parts.both], np.array([seeds, units, both]) / 24)
    assert np.allclose([parts.seeds_freedom, parts.units_freedom, parts.both_freedom], [3, 5, 15])
    variance = (seeds + units - both) / 24
    found = rate_effect(errors, reference)
    if seeds > both and units > both:
        assert found.error == pytest.approx(np.sqrt(variance))
    assert found.value == pytest.approx(mean)


def test_seeds_and_units_both_widen_the_interval_of_a_difference() -> None:
    """σ²_seed/S + σ²_unit/U + σ²_seed·unit/(S·U), with parts that are known."""
    random = np.random.default_rng(2)
    seeds, units, repetitions = 4, 50, 400
    reference = np.full((repetitions, units), 100)
    sides = [
        1000
        + random.normal(0, 3, (repetitions, seeds, 1))
        + random.normal(0, 10, (repetitions, 1, units))
        + random.normal(0, 8, (repetitions, seeds, units))
        for _ in range(2)
    ]
    effect = difference_effect(*sides, reference)
    variance = 2 * (3**2 / seeds + 10**2 / units + 8**2 / seeds / units) / 100**2
    assert np.mean(np.square(effect.error)) == pytest.approx(variance, rel=0.05)
    assert np.var(effect.value) == pytest.approx(variance, rel=0.15)
    parts = [spread_of(first, second, reference[0]) for first, second in zip(*sides, strict=True)]
    seeds_parts, units_parts, single_parts = ([one[part] for one in parts] for part in range(3))
    seed, unit, single = 2 * np.mean(seeds_parts), np.mean(units_parts), 2 * np.mean(single_parts)
    assert seed == pytest.approx(2 * 3**2 / 100**2, rel=0.15)
    assert unit == pytest.approx(2 * 10**2 / units / 100**2, rel=0.1)
    assert single == pytest.approx(2 * 8**2 / units / 100**2, rel=0.05)
    spread = Spread((float(seed) / 2,) * 2, float(unit), (float(single) / 2,) * 2, units, units - 1.0)
    assert expected_error(spread, seeds, units)[0] ** 2 == pytest.approx(variance, rel=0.1)
    assert expected_error(spread, 2 * seeds, 4 * units)[0] ** 2 == pytest.approx(
        2 * (3**2 / 8 + 10**2 / 200 + 8**2 / 1600) / 100**2, rel=0.15
    )


def test_one_seed_is_the_comparison_of_two_outputs() -> None:
    random = np.random.default_rng(3)
    reference = random.integers(3, 20, 60)
    first, second = random.binomial(reference, 0.1), random.binomial(reference, 0.15)
    effect = difference_effect(first[None], second[None], reference)
    paired = paired_test(first, second, reference)
    assert effect.value == pytest.approx(paired.difference) and effect.value < 0
    assert difference_interval(effect) == pytest.approx(paired.ci95)
    p = difference_p(effect)
    assert p == pytest.approx(paired.p, abs=0.02)
    interval = difference_interval(effect)
    assert interval is not None and p is not None and (p < 0.05) == (not interval.low <= 0 <= interval.high)


def test_where_decoding_alone_differs_the_seeds_are_paired() -> None:
    """Each seed is much better or worse by both decoders, and always a little better by the first."""
    random = np.random.default_rng(4)
    reference = np.full(40, 20)
    second = random.poisson(np.array([[1.0], [4.0], [8.0]]) * np.ones(40))
    first = np.maximum(second - random.binomial(1, 0.5, second.shape), 0)
    together = difference_p(difference_effect(first, second, reference, same_trainings=True))
    apart = difference_p(difference_effect(first, second, reference))
    assert together is not None and together < 0.05 and apart is not None and apart > 0.3


def test_equal_outputs_and_outputs_without_errors() -> None:
    reference = np.full(10, 20)
    nothing = np.zeros((3, 10), int)
    effect = difference_effect(nothing, nothing, reference)
    assert (effect.value, difference_p(effect), difference_interval(effect)) == (0.0, 1.0, None)
    interval = rate_interval(rate_effect(nothing, reference), 200)
    assert interval is not None and interval.low == 0 and 0.01 < interval.high < 0.02
    worse = difference_effect(nothing + 1, nothing, reference)
    assert (worse.value, difference_p(worse)) == (0.05, None), "from equal differences nothing is known of their spread"


def test_power_says_what_a_study_can_find() -> None:
    spread = Spread(seed=(1e-4, 1e-4), unit=2e-5, single=(1e-5, 1e-5), units=130, units_freedom=129.0)
    size = smallest_difference(spread, seeds=5, units=130)
    assert power(spread, size, seeds=5, units=130) == pytest.approx(0.8, abs=1e-3)
    assert power(spread, -size, seeds=5, units=130) == pytest.approx(0.8, abs=1e-3)
    assert power(spread, 0.0, seeds=5, units=130) == pytest.approx(0.05, abs=1e-3)
    assert size > smallest_difference(spread, seeds=10, units=130) > smallest_difference(spread, seeds=10, units=520)
    needed = more_needed(spread, size / 1.5, seeds=5, units=130)
    assert needed.units is None, "no test set makes up for seeds"
    assert needed.seeds is not None and power(spread, size / 1.5, seeds=5 + needed.seeds, units=130) >= 0.8
    assert power(spread, size / 1.5, seeds=4 + needed.seeds, units=130) < 0.8
    assert more_needed(spread, 0.0, seeds=5, units=130) == (None, None)


def test_a_few_seeds_of_one_method_say_what_two_would_show() -> None:
    setting = Setting(null="seeds", seeds=5, utterances=60, speakers=10, effects=Effects(utterance_of_variant=0.0))
    drawn = setting.draw(np.random.default_rng(5), 60)
    pilots = [spread_of_seeds(errors[0], words) for errors, words in zip(drawn.errors, drawn.reference, strict=True)]
    both = [spread_of(*errors, words) for errors, words in zip(drawn.errors, drawn.reference, strict=True)]
    assert np.mean([one.seed for one in pilots]) == pytest.approx(np.mean([one.seed for one in both]), rel=0.25)
    assert np.mean([one.single for one in pilots]) == pytest.approx(np.mean([one.single for one in both]), rel=0.1)


def share(found: np.ndarray) -> float:
    """How often something was found."""
    return float(found.mean())


def test_no_test_finds_more_than_there_is() -> None:
    """A small seeded piece of tools.benchmarks.calibration; docs/statistics.md has all of it."""
    random = np.random.default_rng(6)
    found = false_finds(Setting(null="seeds", seeds=3, utterances=130, speakers=10).draw(random, 300), random)
    assert share(found["t, speakers"]) < 0.08
    assert share(found["seeds pooled as utterances"]) > 0.2, "what seeds taken as utterances would say"
    found = false_finds(Setting(null="speakers", seeds=1, utterances=800, speakers=20).draw(random, 200), random)
    assert share(found["t, speakers"]) < 0.09 and share(found["bootstrap, speakers"]) < 0.1
    assert share(found["t, utterances"]) > 0.12, "what utterances of few speakers would say"
    found = false_finds(Setting(null="utterances", seeds=1, utterances=130, speakers=10).draw(random, 300), random)
    assert share(found["t, utterances"]) < 0.09 and share(found["bootstrap, utterances"]) < 0.09


def test_intervals_over_ten_speakers_hold() -> None:
    random = np.random.default_rng(7)
    drawn = Setting(null="speakers", seeds=1, utterances=300, speakers=10).draw(random, 400)
    found = few_speakers(drawn.by_speaker(), random)
    assert share(found["rate"]) > 0.92 and share(found["difference"]) > 0.92
    assert share(found["rate, bootstrap's percentiles"]) < 0.92, "they are too narrow over so few"
    drawn = Setting(null="seeds", seeds=5, utterances=130, speakers=10).draw(random, 200)
    assert share(coverage(drawn)["rate, speakers"]) > 0.9


def test_a_planted_difference_is_found_as_often_as_the_power_says() -> None:
    size, found = planted(Setting(null="seeds", seeds=3, utterances=100, speakers=20), np.random.default_rng(8), 200)
    assert 0.02 < size < 0.2 and 0.7 < found < 0.92
