"""How many threads a training on a CPU takes: measured on a few of its own steps, since no rule knows it.

Threads that share their cores with other programs wait for each other at every operation: two on a busy machine were
seen to take 5 to 10 times as long as one.
"""

import statistics
import time
from collections.abc import Callable, Sequence

import torch

ROUNDS = 3  # of which each tries every number once
GAIN = 1.05  # more threads must be faster by this factor: what one does not need others can use
HOPELESS = 2.0  # a number that takes this many times as long as the best is tried once


def thread_counts(most: int) -> list[int]:
    """The numbers of threads that are worth trying: powers of 2, and the most."""
    return sorted({1 << power for power in range(most.bit_length()) if 1 << power <= most} | {most})


def measure_threads(
    step: Callable[[], object], counts: Sequence[int], *, clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Seconds that `step` takes on each number of threads: medians of rounds in which all take turns.

    The first call on each number, which also prepares what is kept for later ones, decides only which are hopeless.
    Torch's number of threads is afterwards as it was before.
    """
    before = torch.get_num_threads()
    try:
        first = {count: _seconds(step, count, clock) for count in counts}
        hopeful = [count for count in counts if first[count] < HOPELESS * min(first.values())]
        rounds = [{count: _seconds(step, count, clock) for count in hopeful} for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(before)
    return first | {count: statistics.median(seconds[count] for seconds in rounds) for count in hopeful}


def fewest_of_fast(seconds: dict[int, float]) -> int:
    """The fewest threads that are nearly as fast as the fastest number."""
    best = min(seconds.values())
    return min(count for count, taken in seconds.items() if taken <= GAIN * best)


def _seconds(step: Callable[[], object], count: int, clock: Callable[[], float]) -> float:
    torch.set_num_threads(count)
    begin = clock()
    step()
    return clock() - begin
