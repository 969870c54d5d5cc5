"""What the bootstrap promises, on simulated errors."""

import numpy as np
import pytest

from hybrid_asr.scoring.intervals import Interval, rate_intervals
from hybrid_asr.scoring.significance import paired_bootstrap


def simulated(random: np.random.Generator, utterances: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors and lengths of utterances that are not all equally hard, with `rate` as the expected error rate."""
    reference = random.integers(1, 30, size=utterances)
    hardness = random.beta(2, 2 * (1 - rate) / rate, size=utterances)
    return random.binomial(reference, hardness), reference


def test_intervals_cover_the_truth() -> None:
    random = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        errors, reference = simulated(random, 80, 0.1)
        intervals = rate_intervals(errors[:, None], reference[:, None], resamples=1000)
        assert intervals is not None
        covered.append(intervals[0].low <= 0.1 <= intervals[0].high)
    assert 0.89 <= np.mean(covered) <= 0.99


def test_speakers_widen_the_interval_where_they_differ() -> None:
    random = np.random.default_rng(2)
    groups = [f"s{i}" for i in range(20) for _ in range(10)]
    hardness = np.repeat(random.beta(1, 5, size=20), 10)
    reference = np.full(200, 10)
    errors = random.binomial(reference, hardness)
    (plain,) = rate_intervals(errors[:, None], reference[:, None]) or []
    (grouped,) = rate_intervals(errors[:, None], reference[:, None], groups=groups) or []
    assert grouped.high - grouped.low > 1.5 * (plain.high - plain.low)


def test_groups_of_one_are_utterances() -> None:
    errors, reference = simulated(np.random.default_rng(3), 50, 0.2)
    names = [f"u{i}" for i in range(50)]
    alone = rate_intervals(errors[:, None], reference[:, None])
    assert alone == rate_intervals(errors[:, None], reference[:, None], groups=names)


def test_repeated_and_permuted_the_numbers_are_identical() -> None:
    random = np.random.default_rng(4)
    errors, reference = simulated(random, 60, 0.2)
    other, _ = simulated(random, 60, 0.2)
    other = np.minimum(other, reference)
    order = random.permutation(60)
    columns = np.stack([errors, other], axis=1), np.stack([reference, reference], axis=1)
    assert rate_intervals(*columns) == rate_intervals(*columns) == rate_intervals(columns[0][order], columns[1][order])
    first = paired_bootstrap(errors, other, reference)
    assert first == paired_bootstrap(errors, other, reference)
    assert first == paired_bootstrap(errors[order], other[order], reference[order])
    groups = [f"s{i % 7}" for i in range(60)]
    grouped = paired_bootstrap(errors, other, reference, groups=groups)
    assert grouped == paired_bootstrap(errors[order], other[order], reference[order], groups=[groups[i] for i in order])


def test_metrics_do_not_disturb_each_other() -> None:
    errors, reference = simulated(np.random.default_rng(5), 40, 0.2)
    both = rate_intervals(np.stack([errors, errors], axis=1), np.stack([reference, 2 * reference], axis=1))
    assert both is not None
    assert both[0] == pytest.approx([2 * end for end in both[1]])


def test_the_interval_is_that_of_a_plain_loop() -> None:
    errors, reference = simulated(np.random.default_rng(6), 40, 0.2)
    random = np.random.default_rng(7)
    rates = []
    for _ in range(4000):
        drawn = random.integers(40, size=40)
        rates.append(errors[drawn].sum() / reference[drawn].sum())
    (interval,) = rate_intervals(errors[:, None], reference[:, None]) or []
    assert interval == pytest.approx(np.percentile(rates, [2.5, 97.5]), abs=0.01)


def test_a_system_against_itself() -> None:
    errors, reference = simulated(np.random.default_rng(8), 30, 0.3)
    assert paired_bootstrap(errors, errors, reference) == (0.0, Interval(0.0, 0.0), 1.0)


def test_a_clear_difference_is_found_and_its_sign_is_that_of_the_first() -> None:
    errors, reference = simulated(np.random.default_rng(9), 100, 0.1)
    worse = np.minimum(errors + 1, reference)
    found = paired_bootstrap(worse, errors, reference)
    assert found.difference == pytest.approx((worse - errors).sum() / reference.sum())
    assert found.ci95 is not None and found.p_bootstrap is not None
    assert 0 < found.ci95.low < found.difference < found.ci95.high
    assert found.p_bootstrap == pytest.approx(2 / 10_001)  # never 0: the +1 correction
    assert paired_bootstrap(errors, worse, reference).difference == -found.difference


def test_equal_systems_are_rarely_told_apart() -> None:
    random = np.random.default_rng(10)
    values = []
    for _ in range(200):
        reference = random.integers(5, 20, size=60)
        hardness = random.beta(2, 10, size=60)
        pair = [random.binomial(reference, hardness) for _ in range(2)]
        found = paired_bootstrap(pair[0], pair[1], reference, resamples=1000)
        assert found.ci95 is not None and found.p_bootstrap is not None
        values.append(found.p_bootstrap)
        if not found.ci95.low <= 0 <= found.ci95.high:
            assert found.p_bootstrap < 0.06
    assert 0.005 <= np.mean(np.array(values) < 0.05) <= 0.11


def test_one_unit_gives_no_interval() -> None:
    one = np.array([1]), np.array([4])
    assert rate_intervals(one[0][:, None], one[1][:, None]) is None
    assert paired_bootstrap(one[0], one[0] + 1, one[1]) == (-0.25, None, None)
    two = np.array([1, 2]), np.array([4, 5])
    assert rate_intervals(two[0][:, None], two[1][:, None], groups=["s", "s"]) is None
    assert rate_intervals(two[0][:, None], two[1][:, None]) is not None


def test_resamples_without_a_reference_unit_are_left_out() -> None:
    errors, reference = np.array([1, 0]), np.array([0, 4])  # an empty reference with an insertion
    intervals = rate_intervals(errors[:, None], reference[:, None])
    assert intervals is not None and np.isfinite(intervals[0]).all()
