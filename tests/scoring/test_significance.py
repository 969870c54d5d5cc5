"""What the bootstrap promises, on simulated errors."""

import itertools

import numpy as np
import pytest

from hybrid_asr.scoring.intervals import rate_intervals
from hybrid_asr.scoring.significance import paired_test, sign_flip_p


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
    first = paired_test(errors, other, reference)
    assert first == paired_test(errors, other, reference)
    assert first == paired_test(errors[order], other[order], reference[order])
    groups = [f"s{i % 7}" for i in range(60)]
    grouped = paired_test(errors, other, reference, groups=groups)
    assert grouped == paired_test(errors[order], other[order], reference[order], groups=[groups[i] for i in order])


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
    assert paired_test(errors, errors, reference) == (0.0, None, 1.0, "bootstrap", 30, 2 / 10_001)


def test_a_clear_difference_is_found_and_its_sign_is_that_of_the_first() -> None:
    errors, reference = simulated(np.random.default_rng(9), 100, 0.1)
    worse = np.minimum(errors + 1, reference)
    found = paired_test(worse, errors, reference)
    assert found.difference == pytest.approx((worse - errors).sum() / reference.sum())
    assert found.ci95 is not None and found.p is not None
    assert 0 < found.ci95.low < found.difference < found.ci95.high
    assert found.p == found.smallest_p == 2 / 10_001 and found.is_bound  # never 0: the +1 correction
    assert paired_test(errors, worse, reference).difference == -found.difference


def test_equal_systems_are_rarely_told_apart() -> None:
    random = np.random.default_rng(10)
    values = []
    for _ in range(200):
        reference = random.integers(5, 20, size=60)
        hardness = random.beta(2, 10, size=60)
        pair = [random.binomial(reference, hardness) for _ in range(2)]
        found = paired_test(pair[0], pair[1], reference, resamples=1000)
        assert found.ci95 is not None and found.p is not None
        values.append(found.p)
        if not found.ci95.low <= 0 <= found.ci95.high:
            assert found.p < 0.06
    assert 0.005 <= np.mean(np.array(values) < 0.05) <= 0.11


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 1], 2 / 4),  # which the bootstrap called p = 0.0002
        ([1, 0], 4 / 4),
        ([2, 1, 1], 2 / 8),
        ([2, -1, 1], 6 / 8),  # four sums are as far from 0 as this one, two farther
        ([-3, -3, -3, -3, -3, -3], 2 / 64),
        ([1, 0, 0, 2, 0], 2 / 4),  # where both have as many errors, a sign changes nothing
        ([0] * 19, 1.0),
        ([1] * 19, 2 / 2**19),
    ],
)
def test_few_utterances_are_compared_by_all_sign_flips(differences, p) -> None:
    errors, other = np.maximum(differences, 0), np.maximum(np.negative(differences), 0)
    reference = np.arange(5, 5 + len(differences))
    result = paired_test(errors, other, reference)
    assert (result.p, result.test, result.units) == (p, "sign flips", len(differences))
    assert not result.is_bound and result.smallest_p == 2 / 2 ** len(differences)
    assert result.difference == sum(differences) / reference.sum()
    if len(differences) < 10:
        sums = [sum(np.multiply(signs, differences)) for signs in itertools.product([1, -1], repeat=len(differences))]
        assert p == np.mean([abs(value) >= abs(sum(differences)) for value in sums])
    assert (result.ci95 is None) == (len(set(differences)) == 1), "from equal differences there is no interval"


def test_few_units_of_equal_rates_give_no_interval() -> None:
    result = paired_test(np.array([1, 2, 3]), np.zeros(3, int), np.array([2, 4, 6]))
    assert result == (0.5, None, 0.25, "sign flips", 3, 0.25)


def test_equal_differences_give_no_interval_however_many() -> None:
    result = paired_test(np.ones(25, int), np.zeros(25, int), np.full(25, 4))
    assert (result.ci95, result.test) == (None, "bootstrap")
    assert result.p is not None and result.p < 0.001


def test_twenty_units_are_bootstrapped_and_nineteen_are_not() -> None:
    errors, reference = simulated(np.random.default_rng(11), 20, 0.3)
    worse = np.minimum(errors + 1, reference)
    assert paired_test(worse, errors, reference).test == "bootstrap"
    assert paired_test(worse[:19], errors[:19], reference[:19]).test == "sign flips"
    speakers = [f"s{n % 19}" for n in range(20)]
    assert paired_test(worse, errors, reference, groups=speakers).test == "sign flips"


def test_by_sign_flips_equal_systems_differ_in_one_of_twenty_comparisons_or_fewer() -> None:
    random = np.random.default_rng(12)
    values = np.array([sign_flip_p(random.binomial(8, 0.2, 8) - random.binomial(8, 0.2, 8)) for _ in range(1000)])
    assert 0.005 < np.mean(values <= 0.05) < 0.06, "ties make it cautious"
    assert values.min() >= 2 / 2**8


def test_one_unit_gives_no_interval() -> None:
    one = np.array([1]), np.array([4])
    assert rate_intervals(one[0][:, None], one[1][:, None]) is None
    assert paired_test(one[0], one[0] + 1, one[1]) == (-0.25, None, None, "sign flips", 1, None)
    two = np.array([1, 2]), np.array([4, 5])
    assert rate_intervals(two[0][:, None], two[1][:, None], groups=["s", "s"]) is None
    assert rate_intervals(two[0][:, None], two[1][:, None]) is not None


def test_resamples_without_a_reference_unit_are_left_out() -> None:
    errors, reference = np.array([1, 0]), np.array([0, 4])  # an empty reference with an insertion
    intervals = rate_intervals(errors[:, None], reference[:, None])
    assert intervals is not None and np.isfinite(intervals[0]).all()
