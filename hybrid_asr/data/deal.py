"""How the rows of a batch are dealt out to devices: by seconds alone (plan 1), or by seconds and labels (plan 2)."""

import numpy as np
from jaxtyping import Float, Int, Int64

from hybrid_asr.data import packing

NEAR = 0.25  # of the longest row, by which rows may be shorter that are dealt by their labels
ROUNDING = 1 + 1e-6  # of seconds that are kept as float32


def deal_by_seconds(
    seconds: Float[np.ndarray, " rows"], labels: Int[np.ndarray, " rows"], parts: int
) -> list[Int64[np.ndarray, " some"]]:
    """The rows of each of `parts` contiguous parts of rows that come longest first; the costliest part first."""
    return [np.arange(start, stop) for start, stop in packing.deal(seconds.tolist(), parts)]


def deal_by_labels(
    seconds: Float[np.ndarray, " rows"], labels: Int[np.ndarray, " rows"], parts: int
) -> list[Int64[np.ndarray, " some"]]:
    """As `deal_by_seconds`, and rows that are about as long change places, so that a part has similar label counts.

    Neighboring parts whose rows differ by at most NEAR in length pool their rows and take them again in the order of
    labels, as many as before, as long as no part costs more than the costliest did.
    """
    cuts = sorted(cut for cut in packing.deal(seconds.tolist(), parts) if cut[0] < cut[1])
    most = max(float(seconds[start]) * (stop - start) for start, stop in cuts)
    dealt: list[Int64[np.ndarray, " some"]] = []
    while cuts:
        pooled = _pool(seconds, cuts, most)
        start, stop = cuts[0][0], cuts[pooled - 1][1]
        rows = start + np.argsort(-labels[start:stop], kind="stable")
        dealt += np.split(rows, np.cumsum([stop - start for start, stop in cuts[:pooled]])[:-1])
        cuts = cuts[pooled:]
    dealt.sort(key=lambda rows: -float(seconds[rows].max()) * len(rows))
    return dealt + [np.zeros(0, np.int64)] * (parts - len(dealt))


def _pool(seconds: Float[np.ndarray, " rows"], cuts: list[tuple[int, int]], most: float) -> int:
    """How many of the first parts may pool their rows."""
    longest, pooled = seconds[cuts[0][0]], 1
    for start, stop in cuts[1:]:
        if seconds[stop - 1] < longest * (1 - NEAR) or longest * (stop - start) > most * ROUNDING:
            break
        pooled += 1
    return pooled
