"""What intervals and paired tests promise, on simulated errors."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

from hybrid_asr.scoring.bootstrap import resampled_rates, resampled_sums
from hybrid_asr.scoring.intervals import Interval, rate_intervals
from hybrid_asr.scoring.ratio_error import ratio_error
from hybrid_asr.scoring.significance import paired_test, sign_flip_p
from hybrid_asr.scoring.student_t import p_of


def simulated(random: np.random.Generator, utterances: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Errors and lengths of utterances that are not all equally hard, with `rate` as the expected error rate."""
    reference = random.integers(1, 30, size=utterances)
    hardness = random.beta(2, 2 * (1 - rate) / rate, size=utterances)
    return random.binomial(reference, hardness), reference


def intervals_of(errors: np.ndarray, reference: np.ndarray, groups: list[str] | None = None) -> Interval:
    """The interval of one rate, which there must be."""
    (found,) = rate_intervals(errors[:, None], reference[:, None], groups=groups)
    assert found is not None
    return found


def test_intervals_cover_the_truth() -> None:
    random = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        errors, reference = simulated(random, 80, 0.1)
        found = intervals_of(errors, reference)
        covered.append(found.low <= 0.1 <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.99


def test_speakers_widen_the_interval_where_they_differ() -> None:
    random = np.random.default_rng(2)
    groups = [f"s{i}" for i in range(20) for _ in range(10)]
    hardness = np.repeat(random.beta(1, 5, size=20), 10)
    reference = np.full(200, 10)
    errors = random.binomial(reference, hardness)
    plain, grouped = intervals_of(errors, reference), intervals_of(errors, reference, groups)
    assert grouped.high - grouped.low > 1.5 * (plain.high - plain.low)


def test_groups_of_one_are_utterances() -> None:
    errors, reference = simulated(np.random.default_rng(3), 50, 0.2)
    names = [f"u{i}" for i in range(50)]
    assert intervals_of(errors, reference) == pytest.approx(intervals_of(errors, reference, names))


def test_repeated_and_permuted_the_numbers_are_identical() -> None:
    random = np.random.default_rng(4)
    errors, reference = simulated(random, 60, 0.2)
    other, _ = simulated(random, 60, 0.2)
    other = np.minimum(other, reference)
    order = random.permutation(60)
    columns = np.stack([errors, other], axis=1), np.stack([reference, reference], axis=1)
    assert rate_intervals(*columns) == rate_intervals(*columns) == rate_intervals(columns[0][order], columns[1][order])
    for groups in (None, [f"s{i % 7}" for i in range(60)]):
        first = paired_test(errors, other, reference, groups=groups)
        assert first == paired_test(errors, other, reference, groups=groups)
        names = groups and [groups[i] for i in order]
        assert first == paired_test(errors[order], other[order], reference[order], groups=names)


def test_metrics_do_not_disturb_each_other() -> None:
    errors, reference = simulated(np.random.default_rng(5), 40, 0.2)
    first, half = rate_intervals(np.stack([errors, errors], axis=1), np.stack([reference, 2 * reference], axis=1))
    assert first is not None and half is not None
    assert first == pytest.approx([2 * end for end in half])


def test_by_hand() -> None:
    """Three equal units with 1, 2 and 3 errors of 10: 20 % ± 4.303 · 10 % / √3, and so in its cube root."""
    found = intervals_of(np.array([1, 2, 3]), np.full(3, 10))
    width = 4.302653 * 0.1 / math.sqrt(3) / 0.2
    assert found == pytest.approx((0.2 * (1 - width / 3) ** 3, 0.2 * (1 + width / 3) ** 3))
    assert paired_test(np.array([1, 2, 3]), np.zeros(3, int), np.full(3, 10)).ci95 == pytest.approx(
        (0.2 - 0.2 * width, 0.2 + 0.2 * width)
    )


def test_without_an_error_the_interval_reaches_to_what_is_seen_so_in_one_of_forty_sets() -> None:
    found = intervals_of(np.zeros(50, int), np.full(50, 4))
    assert found.low == 0 and (1 - found.high) ** 200 == pytest.approx(0.025, abs=0.001)


def test_the_bootstrap_is_that_of_a_plain_loop() -> None:
    random = np.random.default_rng(6)
    errors, reference = simulated(random, 40, 0.2)
    other = random.binomial(reference, 0.15)
    found = paired_test(errors, other, reference)
    drawn = [random.integers(40, size=40) for _ in range(4000)]
    beyond = np.mean([(errors - other)[rows].sum() * found.difference <= 0 for rows in drawn])
    z = NormalDist().inv_cdf(float(beyond)) * math.sqrt(39 / 40)
    freedom = float(ratio_error(errors - other, reference).freedom)
    assert found.p == pytest.approx(p_of(z, freedom), abs=0.03)


def test_a_system_against_itself() -> None:
    errors, reference = simulated(np.random.default_rng(8), 30, 0.3)
    assert paired_test(errors, errors, reference)[:5] == (0.0, None, 1.0, "bootstrap", 30)


def test_a_clear_difference_is_found_and_its_sign_is_that_of_the_first() -> None:
    errors, reference = simulated(np.random.default_rng(9), 100, 0.1)
    worse = np.minimum(errors + 1, reference)
    found = paired_test(worse, errors, reference)
    assert found.difference == pytest.approx((worse - errors).sum() / reference.sum())
    assert found.ci95 is not None and found.p is not None
    assert 0 < found.ci95.low < found.difference < found.ci95.high
    assert found.p == found.smallest_p and 2 / 10_001 < found.p < 0.001 and found.is_bound  # never 0
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
            assert found.p < 0.08, "interval and p are of different methods, and differ little"
    assert 0.005 <= np.mean(np.array(values) < 0.05) <= 0.09


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
    assert (result.ci95 is None) == (len(set(differences)) == 1 or len(differences) < 3), (
        "from equal differences there is no interval"
    )


def test_few_units_of_equal_rates_give_no_interval() -> None:
    result = paired_test(np.array([1, 2, 3]), np.zeros(3, int), np.array([2, 4, 6]))
    assert result == (0.5, None, 0.25, "sign flips", 3, 0.25)


def test_equal_differences_give_no_interval_however_many() -> None:
    result = paired_test(np.ones(25, int), np.zeros(25, int), np.full(25, 4))
    assert (result.ci95, result.test) == (None, "bootstrap")
    assert result.p is not None and result.p < 0.002


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


def test_two_units_give_no_interval() -> None:
    one = np.array([1]), np.array([4])
    assert rate_intervals(one[0][:, None], one[1][:, None]) == [None]
    assert paired_test(one[0], one[0] + 1, one[1]) == (-0.25, None, None, "sign flips", 1, None)
    errors, reference = np.array([[1], [2], [0]]), np.array([[4], [5], [6]])
    assert rate_intervals(errors, reference, groups=["s", "t", "t"]) == [None]
    assert rate_intervals(errors, reference) != [None]
    assert rate_intervals(errors, np.array([[4], [5], [0]])) == [None], "an empty reference is no unit"


def test_resamples_without_a_reference_unit_are_left_out() -> None:
    sums = resampled_sums(np.array([[1, 0], [0, 4]]), 1000, 1)  # an empty reference with an insertion
    rates = resampled_rates(*sums.T)
    assert 0 < len(rates) < 1000 and np.isfinite(rates).all()


def test_one_unit_with_all_of_the_reference_is_no_sample() -> None:
    errors, reference = np.arange(25), np.array([40] + [0] * 24)
    found = paired_test(errors, errors[::-1].copy(), reference)
    assert found.ci95 is None and found.p is not None
