"""Columns of a large set in slices: of ten million utterances each copy would take every process 80 MB."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Int64

ROWS = 100_000  # utterances that are looked at together


def row_slices(count: int) -> Iterator[slice]:
    """All rows, in order."""
    return (slice(start, min(start + ROWS, count)) for start in range(0, count, ROWS))


def rows_where(count: int, test: Callable[[slice], np.ndarray]) -> Int64[np.ndarray, " some"]:
    """The rows that pass a test, which gets slices of rows and gives a mask for each."""
    return np.concatenate([rows.start + np.flatnonzero(test(rows)) for rows in row_slices(count)])
