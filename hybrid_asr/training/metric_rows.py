"""Rows for `metrics.csv` and the other loggers: what a few updates came to, on all devices together.

No step waits for a row. Its numbers begin their way to the host when their last step has been launched; a step later
they are there, and begin to be summed over the processes; another step later the row is written.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor

from hybrid_asr.training.host_copy import HostCopy
from hybrid_asr.training.nonfinite import PartLosses
from hybrid_asr.training.process_group import is_connected, reduce_later


class StepSums(NamedTuple):
    """What update number `step` (from 1) came to on this device, and the losses of its parts."""

    step: int
    values: dict[str, Tensor]
    parts: list[PartLosses]


class HostSums:
    """The sums of several updates on their way to the host."""

    def __init__(self, sums: Sequence[StepSums]) -> None:
        self.sums = sums
        values = [value for one in sums for value in one.values.values()]
        self._copy = HostCopy(torch.stack(values)) if values else None

    def read(self) -> list[dict[str, float]]:
        """The sums of each update, as numbers."""
        numbers = iter(self._copy.read() if self._copy is not None else [])
        return [{name: next(numbers) for name in one.values} for one in self.sums]


class RankSum:
    """Numbers of each process on their way to being summed over all processes."""

    def __init__(self, values: dict[str, float]) -> None:
        self._values, self._names = values, sorted(values)
        numbers = [values[name] for name in self._names]
        self._total = reduce_later(torch.tensor(numbers, dtype=torch.float64), "sum") if is_connected() else None

    def read(self) -> dict[str, float]:
        """The sums; waits only for a process that is more than a step behind."""
        if self._total is None:
            return self._values
        return dict(zip(self._names, self._total().tolist(), strict=True))


@dataclasses.dataclass
class RowUnderWay:
    """A row of which not all numbers are there: `window` has what this process has added up for it so far."""

    step: int
    epoch: int
    lr: float
    window: dict[str, float]
    sums: HostSums
    ids: list[str]
    unaligned: HostCopy
    total: RankSum | None = None


class RowQueue:
    """Rows under way, the oldest first. All processes have the same, and take each on at the same steps.

    `collect` takes the sums of this process to a row, when they have arrived; `write` gets the row and its sums over
    all processes.
    """

    def __init__(
        self,
        collect: Callable[[RowUnderWay], None],
        write: Callable[[RowUnderWay, dict[str, float]], None],
    ) -> None:
        self._collect, self._write = collect, write
        self._rows: list[RowUnderWay] = []

    def add(self, row: RowUnderWay) -> None:
        """Take a row whose last step has just been launched."""
        self._rows.append(row)

    def step(self) -> None:
        """Take all rows a step further."""
        if self._rows and self._rows[0].total is not None:
            row = self._rows.pop(0)
            assert row.total is not None
            self._write(row, row.total.read())
        self.collect()

    def collect(self) -> None:
        """Add to each row what this process has of it."""
        for row in self._rows:
            if row.total is None:
                self._collect(row)
                row.total = RankSum(row.window)

    def flush(self) -> None:
        """Write all rows."""
        while self._rows:
            self.step()


def log_row(trainer: L.Trainer, row: dict[str, Any], step: int) -> None:
    """Give a row to all loggers. An OSError names at least the logger's folder: TensorBoard writes in a thread."""
    for logger in trainer.loggers:
        try:
            logger.log_metrics(row, step=step)
        except OSError as error:
            if error.filename is None:
                error.filename = f"{logger.save_dir}/{logger.name}"
            raise


def train_row(total: dict[str, float], processes: int) -> dict[str, float]:
    """Means over a window of steps, and over devices: losses in nats per label, shares of what was masked."""
    finite = total["steps"] - total["skipped"]  # an update that was left out has no loss
    row = {}
    if finite:
        row = {f"train.{name}": total[name] / finite * processes for name in ("loss", "ctc", "attention")}
        row["train.gradient_norm"] = total["gradient_norm"] / finite
    row["train.infeasible"] = total["infeasible"]
    for name in ("time_masked", "frequency_masked"):
        row[f"train.{name}"] = total.get(name, 0.0) / max(total["parts"], 1.0)
    row["train.skipped"] = total["skipped"] / processes
    row["train.unread"] = total["unread"]
    row["train.audio_s"] = round(total.get("audio_s", 0.0), 6)  # the same for any number of processes
    return row
