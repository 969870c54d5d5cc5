"""The plan of an epoch: global batches from (seed, epoch) alone, then their shares for devices and accumulated parts.

A training has the same global batches with the same speeds, pairs and divisors in the same order on any number of
devices. Seconds are what memory must hold: a row's after the change of speed, and for a batch its padded seconds, the
number of its rows times the longest (see `packing`). `batch_seconds` is a hard bound; so is
`device_seconds`.

The number of steps is the same in every epoch, though speeds and pairs are drawn anew: it is the most that a few trial
epochs needed (slowing everything down to the slowest speed would leave a tenth of every batch empty). An epoch that
needs fewer halves its largest batches; one that needs more is planned again with less of what costs memory,
see `RELIEFS`. Nothing is ever left out.
"""

import hashlib
import math
from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler

from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import trim_heap
from hybrid_asr.data import packing
from hybrid_asr.data.config import DataConfig
from hybrid_asr.data.deal import deal_by_labels, deal_by_seconds
from hybrid_asr.data.draw import count_copies, draw_rows
from hybrid_asr.data.fill import (
    Blur,
    count_batches,
    even_parts,
    fill_by_seconds,
    fill_by_seconds_and_labels,
    parts_needed,
    split_evenly,
)
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.plan import Corpus, EpochArrays, EpochPlan, Part, Relief, Rows
from hybrid_asr.data.rows import rows_where
from hybrid_asr.data.shared_plans import Arrays, SharedPlans

TRIALS = 3  # epochs that are planned to find out how many batches an epoch needs
KEPT = 2  # plans: of the epoch that is reported and of the one whose parts are read ahead
LARGE = 100_000  # utterances, from which on one trial is enough
SPARE = 1.01  # batches on top, so that few epochs need a relief


RELIEFS = (
    Relief(),
    Relief(jitter=0.5),
    Relief(jitter=0.0),
    Relief(jitter=0.0, joins=0.5),
    Relief(jitter=0.0, joins=0.0),
    *(Relief(jitter=0.0, joins=0.0, fastest=share) for share in (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)),
    Relief(jitter=0.0, joins=0.0, fastest=1.0, copies="shortest"),
)


class PlanError(UserError):
    """Utterances and budgets that do not go together."""


def within_limits(train: Manifest, data: DataConfig) -> Manifest:
    """The training utterances from `min_seconds` to `max_seconds`; `check_training` reports how many are left out."""
    longest = np.inf if data.max_seconds is None else data.max_seconds
    return train.select((train.durations >= data.min_seconds) & (train.durations <= longest))


class Planner:
    """Plans any epoch of a training set: a pure function of (corpus, configurations, seed, epoch).

    Speeds, and who takes part in joining, are drawn for each copy of an utterance from (seed, epoch, its id) alone. The
    version of the arithmetic is `data.plan`; see `fill` and `deal`. Every epoch has as many `steps` and `utterances`,
    each counted as often as its weight says. Raises PlanError for utterances longer than the budgets.
    """

    def __init__(
        self, corpus: Corpus, *, data: DataConfig, augment: AugmentConfig, seed: int, shared: SharedPlans | None = None
    ):
        self._corpus, self._config, self._augment, self._seed = corpus, data, augment, seed
        self._shared = shared
        self._speeds = np.array(sorted(augment.speeds), dtype=np.float64)
        self.utterances = count_copies(corpus)
        self._check_lengths()
        self.steps = int(self._kept("steps", lambda: {"steps": np.array(self._steps())})["steps"])
        self._latest: dict[int, EpochPlan] = {}

    def plan(self, epoch: int) -> EpochPlan:
        """The plan of `epoch` (0 is the first)."""
        if epoch not in self._latest:
            while len(self._latest) >= KEPT:
                self._latest.pop(next(iter(self._latest)))
            self._latest[epoch] = EpochPlan(
                self._corpus,
                self._epoch_arrays(epoch),
                speeds=self._speeds,
                budget=self._config.batch_seconds,
                deal=deal_by_seconds if self._config.plan == 1 else deal_by_labels,
            )
        return self._latest[epoch]

    def accumulation(self, ranks: int) -> int:
        """How many parts of each batch a device takes one after the other, so that each is within `device_seconds`."""
        return accumulation_for(self._config, ranks, self._longest())

    def _steps(self) -> int:
        """The batches that an epoch needs, equal for all seeds; never fewer than with the last relief."""
        trials = TRIALS if len(self._corpus.durations) < LARGE else 1
        needed = [self._count(Relief(), "trial", trial) for trial in range(trials)]
        needed.append(self._count(RELIEFS[-1], "trial", 0))
        return min(math.ceil(max(needed) * SPARE), self.utterances)

    def _epoch_arrays(self, epoch: int) -> EpochArrays:
        kept = self._kept(f"epoch-{epoch}", lambda: self._arrays(epoch))
        if self._shared is not None:
            self._shared.forget(f"epoch-{epoch - KEPT}")
        rows = Rows(*(kept[name] for name in Rows._fields))
        return EpochArrays(rows, kept["edges"], kept["order"], RELIEFS[int(kept["relief"])])

    def _kept(self, name: str, make: Callable[[], Arrays]) -> Arrays:
        if self._shared is None:
            return make()
        arrays = self._shared.arrays(name, make)
        trim_heap()
        return arrays

    def _arrays(self, epoch: int) -> Arrays:
        for relief in RELIEFS:
            rows, edges = self._fill(relief, self._seed, epoch)
            if len(edges) - 1 <= self.steps <= len(rows.seconds):
                break
        else:
            raise AssertionError("the last relief does not depend on the epoch, and the number of steps allows for it")
        if self._config.plan == 1:
            edges = packing.split_largest(rows.seconds, edges, self.steps)
        else:
            edges = split_evenly(rows.seconds, edges, self.steps, even_parts(self._config))
        order = np.arange(self.steps)
        if epoch >= self._config.shortest_first_epochs:
            order = np.argsort(packing.uniform(order.astype(np.uint64), self._seed, epoch, "order"), kind="stable")
        elif self._config.plan > 1:
            order = np.argsort(np.maximum.reduceat(rows.seconds, edges[:-1]), kind="stable")
        return rows._asdict() | {"edges": edges, "order": order, "relief": np.array(RELIEFS.index(relief))}

    def _fill(self, relief: Relief, *draw_key: int | str) -> tuple[Rows, np.ndarray]:
        """The rows of the epoch of `draw_key`, such as (seed, epoch), sorted, and the edges of its batches."""
        fill = fill_by_seconds if self._config.plan == 1 else fill_by_seconds_and_labels
        return fill(*self._draw(relief, *draw_key), self._config, relief)

    def _count(self, relief: Relief, *draw_key: int | str) -> int:
        """How many batches that epoch needs."""
        if self._config.plan == 1:
            return len(self._fill(relief, *draw_key)[1]) - 1
        return count_batches(*self._draw(relief, *draw_key), self._config, relief)

    def _draw(self, relief: Relief, *draw_key: int | str) -> tuple[Rows, Blur]:
        rows, keys = draw_rows(
            self._corpus,
            self._augment,
            relief,
            *draw_key,
            limit=min(self._augment.join_max_s, self._config.batch_seconds),
            seconds_type=np.float64 if self._config.plan == 1 else np.float32,
        )
        return rows, lambda purpose, share: 1 + share * (2 * packing.uniform(keys, *draw_key, purpose) - 1)

    def _longest(self) -> float:
        """The most seconds that a row can have in any epoch."""
        alone = float(self._corpus.durations.max() / self._speeds[0])
        joined = min(self._augment.join_max_s, self._config.batch_seconds) if self._augment.join_share > 0 else 0.0
        return max(alone, joined)

    def _check_lengths(self) -> None:
        durations, slowest = self._corpus.durations, float(self._speeds[0])
        if len(durations) == 0:
            raise PlanError(
                "the training set has no utterances; check data.train, data.min_seconds and data.max_seconds"
            )
        if self.utterances == 0:
            raise PlanError("the weights of data.train leave no utterance in an epoch; raise them")
        batch, device = self._config.batch_seconds, self._config.device_seconds
        budget, key = min((batch, "data.batch_seconds"), (device or np.inf, "data.device_seconds"))
        too_long = rows_where(len(durations), lambda rows: durations[rows] / slowest > budget * packing.SLACK)
        if len(too_long):
            index = int(durations.argmax())
            slowed = "" if slowest >= 1 else f" ({durations[index] / slowest:.2f} s at speed {slowest:g})"
            others = len(too_long) - 1
            raise PlanError(
                f"{self._corpus.where(index)} lasts {durations[index]:.2f} s{slowed}, {key} is {budget:g}"
                + (f", and {others} more are too long" if others else "")
                + f"; raise {key}, cut the audio into shorter utterances, or leave long ones out with data.max_seconds"
            )
        if device and self._longest() > device * packing.SLACK:
            raise PlanError(
                f"augment.join_max_s {self._augment.join_max_s:g} is more than data.device_seconds {device:g}; "
                "lower the first or raise the second"
            )


def accumulation_for(data: DataConfig, ranks: int, longest_seconds: float) -> int:
    """The fewest accumulated parts with which any batch, shared by `ranks`, is within `data.device_seconds` everywhere.

    It counts on the worst batch there could be, so that it is the same in all epochs. Raises PlanError for a row of
    `longest_seconds` that no device can hold.
    """
    if data.device_seconds is None:
        return 1
    if longest_seconds > data.device_seconds * packing.SLACK:
        raise PlanError(
            f"the longest utterance lasts {longest_seconds:.2f} s, data.device_seconds is {data.device_seconds:g}; "
            "raise data.device_seconds, or leave long utterances out with data.max_seconds"
        )
    if data.plan == 1:
        needed = packing.parts_needed(data.batch_seconds, data.device_seconds, longest_seconds)
    else:
        needed = parts_needed(data, data.device_seconds, longest_seconds)
    return -(-needed // ranks)


def plan_digest(corpus: Corpus, data: DataConfig, augment: AugmentConfig, seed: int) -> str:
    """A digest of all that decides the plans of a training: the same in all of its processes."""
    settings = (
        *(seed, data.plan, data.batch_seconds, data.part_seconds, data.jitter, data.shortest_first_epochs),
        *(augment.speeds, augment.join_share, augment.join_max_s, corpus.sources),
    )
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=16)
    for column in (corpus.durations, corpus.keys, corpus.labels):
        digest.update(np.ascontiguousarray(column).data)
    return digest.hexdigest()


class PlanSampler(Sampler[Part]):
    """Gives a DataLoader (with batch_size=None) the parts of one device from update `first` to the last, `total`.

    One stream over all epochs, without a pause between them: a training can go on from any step, in the middle of an
    epoch as at its beginning.
    """

    def __init__(self, planner: Planner, *, rank: int, ranks: int, accumulation: int, first: int, total: int):
        self._planner, self._rank, self._ranks, self._accumulation = planner, rank, ranks, accumulation
        self._first, self._total = first, total

    def __len__(self) -> int:
        return (self._total - self._first) * self._accumulation

    def __iter__(self) -> Iterator[Part]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: int) -> Part:
        """The part at a position of the stream, 0 being the first one of update `first`."""
        step, turn = divmod(position, self._accumulation)
        epoch, batch = divmod(self._first + step, self._planner.steps)
        parts = self._planner.plan(epoch).share(self._rank, self._ranks, self._accumulation)
        return parts[batch * self._accumulation + turn]
