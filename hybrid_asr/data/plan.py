"""The plan of one epoch: global batches and their shares.  A row is a line of a batch: an utterance, or two joined."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeVar, overload

import numpy as np
from jaxtyping import Float, Float64, Int, Int64, UInt8, UInt64

from hybrid_asr.data import packing

T = TypeVar("T")


class Relief(NamedTuple):
    """What makes an epoch need fewer batches: less jitter, fewer pairs, a share of utterances at the fastest speed.

    Which utterances fractions of weights choose is drawn, or they are the shortest.
    """

    jitter: float = 1.0
    joins: float = 1.0
    fastest: float = 0.0
    copies: Literal["drawn", "shortest"] = "drawn"


class PlannedUtterance(NamedTuple):
    """A row of a batch: one utterance, or two joined, at a speed; weight 0 marks a filler, which must not count."""

    indices: tuple[int, ...]
    speed: float
    weight: float


class Part(NamedTuple):
    """What one device handles at once. `divisor` is that of the global batch; None: the part is a batch of its own."""

    utterances: tuple[PlannedUtterance, ...]
    divisor: int | None


class GlobalBatch(NamedTuple):
    """What one update learns from, the longest row first. `divisor` is the sum over its rows of labels + 1."""

    utterances: tuple[PlannedUtterance, ...]
    divisor: int


class PlanStatistics(NamedTuple):
    """What an epoch's plan contains, in numbers. Shares are fractions; `speeds` counts utterances, and so does
    `sources` where there are several.
    """

    steps: int
    seconds: float
    speeds: dict[float, int]
    joined_share: float
    padding_share: float
    fill: float
    infeasible: int
    relief: Relief
    sources: dict[str, int] = {}  # noqa: RUF012  nobody changes it

    def text(self) -> str:
        """One line for the log."""
        speeds = ", ".join(f"{speed:g} x {count}" for speed, count in self.speeds.items())
        eased = "" if self.relief == Relief() else f", eased to fit: {self.relief}"
        drawn = "".join(f", {count} of {name}" for name, count in self.sources.items())
        return (
            f"{self.steps} steps, {self.seconds / 3600:.2f} h, batches {self.fill:.0%} full, "
            f"padding {self.padding_share:.1%}, speeds {speeds}, joined {self.joined_share:.0%}, "
            f"too short for CTC {self.infeasible}{drawn}{eased}"
        )

    def row(self) -> dict[str, float]:
        """The same for a table of epochs: shares, and the utterances at each speed."""
        speeds = {f"plan.speed_{speed:g}": float(count) for speed, count in self.speeds.items()}
        return {"plan.joined_share": self.joined_share, "plan.padding_share": self.padding_share} | speeds


class Source(NamedTuple):
    """A contiguous stretch of a training set: the utterances that are left of one manifest.

    Each is in an epoch `weight` times on average: floor(weight) times, and as many as the rest asks for once more;
    which ones is drawn anew for every epoch, their number stays the same.
    """

    name: str
    utterances: int
    weight: float = 1.0


@dataclass(frozen=True)
class Corpus:
    """What the plan needs of the training set, one entry an utterance.

    `sources` are the manifests, in order, that the utterances come from; none: each utterance is in an epoch once.

    `labels` are counts without the end's; `joined_labels` counts those of two utterances joined. `least_seconds` gives
    the shortest audio that CTC can align with utterances (first, second; -1 = none), None without CTC. `where` names an
    utterance in messages.
    """

    durations: Float64[np.ndarray, " utterances"]
    keys: UInt64[np.ndarray, " utterances"]
    labels: Int[np.ndarray, " utterances"]
    joined_labels: Callable[[int, int], int]
    where: Callable[[int], str]
    least_seconds: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    sources: tuple[Source, ...] = ()


class View(Sequence[T]):
    """A sequence whose items are made when they are asked for: an epoch of a million utterances is a few arrays."""

    def __init__(self, length: int, item: Callable[[int], T]):
        self._length, self._item = length, item

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            return [self._item(i) for i in range(*index.indices(self._length))]
        return self._item(range(self._length)[index])


class Rows(NamedTuple):
    """Rows in the order in which batches are filled; `second` is -1 for a single utterance.

    `speed` is an index into the speeds of the configuration. `labels` only sort: of joined utterances about their sum.
    """

    first: Int[np.ndarray, " rows"]
    second: Int[np.ndarray, " rows"]
    speed: UInt8[np.ndarray, " rows"]
    seconds: Float[np.ndarray, " rows"]
    labels: Int[np.ndarray, " rows"]


class EpochArrays(NamedTuple):
    """All that a plan consists of: batch b of the epoch has the rows from edges[order[b]] to edges[order[b] + 1]."""

    rows: Rows
    edges: Int64[np.ndarray, " edges"]
    order: Int64[np.ndarray, " batches"]
    relief: Relief


Deal = Callable[[np.ndarray, np.ndarray, int], list[np.ndarray]]
"""From the seconds (longest first) and the labels of a batch's rows and a number of parts to the rows of each part, the
costliest first."""


class EpochPlan:
    """The batches of one epoch, and how they are shared out. It holds no more than a few arrays."""

    def __init__(
        self, corpus: Corpus, arrays: EpochArrays, *, speeds: Float64[np.ndarray, " speeds"], budget: float, deal: Deal
    ):
        self._corpus, self._rows, self._edges, self._order = corpus, arrays.rows, arrays.edges, arrays.order
        self._relief, self._speeds, self._budget, self._deal = arrays.relief, speeds, budget, deal
        self._latest: tuple[tuple[int, int], list[np.ndarray]] = ((-1, -1), [])

    @property
    def steps(self) -> int:
        """Updates in this epoch, and in every other."""
        return len(self._order)

    @property
    def batches(self) -> View[GlobalBatch]:
        """The global batches in the order of training."""
        return View(self.steps, self._batch)

    def share(self, rank: int, ranks: int, accumulation: int) -> View[Part]:
        """The parts of device `rank`, in order: `accumulation` of them for each batch.

        A batch is dealt out in ranks x accumulation parts of about equal padded seconds, step by step: with the
        costliest first, the k-th accumulated parts are parts k * ranks to k * ranks + ranks - 1, so that devices which
        work at the same time have about equal work. A part that would be empty holds the shortest row of its batch with
        weight 0.
        """
        assert 0 <= rank < ranks and accumulation > 0

        def part(position: int) -> Part:
            step, turn = divmod(position, accumulation)
            return self._part(step, ranks * accumulation, turn * ranks + rank)

        return View(self.steps * accumulation, part)

    def seconds(self, utterance: PlannedUtterance) -> float:
        """The real seconds of a row."""
        return float(sum(self._corpus.durations[index] for index in utterance.indices)) / utterance.speed

    @cached_property
    def statistics(self) -> PlanStatistics:
        """Counts of what was drawn, and how well the batches are filled."""
        rows, pairs = self._rows, self._rows.second >= 0
        counts = np.bincount(rows.speed, minlength=len(self._speeds))
        counts += np.bincount(rows.speed[pairs], minlength=len(self._speeds))
        real, cost = rows.seconds.sum(dtype=np.float64), packing.padded(rows.seconds, self._edges).sum(dtype=np.float64)
        joined = int(pairs.sum())
        infeasible = 0
        if self._corpus.least_seconds is not None:
            infeasible = int((rows.seconds < self._corpus.least_seconds(rows.first, rows.second)).sum())
        return PlanStatistics(
            steps=self.steps,
            seconds=float(real),
            speeds={float(self._speeds[speed]): int(counts[speed]) for speed in np.flatnonzero(counts)},
            joined_share=2 * joined / (len(pairs) + joined),
            padding_share=float(1 - real / cost),
            fill=float(real / (self.steps * self._budget)),
            infeasible=infeasible,
            relief=self._relief,
            sources=self._drawn_of_sources(),
        )

    def _drawn_of_sources(self) -> dict[str, int]:
        """How often utterances of each source are in this epoch, where there are several."""
        sources = self._corpus.sources
        if len(sources) < 2:
            return {}
        stops = np.cumsum([source.utterances for source in sources])
        drawn = np.concatenate([self._rows.first, self._rows.second[self._rows.second >= 0]])
        counts = np.bincount(np.searchsorted(stops, drawn, side="right"), minlength=len(sources))
        return {source.name: int(count) for source, count in zip(sources, counts, strict=True)}

    def _members(self, step: int) -> Int64[np.ndarray, " rows"]:
        """The rows of a batch, the longest first."""
        group = self._order[step]
        start, stop = int(self._edges[group]), int(self._edges[group + 1])
        return start + np.argsort(-self._rows.seconds[start:stop], kind="stable")

    def _planned(self, row: int, weight: float = 1.0) -> PlannedUtterance:
        first, second = int(self._rows.first[row]), int(self._rows.second[row])
        speed = float(self._speeds[self._rows.speed[row]])
        return PlannedUtterance((first,) if second < 0 else (first, second), speed, weight)

    def _divisor(self, members: Int64[np.ndarray, " rows"]) -> int:
        first, second = self._rows.first[members], self._rows.second[members]
        total = len(members) + int(self._corpus.labels[first[second < 0]].sum())
        for row in np.flatnonzero(second >= 0):
            total += self._corpus.joined_labels(int(first[row]), int(second[row]))
        return total

    def _batch(self, step: int) -> GlobalBatch:
        members = self._members(step)
        return GlobalBatch(tuple(self._planned(int(row)) for row in members), self._divisor(members))

    def _part(self, step: int, parts: int, number: int) -> Part:
        members = self._members(step)
        if self._latest[0] != (step, parts):
            dealt = self._deal(self._rows.seconds[members], self._rows.labels[members], parts)
            self._latest = ((step, parts), dealt)
        planned = [self._planned(int(members[row])) for row in self._latest[1][number]]
        filler = [] if planned else [self._planned(int(members[-1]), weight=0.0)]
        return Part(tuple(planned + filler), self._divisor(members))
