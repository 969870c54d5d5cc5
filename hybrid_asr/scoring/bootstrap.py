"""The bootstrap: sets like the one at hand, drawn from it with replacement (Efron, 1979; Bisani and Ney, 2004).

Axes: U units (utterances, or speakers with all of their utterances), C columns that are summed, R resamples.

The seed is fixed: the same units give the same numbers.
"""

import math
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Int

from hybrid_asr.scoring.student_t import p_of

RESAMPLES = 10_000
SEED = 2004
_DRAWS_AT_ONCE = 2**21  # bounds the memory to some 50 MB


def resampled_sums(
    totals: Int[np.ndarray, "units columns"], resamples: int, seed: int
) -> Float[np.ndarray, "resamples columns"]:
    """The sums of the rows that each resample draws; exact, since they are whole numbers.

    The same rows in the same order give the same sums.
    """
    units = len(totals)
    random = np.random.default_rng(seed)
    step = max(1, _DRAWS_AT_ONCE // units)
    sizes = [min(step, resamples - start) for start in range(0, resamples, step)]
    return np.concatenate([times_drawn(units, size, random) @ totals.astype(np.float64) for size in sizes])


def times_drawn(units: int, resamples: int, random: np.random.Generator) -> Int[np.ndarray, "resamples units"]:
    """How often each resample draws each unit."""
    drawn = random.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units)


def resampled_rates(
    errors: Float[np.ndarray, " resamples"], reference: Float[np.ndarray, " resamples"]
) -> Float[np.ndarray, " some"]:
    """The rates of those resamples that drew a reference unit at all."""
    return errors[reference > 0] / reference[reference > 0]


def bootstrap_p(beyond: int, resamples: int, *, units: int, freedom: float) -> float:
    """The two-sided p of a difference that `beyond` resamples put at 0 or on its other side, never 0.

    1 is added to both counts (Davison and Hinkley, 1997). Few units vary less among themselves than those that they
    were drawn from: the share is read as a normal deviate, and this as Student's t of a sample (Hesterberg, 2015).
    """
    share = (1 + beyond) / (1 + resamples)
    if share >= 0.5:
        return 1.0
    return p_of(NormalDist().inv_cdf(share) * math.sqrt((units - 1) / units), freedom)
