"""Student's t and the normal distribution: two-sided p, quantiles, and the power of a test.

The distribution of t is an incomplete beta function, computed by its continued fraction (Abramowitz and Stegun, 1964,
26.5.8 and 26.7.1). Degrees of freedom may be fractions; from 100,000 on they make no difference and count as that.
"""

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from jaxtyping import Float

Numbers = Float[np.ndarray, "*some"] | float
LEVEL = 0.05  # of every test; intervals have 1 - LEVEL
MOST_FREEDOM = 1e5
_TERMS = 1000  # of the continued fraction: some square root of the degrees of freedom is enough
_SMALLEST = 1e-300

_log_gamma = np.vectorize(math.lgamma, otypes=[float])
_error_function = np.vectorize(math.erf, otypes=[float])


def normal_p(z: float) -> float:
    """The two-sided p of a standard normal deviate."""
    return math.erfc(abs(z) / math.sqrt(2))


def t_p(t: Numbers, freedom: Numbers) -> Numbers:
    """The two-sided p of Student's t with `freedom` degrees, both of one shape; an infinite t has p = 0."""
    freedom = np.minimum(freedom, MOST_FREEDOM)
    return _tails(freedom / (freedom + np.square(t)), freedom)


def t_quantile(freedom: Numbers, level: float = LEVEL) -> Numbers:
    """The t whose two-sided p is `level`: the half-width of an interval in standard errors."""
    freedom = np.asarray(np.minimum(freedom, MOST_FREEDOM), dtype=np.float64)
    t = np.full_like(freedom, NormalDist().inv_cdf(1 - level / 2))  # too small: p is convex, no step goes too far
    front = np.exp(_log_gamma((freedom + 1) / 2) - _log_gamma(freedom / 2)) / np.sqrt(math.pi * freedom)
    for _ in range(30):
        density = front * (1 + np.square(t) / freedom) ** (-(freedom + 1) / 2)
        step = (t_p(t, freedom) - level) / (2 * density)
        t = t + step
        if np.all(np.abs(step) <= 1e-12 * t):
            break
    return t


@lru_cache(maxsize=4096)
def quantile_of(freedom: float, level: float = LEVEL) -> float:
    """`t_quantile` of one number."""
    return float(t_quantile(freedom, level))


def p_of(t: float, freedom: float) -> float:
    """`t_p` of one number."""
    return float(t_p(t, freedom))


def t_power(shift: float, freedom: float, level: float = LEVEL) -> float:
    """How often a two-sided t test finds a difference of `shift` standard errors: the tails of the noncentral t.

    An integral over the estimated standard error, which is that of a chi distribution.
    """
    freedom = min(freedom, MOST_FREEDOM)
    spread = 1 / math.sqrt(2 * freedom)
    sizes = np.linspace(max(0.0, 1 - 9 * spread), 1 + 9 * spread, 402)[1:]  # estimated over true standard error
    density = (freedom - 1) * np.log(sizes) - freedom * (np.square(sizes) - 1) / 2
    weights = np.exp(density - density.max())
    beyond = quantile_of(freedom, level) * sizes
    found = _normal_share(shift - beyond) + _normal_share(-shift - beyond)
    return float((weights * found).sum() / weights.sum())


def _normal_share(z: Float[np.ndarray, " some"]) -> Float[np.ndarray, " some"]:
    """The share of a standard normal distribution below `z`."""
    return (1 + _error_function(z / math.sqrt(2))) / 2


def _tails(share: Numbers, freedom: Numbers) -> Numbers:
    """Both tails beyond t, `share` being freedom / (freedom + t²): the incomplete beta function I(freedom/2, 1/2)."""
    a, b = np.asarray(freedom / 2), np.full_like(freedom, 0.5)
    inside = np.clip(share, _SMALLEST, 1 - 1e-16)
    front = np.exp(_log_gamma(a + b) - _log_gamma(a) - _log_gamma(b) + a * np.log(inside) + b * np.log1p(-inside))
    swapped = inside > (a + 1) / (a + b + 2)  # there the fraction of the other tail converges
    first, second = np.where(swapped, b, a), np.where(swapped, a, b)
    tail = front * _continued_fraction(np.where(swapped, 1 - inside, inside), first, second) / first
    return np.where(share >= 1, 1.0, np.where(share <= 0, 0.0, np.where(swapped, 1 - tail, tail)))


def _continued_fraction(x: Numbers, a: Numbers, b: Numbers) -> Numbers:
    """The fraction of the incomplete beta function, from its front (Lentz, 1976)."""
    upper = np.ones_like(x)
    lower = 1 / (1 - (a + b) * x / (a + 1))
    value = lower
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = value
        for term in (even, odd):
            lower = 1 / (1 + term * lower)
            upper = 1 + term / upper
            value = value * lower * upper
        if np.all(np.abs(value - before) <= 1e-15 * np.abs(value)):
            break
    return value
