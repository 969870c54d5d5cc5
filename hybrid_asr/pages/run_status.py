"""The state of a run: from its status.json, or from its other files where there is none."""

import math
from typing import Literal, NamedTuple

from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.training.metrics import read_metrics

State = Literal["running", "stopped", "failed", "finished", "killed", "unknown", "empty"]


class RunStatus(NamedTuple):
    """The head of a run's page. Times in seconds; None where it is not recorded."""

    state: State
    message: str
    step: int | None
    total: int | None
    elapsed_s: float | None
    updated: str
    environment: dict[str, str]
    alarms: list[str]  # problems that did not end the training


class Best(NamedTuple):
    """The validation with the lowest error rate, the earlier one of equals."""

    name: str
    epoch: int
    rate: float


Rows = list[dict[str, str]]


def read_rows(run: Run) -> Rows:
    """The rows of metrics.csv that are whole, none where there is no such file."""
    if not run.metrics_file.is_file():
        return []
    rows = read_metrics(run.metrics_file)
    return [row for row in rows if None not in row and None not in row.values() and (row.get("step") or "").isdigit()]


def number(text: str | None) -> float:
    """A cell of metrics.csv; NaN where it is empty or no number."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def read_run_status(run: Run, rows: Rows) -> RunStatus:
    """What status.json says; without it, what the other files show."""
    status = run.status()
    if status is not None:
        return RunStatus(
            state=status.state,
            message=status.message,
            step=status.step,
            total=status.total,
            elapsed_s=status.elapsed_s,
            updated=status.updated,
            environment=status.environment,
            alarms=list(status.alarms),
        )
    why = "status.json is damaged; this is read from the other files." if run.status_file.is_file() else ""
    step = int(rows[-1]["step"]) if rows else None
    state = "finished" if run.model_file.is_file() else "unknown" if run.exists() else "empty"
    return RunStatus(state, why, step, None, None, "", {}, [])


def best_epoch(rows: Rows, cfg: RunConfig) -> Best | None:
    """The validation of the lowest `valid.<decoder>.<metric>`; None before the first validation."""
    rates = [
        (number(row[name]), int(number(row.get("epoch"))), name)
        for row in rows
        for name in row
        if name.startswith("valid.") and name.endswith(f".{cfg.metric}") and math.isfinite(number(row[name]))
    ]
    rate, epoch, name = min(rates, default=(0.0, 0, ""))
    return Best(name, epoch, rate) if rates else None
