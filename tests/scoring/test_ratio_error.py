"""The standard error of a ratio against its definition by matrices."""

import numpy as np
import pytest

from hybrid_asr.scoring.ratio_error import ratio_error


@pytest.mark.parametrize("units", [3, 10, 40])
def test_errors_and_freedom_are_those_of_the_matrices(units: int) -> None:
    random = np.random.default_rng(units)
    words = random.integers(5, 60, (2, units))
    errors = random.binomial(words, 0.2)
    found = ratio_error(errors, words)
    for row in range(2):
        share = words[row] / words[row].sum()
        residual = np.eye(units) - share  # of the units' rates
        half = (share / np.sqrt(1 - share))[:, None] * residual
        assert np.asarray(found.error)[row] == pytest.approx(np.linalg.norm(half @ (errors[row] / words[row])))
        product = half @ half.T
        assert np.asarray(found.freedom)[row] == pytest.approx(np.trace(product) ** 2 / np.square(product).sum())


def test_equal_units_are_a_sample_as_in_any_book() -> None:
    errors = np.array([1, 4, 2, 2, 7])
    found = ratio_error(errors, np.full(5, 10))
    assert found.error == pytest.approx(errors.std(ddof=1) / 10 / np.sqrt(5)) and found.freedom == pytest.approx(4)


def test_a_unit_that_is_nearly_all_leaves_one_degree_of_freedom() -> None:
    assert ratio_error(np.array([9, 1, 0, 1]), np.array([1000, 1, 1, 1])).freedom == pytest.approx(1, abs=0.02)
    assert np.isnan(ratio_error(np.array([1, 0]), np.array([3, 0])).error)
