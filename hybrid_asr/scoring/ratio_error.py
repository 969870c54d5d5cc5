"""The standard error of a ratio of sums, with the degrees of freedom that few and unequal units leave it.

Axes: U units (utterances, or speakers with all of their utterances), R any axes before.

An error rate is the sum of the units' errors over the sum of their reference units, that is a mean of the units' rates
weighted by `share`, a unit's part of the reference. Its variance is that of the weighted residuals, each corrected for
the pull of its own unit on the mean (CR2: Bell and McCaffrey, 2002). Satterthwaite's degrees of freedom come from the
same shares, as if all units' rates varied alike: U - 1 for equal units, fewer for unequal ones (Imbens and Kolesár,
2016), since then the large ones decide.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

Counts = Int[np.ndarray, "*R units"] | Float[np.ndarray, "*R units"]
Figures = Float[np.ndarray, "*R"] | float  # one number where there are no axes before
FEWEST_UNITS = 3  # two leave one degree of freedom: an interval of 12.7 standard errors to each side says nothing


class RatioError(NamedTuple):
    """Standard errors and their degrees of freedom; both NaN where one unit has all of the reference."""

    error: Figures
    freedom: Figures


def ratio_error(numerators: Counts, denominators: Counts) -> RatioError:
    """The error of sum(numerators) / sum(denominators) over the last axis; differences may be below 0."""
    total = denominators.sum(axis=-1, keepdims=True)
    share = denominators / total
    left = 1 - share  # of the reference, without a unit
    left = np.where(left.min(axis=-1, keepdims=True) > 0, left, np.nan)
    residual = (numerators - numerators.sum(axis=-1, keepdims=True) * share) / total
    error = np.sqrt((np.square(residual) / left).sum(axis=-1))
    return RatioError(error, _freedom(share, left))


def _freedom(share: Float[np.ndarray, "*R units"], left: Float[np.ndarray, "*R units"]) -> Figures:
    """Twice the squared mean of the variance over its own variance, where all units' rates vary alike."""
    weight = np.square(share) / left
    squares = np.square(share).sum(axis=-1)
    none, once, twice = ((weight * share**power).sum(axis=-1) for power in range(3))
    trace = none * (1 + squares) - 2 * once
    between = squares**2 * none**2 + 2 * none * twice + 2 * once**2 - 4 * squares * none * once
    within = (np.square(weight) * (1 + 2 * squares[..., None] - 4 * share)).sum(axis=-1)
    return np.maximum(trace**2 / (between + within), 1.0)
