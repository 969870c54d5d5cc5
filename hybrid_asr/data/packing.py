"""The arithmetic of the plan: random draws that depend on keys alone, pairs, batches within a budget, parts of a batch.

A row is what one line of a batch holds: an utterance, or two that are joined. A group of rows costs its padded seconds,
rows x longest row: what memory holds and what convolutions and feed-forward layers work on. A sub-group never costs
more than its group.
"""

import hashlib

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, UInt64

SLACK = 1 + 1e-9  # 25 rows of 1 s fill a budget of 25 s whatever the rounding
ROUNDS = 8  # of drawing partners for utterances that have none yet


def uniform(keys: UInt64[np.ndarray, " rows"], *draw_key: int | str) -> Float64[np.ndarray, " rows"]:
    """One draw from [0, 1) for each key: a function of the key and of `draw_key` alone, such as (seed, epoch, purpose).

    The mixing function is splitmix64's (Steele, Lea and Flood, 2014), twice; numpy's own streams may change with its
    version.
    """
    salt = hashlib.blake2b("/".join(map(str, draw_key)).encode(), digest_size=8).digest()
    mixed = _mix(_mix(keys) ^ np.uint64(int.from_bytes(salt, "little")))
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def copy_keys(keys: UInt64[np.ndarray, " rows"], copies: Int64[np.ndarray, " rows"]) -> UInt64[np.ndarray, " rows"]:
    """A key of its own for every copy of an utterance; the first one, copy 0, has the utterance's."""
    return np.where(copies == 0, keys, _mix(keys + copies.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03)))


def pairs(
    durations: Float64[np.ndarray, " utterances"],
    speeds: Float64[np.ndarray, " utterances"],
    keys: UInt64[np.ndarray, " utterances"],
    chosen: Bool[np.ndarray, " utterances"],
    limit: float,
    *draw_key: int | str,
) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
    """Join the `chosen` in pairs of at most `limit` seconds at the speed of the first; `draw_key` decides who.

    Those whose pair is too long draw again; the last round puts the shortest with the longest. An utterance without a
    partner stays alone.
    """
    pool = np.flatnonzero(chosen)
    firsts, seconds = [], []
    for attempt in range(ROUNDS + 1):
        rank = durations[pool] if attempt == ROUNDS else uniform(keys[pool], *draw_key, attempt)
        pool = pool[np.argsort(rank, kind="stable")]
        half = len(pool) // 2
        first_half, second_half = pool[:half], pool[len(pool) - half :][::-1]
        fits = (durations[first_half] + durations[second_half]) / speeds[first_half] <= limit * SLACK
        firsts.append(first_half[fits])
        seconds.append(second_half[fits])
        pool = np.concatenate([first_half[~fits], second_half[~fits], pool[half : len(pool) - half]])
    return np.concatenate(firsts), np.concatenate(seconds)


def next_fit(seconds: Float64[np.ndarray, " rows"], budget: float) -> Int64[np.ndarray, " edges"]:
    """Cut a sequence of rows into the fewest contiguous groups whose padded seconds are at most `budget`: their edges.

    Taking as many rows as fit, again and again, is optimal, because a sub-group never costs more. Where a group that
    begins at a row would end is found for all rows at once by doubling steps over tables of maxima; only the jumps are
    a loop.
    """
    rows = len(seconds)
    assert rows > 0 and seconds.max() <= budget * SLACK
    tables = [np.append(seconds, np.inf)]  # tables[k][i]: the longest of 2^k rows from i on; infinite past the end
    while 2 ** len(tables) <= rows and 2 ** len(tables) * seconds.min() <= budget:
        step, last = 2 ** (len(tables) - 1), tables[-1]
        later = np.full_like(last, np.inf)
        later[:-step] = last[step:]
        tables.append(np.maximum(last, later))
    start = np.arange(rows)
    end, longest = start.copy(), np.zeros(rows)
    for k in reversed(range(len(tables))):
        candidate = np.maximum(longest, tables[k][end])
        fits = (end + 2**k - start) * candidate <= budget * SLACK
        end = np.where(fits, end + 2**k, end)
        longest = np.where(fits, candidate, longest)
    jumps, edges = end.tolist(), [0]
    while edges[-1] < rows:
        edges.append(jumps[edges[-1]])
    return np.array(edges, dtype=np.int64)


def padded(seconds: Float[np.ndarray, " rows"], edges: Int64[np.ndarray, " edges"]) -> Float64[np.ndarray, " groups"]:
    """The padded seconds of each group."""
    return np.maximum.reduceat(seconds, edges[:-1]) * np.diff(edges)


def split_largest(
    seconds: Float64[np.ndarray, " rows"], edges: Int64[np.ndarray, " edges"], groups: int
) -> Int64[np.ndarray, " more_edges"]:
    """Halve the groups of the most padded seconds until there are `groups` of them."""
    assert len(edges) - 1 <= groups <= len(seconds)
    while (missing := groups - (len(edges) - 1)) > 0:
        sizes = np.diff(edges)
        cost = np.where(sizes > 1, padded(seconds, edges), -1.0)
        largest = np.argsort(-cost, kind="stable")[: min(missing, int((sizes > 1).sum()))]
        edges = np.sort(np.concatenate([edges, edges[largest] + sizes[largest] // 2]))
    return edges


def deal(seconds: list[float], parts: int) -> list[tuple[int, int]]:
    """Cut rows, longest first, into `parts` contiguous groups, so that the most padded seconds are least.

    Gives (start, stop) of each part, the costliest first; with fewer rows than parts, the last ones are empty.
    """
    rows = len(seconds)
    if rows <= parts:
        return [(row, row + 1) for row in range(rows)] + [(rows, rows)] * (parts - rows)
    low, high = seconds[0], seconds[0] * -(-rows // parts)  # equal numbers of rows are always possible
    best = _cut(seconds, parts, high)
    assert best is not None
    for _ in range(30):
        middle = (low + high) / 2
        cut = _cut(seconds, parts, middle)
        low, high, best = (middle, high, best) if cut is None else (low, middle, cut)
    return sorted(best, key=lambda part: -seconds[part[0]] * (part[1] - part[0]))


def parts_needed(budget: float, device_budget: float, longest: float) -> int:
    """How many parts bring any batch of `budget` padded seconds, with rows of at most `longest`, within
    `device_budget`.

    `deal` is no worse than equal numbers of rows: for n rows of at most L in m parts, n L <= B, the costliest part has
    ceil(n/m) rows, hence at most max(L, min(2 B / (m + 1), B / m + L (m - 1) / m)) padded seconds.
    """
    assert longest <= device_budget * SLACK
    parts = 1
    while min(2 * budget / (parts + 1), budget / parts + longest * (parts - 1) / parts) > device_budget * SLACK:
        parts += 1
    return parts


def _cut(seconds: list[float], parts: int, most: float) -> list[tuple[int, int]] | None:
    """Give each part as many rows as `most` padded seconds allow, at least one; None if rows are left over."""
    cuts, start = [], 0
    for later in reversed(range(parts)):
        take = min(int(most * SLACK / seconds[start]), len(seconds) - start - later)
        cuts.append((start, start + take))
        start += take
    return cuts if start == len(seconds) else None


def _mix(keys: UInt64[np.ndarray, " rows"]) -> UInt64[np.ndarray, " rows"]:
    keys = keys + np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))
