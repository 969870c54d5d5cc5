"""Batches of an epoch's rows: which rows go together, and where one batch ends.

Version 1 sorts rows by their blurred seconds and fills each batch as far as it goes. Version 2 does two things more.

*Labels.* Rows of about equal seconds make a strip of several batches, and within a strip rows are sorted by their
blurred labels, so that a batch is even in both.

*Even parts.* A batch of n rows can be dealt to M devices without waiting if n is a multiple of M, or just below one.
Devices are not known here, since the plan must not depend on them: `even_parts` takes a likely number M from the size
of the batch alone, or from `data.part_seconds`. Any divisor of M is as good as M.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from jaxtyping import Float, Float32, Int64

from hybrid_asr.data import packing
from hybrid_asr.data.config import DataConfig
from hybrid_asr.data.plan import Relief, Rows

WIDTH = 0.02  # of a strip: its rows differ by so much in length
STRIP = 8  # batches that make a strip, if rows of about equal length are fewer,
WIDEST = 0.35  # unless they differ by more than this
FULL = 0.82  # of the rows of the last round: a batch that can be dealt so evenly is filled up
PART_S = (20, 40)  # padded seconds of a device, among which the likely number of devices is looked for
ROUNDING = 1 + 1e-6  # of seconds that are kept as float32

Blur = Callable[[str, float], np.ndarray]
"""A factor for each row, at most `share` above or below 1, drawn by the name of a purpose: blur(name, share)."""


def fill_by_seconds(
    rows: Rows, blur: Blur, data: DataConfig, relief: Relief
) -> tuple[Rows, Int64[np.ndarray, " edges"]]:
    """Version 1: rows by their blurred seconds, batches filled up; the rows in their order, and the batches' edges."""
    order = np.argsort(rows.seconds * blur("jitter", relief.jitter * data.jitter), kind="stable")
    rows = Rows(*(column[order] for column in rows))
    return rows, packing.next_fit(rows.seconds, data.batch_seconds)


def fill_by_seconds_and_labels(
    rows: Rows, blur: Blur, data: DataConfig, relief: Relief
) -> tuple[Rows, Int64[np.ndarray, " edges"]]:
    """Version 2: strips of about equal seconds, batches of about equal labels, with rows that can be dealt evenly."""
    order = _sorted(_blurred(rows, blur, data, relief))
    labels = ((rows.labels + 1) * blur("label jitter", relief.jitter * data.jitter / 2)).astype(np.float32)
    edges = [0]
    for start, stop, size in _strips(rows.seconds[order], data):
        order[start:stop] = order[start:stop][_sorted(labels[order[start:stop]])]
        edges += [*range(start + size, stop, size), stop]
    return Rows(*(column[order] for column in rows)), np.array(edges, np.int64)


def count_batches(rows: Rows, blur: Blur, data: DataConfig, relief: Relief) -> int:
    """The number of batches of `fill_by_seconds_and_labels`, for which labels need not be sorted."""
    order = _sorted(_blurred(rows, blur, data, relief))
    return sum(-(-(stop - start) // size) for start, stop, size in _strips(rows.seconds[order], data))


def even_parts(data: DataConfig) -> int:
    """The number M of devices for which batches are made even, or of parts that they take one after the other.

    With `data.part_seconds` as many as a batch has of them; else the number with which a part has 20 to 40 s (whole
    seconds, if that can be) that a power of two divides as large as possible: 8 parts of 200 s, 2048 of 51,200 s.
    """
    budget = data.batch_seconds
    if data.part_seconds is not None:
        return max(1, int(budget * ROUNDING / data.part_seconds))
    some = range(int(budget / PART_S[1]) + 1, int(budget / PART_S[0]) + 1)
    whole = [parts for parts in some if (budget / parts).is_integer()]
    return max(whole or some, key=lambda parts: (parts & -parts, parts), default=1) if budget >= 2 * PART_S[0] else 1


def rows_of_batch(longest: float, budget: float, parts: int, full: float) -> int:
    """How many rows of at most `longest` seconds a batch of `budget` padded seconds takes, to be dealt to `parts`.

    As many as fit, if at least `full` of the last round of dealing would have work; else a multiple of `parts`. Rows
    that are longer than a part go to every second device, or third, ...
    """
    most = max(1, int(budget * ROUNDING / longest))
    rounds = most / parts
    if rounds < 1:
        return max(1, min(most, parts // math.ceil(longest * parts / (budget * ROUNDING))))
    return most if rounds / math.ceil(rounds) >= full else int(rounds) * parts


def split_evenly(
    seconds: Float[np.ndarray, " rows"], edges: Int64[np.ndarray, " edges"], groups: int, parts: int
) -> Int64[np.ndarray, " more_edges"]:
    """Split batches until there are `groups` of them, where that leaves work for `parts` devices, else in halves."""
    while (missing := groups - (len(edges) - 1)) > 0:
        sizes = np.diff(edges)
        half = np.where(sizes >= 2 * parts, sizes // (2 * parts) * parts, sizes // 2)
        cost = np.where(sizes > 1, packing.padded(seconds, edges), -np.inf)
        largest = np.lexsort((-cost, sizes < 2 * parts))[: min(missing, int((sizes > 1).sum()))]
        largest = largest[sizes[largest] > 1]
        edges = np.sort(np.concatenate([edges, edges[largest] + half[largest]]))
    return edges


def parts_needed(data: DataConfig, device_seconds: float, longest: float) -> int:
    """How many parts bring any batch within `device_seconds`, with rows of at most `longest`.

    Rows of a batch are as many as `rows_of_batch` allows at most, and dealing is no worse than equal numbers of rows.
    """
    parts = packing.parts_needed(data.batch_seconds, device_seconds, longest)
    if data.part_seconds is None:
        return parts
    even, part_seconds = even_parts(data), data.batch_seconds / even_parts(data)

    def costliest(dealt: int) -> float:
        every = range(1, math.ceil(longest / (part_seconds * ROUNDING)) + 1)
        return max(math.ceil(even // n / dealt) * min(n * part_seconds, longest if n > 1 else np.inf) for n in every)

    while parts > 1 and costliest(parts - 1) <= device_seconds * ROUNDING:
        parts -= 1
    return parts


def _blurred(rows: Rows, blur: Blur, data: DataConfig, relief: Relief) -> Float32[np.ndarray, " rows"]:
    """Seconds as they are sorted by: blurred half as far as in version 1, since labels are, too."""
    return (rows.seconds * blur("jitter", relief.jitter * data.jitter / 2)).astype(np.float32)


def _strips(seconds: Float32[np.ndarray, " rows"], data: DataConfig) -> Iterator[tuple[int, int, int]]:
    """Of about sorted rows the first and the last + 1 of each strip, and the rows of its batches."""
    parts, full = even_parts(data), FULL if data.part_seconds is None else math.inf
    rows_of = partial(rows_of_batch, budget=data.batch_seconds, parts=parts, full=full)
    reached, start = np.maximum.accumulate(seconds), 0
    while start < len(seconds):
        size, batches = _strip(reached, start, rows_of)
        stop = min(start + size * batches, len(seconds))
        yield start, stop, size
        start = stop


def _strip(reached: Float32[np.ndarray, " rows"], start: int, rows_of: Callable[[float], int]) -> tuple[int, int]:
    """The rows of a batch and the number of batches of the strip that begins at row `start`."""
    shortest = reached[start]

    def within(width: float) -> int:
        return int(np.searchsorted(reached, shortest * np.float32(1 + width), side="right"))

    most = rows_of(float(shortest))
    stop = max(within(WIDTH), min(within(WIDEST), start + STRIP * most))
    size = rows_of(float(reached[stop - 1]))
    if stop - start >= size:
        return size, (stop - start) // size
    fewer, more = 1, min(most, len(reached) - start)  # one batch takes what it can of the longer ones
    while fewer < more:
        middle = (fewer + more + 1) // 2
        fits = middle <= rows_of(float(reached[start + middle - 1]))
        fewer, more = (middle, more) if fits else (fewer, middle - 1)
    return fewer, 1


def _sorted(values: Float32[np.ndarray, " rows"]) -> Int64[np.ndarray, " rows"]:
    """The stable order of positive float32 values: as whole numbers with their places, which are sorted faster."""
    places = values.view(np.uint32).astype(np.uint64) << np.uint64(32)
    places |= np.arange(len(values), dtype=np.uint64)
    places.sort()
    return (places & np.uint64(0xFFFFFFFF)).astype(np.int64)
