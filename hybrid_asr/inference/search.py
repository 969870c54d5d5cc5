"""The search that the tasks of one decoder share: run once for a batch, in as many pieces as memory asks for."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import measure_peak, release_unused
from hybrid_asr.decoding.hypothesis import Hypothesis, Nbest
from hybrid_asr.inference.batching import Batching
from hybrid_asr.inference.encode import EncodedBatch
from hybrid_asr.inference.out_of_memory import split_on_failure
from hybrid_asr.inference.task import EMPTY, SCORES_EQUAL, DecodingFailure, DecodingTask, SearchResult, decode_nbest

T = TypeVar("T")

WORTH_MEASURING = 1.2  # times the largest batch so far: one much like another says nothing new


class SharedSearch:
    """The tasks of a pass that have one decoder and one limit of length."""

    def __init__(self, tasks: Mapping[str, DecodingTask], batching: Batching, device: torch.device):
        self.tasks, self.batching, self.device = dict(tasks), batching, device
        first = next(iter(self.tasks.values()))
        self.decoder, self.longest_s = first.decoder, first.longest_s
        self.names = tuple(self.tasks)
        self.largest_s = 0.0  # the largest batch so far
        self.peak: int | None = None

    def run(
        self, indices: Sequence[int], durations: np.ndarray, encoded_batch: EncodedBatch
    ) -> tuple[dict[str, SearchResult], list[DecodingFailure]]:
        """The results of all tasks for a batch: `indices` in the source and `durations` (seconds) of its utterances.

        Utterances longer than the limit are left out. One that cannot be decoded is a failure, the others go on.
        """
        rows = [row for row, index in enumerate(encoded_batch.indices) if durations[index] <= self.longest_s]
        longest = float(durations.max())
        measure = bool(rows) and worth_measuring(self.batching, len(rows) * longest, self.largest_s)
        self.largest_s = max(self.largest_s, len(rows) * longest)
        seconds, peaks, failures = 0.0, [self.peak], list[DecodingFailure]()

        def decode(piece: list[int]) -> list[Nbest]:
            nonlocal seconds
            nbests, took, peak = timed(
                self.device, lambda: decode_nbest(self.decoder, encoded_batch.pick(piece)), measure_memory=measure
            )
            seconds += took
            peaks.append(peak)
            return nbests

        def failed(row: int, error: UserError) -> None:
            failures.append(DecodingFailure(indices[encoded_batch.indices[row]], error, self.names))

        nbests: dict[str, dict[int, Nbest]] = {name: {} for name in self.tasks}
        missed: dict[str, dict[int, bool | None]] = {name: {} for name in self.tasks}
        for piece, decoded in split_on_failure(
            rows, decode, failed=failed, ran_out_with=lambda n: self.batching.note_out_of_memory(n * longest)
        ):
            piece_indices = [indices[encoded_batch.indices[row]] for row in piece]
            for name, task in self.tasks.items():
                finished = [task.finish(nbest) for nbest in decoded]
                nbests[name] |= zip(piece_indices, finished, strict=True)
                missed[name] |= zip(piece_indices, _missed(task, encoded_batch, piece, finished), strict=True)
        with_frames = set(encoded_batch.indices)
        for name in self.tasks:
            nbests[name] |= {index: [EMPTY] for row, index in enumerate(indices) if row not in with_frames}
        self.peak = max((peak for peak in peaks if peak is not None), default=None)
        results = {name: SearchResult(nbests[name], missed[name], seconds, self.peak) for name in self.tasks}
        return results, failures


def shared_searches(tasks: Mapping[str, DecodingTask], batching: Batching, device: torch.device) -> list[SharedSearch]:
    """Each decoder once, with the tasks that use it."""
    groups: dict[tuple[int, float], dict[str, DecodingTask]] = {}
    for name, task in tasks.items():
        groups.setdefault((id(task.decoder), task.longest_s), {})[name] = task
    return [SharedSearch(group, batching, device) for group in groups.values()]


def worth_measuring(batching: Batching, seconds: float, largest_s: float) -> bool:
    """Whether a batch of so many seconds says more about memory than the largest one before."""
    return batching.measures_memory and seconds > WORTH_MEASURING * largest_s


def timed(device: torch.device, work: Callable[[], T], *, measure_memory: bool) -> tuple[T, float, int | None]:
    """Do some work; also its seconds and, where asked for, the most bytes that were held meanwhile."""
    if measure_memory:
        release_unused()  # else what the work before has left would count, too
    began = time.perf_counter()
    result, peak = measure_peak(device, work) if measure_memory else (work(), None)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - began, peak


def _missed(
    task: DecodingTask, encoded_batch: EncodedBatch, rows: list[int], nbests: Sequence[Nbest]
) -> list[bool | None]:
    """Whether twice the beam finds a better hypothesis, for each row; None without such a search, or where it fails."""
    missed: dict[int, bool | None] = dict.fromkeys(rows)
    wider = task.wider
    if wider is None:
        return list(missed.values())
    best = {row: nbest[0] for row, nbest in zip(rows, nbests, strict=True)}
    for piece, wide in split_on_failure(
        rows, lambda piece: decode_nbest(wider, encoded_batch.pick(piece)), failed=lambda *_: None
    ):
        for row, nbest in zip(piece, wide, strict=True):
            gain = task.rank(nbest[0]) - task.rank(best[row])
            missed[row] = _content(nbest[0]) != _content(best[row]) and gain > SCORES_EQUAL
    return list(missed.values())


def _content(hypothesis: Hypothesis) -> str | tuple[int, ...]:
    """What tells two hypotheses apart: words may be pronounced in several ways."""
    return hypothesis.labels if hypothesis.text is None else hypothesis.text
