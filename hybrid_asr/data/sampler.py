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

import math
from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.common.errors import UserError
from hybrid_asr.data import packing
from hybrid_asr.data.config import DataConfig
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.plan import Corpus, EpochPlan, Part, Relief, Rows

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
)


class PlanError(UserError):
    """Utterances and budgets that do not go together."""


def within_limits(train: Manifest, data: DataConfig) -> Manifest:
    """The training utterances from `min_seconds` to `max_seconds`; `check_training` reports how many are left out."""
    longest = np.inf if data.max_seconds is None else data.max_seconds
    return train.select((train.durations >= data.min_seconds) & (train.durations <= longest))


class Planner:
    """Plans any epoch of a training set: a pure function of (corpus, configurations, seed, epoch).

    Speeds, and who takes part in joining, are drawn for each utterance from (seed, epoch, its id) alone.
    Raises PlanError for utterances longer than the budgets.
    """

    def __init__(self, corpus: Corpus, *, data: DataConfig, augment: AugmentConfig, seed: int):
        self._corpus, self._config, self._augment, self._seed = corpus, data, augment, seed
        self._speeds = np.array(sorted(augment.speeds), dtype=np.float64)
        self._check_lengths()
        self.steps = self._steps()
        self._latest: dict[int, EpochPlan] = {}

    def plan(self, epoch: int) -> EpochPlan:
        """The plan of `epoch` (0 is the first)."""
        if epoch not in self._latest:
            while len(self._latest) >= KEPT:
                self._latest.pop(next(iter(self._latest)))
            self._latest[epoch] = self._plan(epoch)
        return self._latest[epoch]

    def accumulation(self, ranks: int) -> int:
        """How many parts of each batch a device takes one after the other, so that each is within `device_seconds`."""
        budget = self._config.device_seconds
        return accumulation_for(self._config.batch_seconds, budget, ranks, self._longest()) if budget else 1

    def _steps(self) -> int:
        """The batches that an epoch needs, equal for all seeds; never fewer than with the last relief."""
        trials = TRIALS if len(self._corpus.durations) < LARGE else 1
        needed = [len(self._fill(Relief(), "trial", trial)[1]) - 1 for trial in range(trials)]
        needed.append(len(self._fill(RELIEFS[-1], "trial", 0)[1]) - 1)
        return min(math.ceil(max(needed) * SPARE), len(self._corpus.durations))

    def _plan(self, epoch: int) -> EpochPlan:
        for relief in RELIEFS:
            rows, edges = self._fill(relief, self._seed, epoch)
            if len(edges) - 1 <= self.steps <= len(rows.seconds):
                break
        else:
            raise AssertionError("the last relief does not depend on the epoch, and the number of steps allows for it")
        edges = packing.split_largest(rows.seconds, edges, self.steps)
        order = np.arange(self.steps)
        if epoch >= self._config.shortest_first_epochs:
            order = np.argsort(packing.uniform(order.astype(np.uint64), self._seed, epoch, "order"), kind="stable")
        return EpochPlan(self._corpus, rows, edges, order, budget=self._config.batch_seconds, relief=relief)

    def _fill(self, relief: Relief, *draw_key: int | str) -> tuple[Rows, np.ndarray]:
        """Draw the rows of an epoch by `draw_key`, such as (seed, epoch), sort them by length, cut them in batches."""
        rows = self._draw(relief, *draw_key)
        blur = 2 * packing.uniform(self._corpus.keys[rows.first], *draw_key, "jitter") - 1
        order = np.argsort(rows.seconds * (1 + relief.jitter * self._config.jitter * blur), kind="stable")
        rows = Rows(*(column[order] for column in rows))
        return rows, packing.next_fit(rows.seconds, self._config.batch_seconds)

    def _draw(self, relief: Relief, *draw_key: int | str) -> Rows:
        durations, keys = self._corpus.durations, self._corpus.keys
        speed = self._speeds[(packing.uniform(keys, *draw_key, "speed") * len(self._speeds)).astype(np.int64)]
        speed = np.where(packing.uniform(keys, *draw_key, "relief") < relief.fastest, self._speeds[-1], speed)
        chosen = packing.uniform(keys, *draw_key, "join") < self._augment.join_share * relief.joins
        limit = min(self._augment.join_max_s, self._config.batch_seconds)
        first, second = packing.pairs(durations, speed, keys, chosen, limit, *draw_key, "partner")
        alone = np.ones(len(durations), dtype=bool)
        alone[first] = alone[second] = False
        singles = np.flatnonzero(alone)
        return Rows(
            first=np.concatenate([singles, first]),
            second=np.concatenate([np.full(len(singles), -1), second]),
            speed=np.concatenate([speed[singles], speed[first]]),
            seconds=np.concatenate(
                [durations[singles] / speed[singles], (durations[first] + durations[second]) / speed[first]]
            ),
        )

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
        batch, device = self._config.batch_seconds, self._config.device_seconds
        budget, key = min((batch, "data.batch_seconds"), (device or np.inf, "data.device_seconds"))
        too_long = durations / slowest > budget * packing.SLACK
        if too_long.any():
            index = int(durations.argmax())
            slowed = "" if slowest >= 1 else f" ({durations[index] / slowest:.2f} s at speed {slowest:g})"
            others = int(too_long.sum()) - 1
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


def accumulation_for(batch_seconds: float, device_seconds: float, ranks: int, longest_seconds: float) -> int:
    """The fewest accumulated parts with which any batch, shared by `ranks`, is within `device_seconds` everywhere.

    It counts on the worst batch there could be, so that it is the same in all epochs. Raises PlanError for a row of
    `longest_seconds` that no device can hold.
    """
    if longest_seconds > device_seconds * packing.SLACK:
        raise PlanError(
            f"the longest utterance lasts {longest_seconds:.2f} s, data.device_seconds is {device_seconds:g}; raise "
            "data.device_seconds, or leave long utterances out with data.max_seconds"
        )
    return -(-packing.parts_needed(batch_seconds, device_seconds, longest_seconds) // ranks)


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
