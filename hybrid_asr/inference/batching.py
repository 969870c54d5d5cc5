"""Batch sizes for inference: which utterances are encoded and decoded together, for every command that does so.

Seconds of a batch are seconds of audio with padding: the number of its utterances times the longest of them.
"""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Float64

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import free_bytes
from hybrid_asr.data import packing
from hybrid_asr.decoding.settings import DecoderSettings
from hybrid_asr.models.bundle import Bundle

FIXED_S = 120.0  # of a batch in validation and transcription
ATTENTION_S = 30.0  # of a batch whose attention and CTC alignment are computed, too
MEMORY_SHARE = 0.5  # of free memory that a batch may be expected to take: estimates are rough, and others run here, too
DIAGNOSED_UTTERANCES = 8  # of a batch whose attention is measured
STATISTICS_UTTERANCES = 16  # of a batch from which the training set's feature statistics are computed
PIECES = 4  # of long audio that are encoded at once
MOST_CPU_S = 120.0  # more at once is no faster: AN4 took 1.8 s at 30, 2.0 at 60, 2.1 at 120 and 2.2 at 240 s
MOST_GPU_S = 1500.0

T = TypeVar("T")
Durations = Float64[np.ndarray, " utterances"]


class Batching(abc.ABC):
    """Which utterances make a batch, and in which order; each subclass chooses in its own way."""

    measures_memory = False  # whether `learn` is to be called

    @abc.abstractmethod
    def batches(self, durations: Durations) -> Iterator[list[int]]:
        """Batches of indices into `durations` (seconds), each computed when it is asked for; some may be empty."""

    def learn(self, utterances: int, seconds: float, used_bytes: int) -> None:  # noqa: B027  most batchings learn nothing
        """Take note of the most memory that a batch used beyond what was held before."""

    def note_out_of_memory(self, seconds: float) -> None:  # noqa: B027
        """Take note that memory ran out with a batch of this size."""


class Cost(NamedTuple):
    """What a batch is expected to take: bytes for a second of audio with padding, and for an utterance besides."""

    per_second: float
    per_utterance: float

    def of(self, utterances: int, seconds: float) -> float:
        """Bytes of a batch of so many utterances that has `seconds` with padding."""
        return self.per_second * seconds + self.per_utterance * utterances


@dataclasses.dataclass
class MemoryBatching(Batching):
    """The longest utterances first, as many at a time as memory has place for.

    What a batch takes is estimated at first, then known from the largest batch so far.
    """

    device: torch.device
    cost: Cost
    most_s: float
    factor: float = 1.0  # measured over estimated

    measures_memory = True

    @classmethod
    def for_device(cls, device: torch.device, cost: Cost) -> "MemoryBatching":
        """Within the limit of a CPU or a GPU."""
        return cls(device, cost, MOST_GPU_S if device.type == "cuda" else MOST_CPU_S)

    def batches(self, durations: Durations) -> Iterator[list[int]]:
        """The batches, as lists of indices."""
        waiting = _longest_first(durations).tolist()
        while waiting:
            size = self.batch_size(float(durations[waiting[0]]))
            yield waiting[:size]
            waiting = waiting[size:]

    def batch_size(self, longest_s: float) -> int:
        """How many utterances the next batch may have, given its longest one; at least one."""
        each = self.factor * self.cost.of(1, longest_s)
        return max(1, int(min(self.most_s / longest_s, MEMORY_SHARE * free_bytes(self.device) / each)))

    def learn(self, utterances: int, seconds: float, used_bytes: int) -> None:
        """Correct the estimate by what a batch really took."""
        self.factor = used_bytes / self.cost.of(utterances, seconds)

    def note_out_of_memory(self, seconds: float) -> None:
        """From now on at most half of the seconds that were too many."""
        self.most_s = min(self.most_s, seconds / 2)


@dataclasses.dataclass(frozen=True)
class SharedBatching(Batching):
    """The share of process `rank` among `ranks`: over all of them every utterance exactly once, the longest first.

    Every process gets the same number of batches, so that none waits for another that has nothing left to do; with
    fewer utterances than processes some get an empty one. An utterance longer than `seconds` is a batch of its own.
    """

    seconds: float = FIXED_S
    rank: int = 0
    ranks: int = 1

    def batches(self, durations: Durations) -> Iterator[list[int]]:
        """The batches, as lists of indices."""
        order = _longest_first(durations)
        ordered = durations[order]
        edges = packing.next_fit(np.minimum(ordered, self.seconds), self.seconds)
        count = min(-(-(len(edges) - 1) // self.ranks) * self.ranks, len(order))
        edges = packing.split_largest(ordered, edges, count)
        batches = [order[start:stop].tolist() for start, stop in pairwise(edges.tolist())]
        batches += [[]] * (-len(batches) % self.ranks)
        yield from batches[self.rank :: self.ranks]


@dataclasses.dataclass(frozen=True)
class OrderedBatching(Batching):
    """Neighbors in a list that fit into `seconds`, and are at most `most_utterances`; or one that is longer.

    The list is `order`, indices of some of the utterances, or all of them as they come.
    """

    order: Sequence[int] | None = None
    seconds: float = FIXED_S
    most_utterances: int | None = None

    def batches(self, durations: Durations) -> Iterator[list[int]]:
        """The batches, as lists of indices."""
        batch: list[int] = []
        longest = 0.0
        for index in range(len(durations)) if self.order is None else self.order:
            too_many = self.most_utterances is not None and len(batch) >= self.most_utterances
            if batch and (too_many or max(longest, durations[index]) * (len(batch) + 1) > self.seconds):
                yield batch
                batch, longest = [], 0.0
            batch.append(index)
            longest = max(longest, float(durations[index]))
        if batch:
            yield batch


def in_order(items: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Neighbors in batches of `most` items, whatever their length; the last batch may have fewer."""
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _longest_first(durations: Durations) -> np.ndarray:
    return np.argsort(-durations, kind="stable")


def expected_cost(bundle: Bundle, settings: Sequence[DecoderSettings]) -> Cost:
    """A guess at the bytes that a batch takes in the most demanding of some decoders; what batches take corrects it.

    Of each second the encoder's widest layers, the CTC log probabilities and the same as float64, and of each
    hypothesis of the beam (twice as many where search errors are looked for) a dozen float64 a frame; of each utterance
    some tables of hypotheses times labels.
    """
    frames = 1 / bundle.frame_s
    vocab_size, width = bundle.tokenizer.vocab_size, bundle.model.encoder.width
    hypotheses = 2 * max(cfg.hypotheses for cfg in settings)
    return Cost(frames * (64 * 4 * width + 24 * vocab_size + 96 * hypotheses), 64.0 * hypotheses * vocab_size)


def refuse_wide_beams(bundle: Bundle, settings: Mapping[str, DecoderSettings], device: torch.device) -> None:
    """Raise UserError where a beam is so wide that the memory is too small for one utterance alone.

    A beam wider than the vocabulary is none: its slots stay empty until there are as many hypotheses.
    """
    free = free_bytes(device)
    for name, cfg in settings.items():
        needed = expected_cost(bundle, [cfg]).per_utterance
        if needed > free:
            beam, vocab_size = cfg.hypotheses, bundle.tokenizer.vocab_size
            raise UserError(
                f"{name}: decode.beam={beam} takes about {needed / 1e9:.1f} GB for one utterance with {vocab_size} "
                f"units, {free / 1e9:.1f} GB are free; take a beam of at most {max(1, int(beam * free / needed))}"
            )
