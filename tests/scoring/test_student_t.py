"""The distribution of t against mpmath, which comes with torch, and the power of a test against drawn numbers."""

import math

import mpmath
import numpy as np
import pytest

from hybrid_asr.scoring.student_t import normal_p, p_of, quantile_of, t_p, t_power, t_quantile


@pytest.mark.parametrize("freedom", [1.0, 1.5, 4.7, 9.0, 129.0, 1e5])
def test_p_is_the_incomplete_beta_function(freedom: float) -> None:
    for t in (0.001, 0.5, 2.0, 8.0):
        share = freedom / (freedom + mpmath.mpf(t) ** 2)
        wanted = float(mpmath.betainc(freedom / 2, 0.5, 0, share, regularized=True))
        assert p_of(t, freedom) == pytest.approx(wanted, rel=1e-9) == p_of(-t, freedom)


def test_quantiles_are_those_of_the_tables() -> None:
    wanted = {1.0: 12.706, 2.0: 4.303, 3.0: 3.182, 9.0: 2.262, 39.0: 2.023, 1e9: 1.960}
    assert np.allclose(t_quantile(np.array(list(wanted))), list(wanted.values()), atol=5e-4)
    assert p_of(quantile_of(6.3), 6.3) == pytest.approx(0.05)


def test_the_ends() -> None:
    assert t_p(np.array([0.0, math.inf]), np.array([3.0, 3.0])).tolist() == [1.0, 0.0]
    assert normal_p(1.959964) == pytest.approx(0.05, abs=1e-7) and p_of(1.96, math.inf) == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize(("shift", "freedom"), [(0.0, 4.0), (3.0, 2.5), (3.0, 9.0), (-2.8, 1e5)])
def test_power_is_the_share_of_tests_that_find_the_shift(shift: float, freedom: float) -> None:
    random = np.random.default_rng(1)
    drawn = random.normal(shift, 1, 40_000) / np.sqrt(random.chisquare(freedom, 40_000) / freedom)
    share = np.mean(np.abs(drawn) > quantile_of(freedom))
    assert t_power(shift, freedom) == pytest.approx(share, abs=0.008)
