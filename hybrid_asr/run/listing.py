"""What is known of many runs at a glance: read from status.json and metrics.csv alone, without torch."""

import dataclasses
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hybrid_asr.common.errors import UserError
from hybrid_asr.training.status import TrainingStatus, read_status

MARKS = {"config.yaml", "status.json", "metrics.csv", "checkpoints"}  # any of them makes a folder a run
STATES = ("running", "stopped", "killed", "failed", "finished", "unknown", "damaged")


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSummary:
    """One run. `wer` is the best on the validation set, `speed` in seconds of audio a second; None: not known.

    `job` is the number of its SLURM job; `problem` says what is damaged, or why it stopped or failed.
    """

    folder: str
    state: str
    epoch: int | None = None
    step: int | None = None
    saved_step: int | None = None
    total: int | None = None
    wer: float | None = None
    speed: float | None = None
    host: str = ""
    job: str = ""
    updated: str = ""
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Its keys in JSON."""
        return dataclasses.asdict(self)


def list_runs(places: Sequence[Path]) -> list[RunSummary]:
    """All runs below `places`: those that train first, of each state the one that was last written to first.

    Raises UserError where a place is no folder.
    """
    found = dict.fromkeys(run for place in places for run in _find(place))
    runs = sorted(map(summarize, found), key=lambda run: run.updated, reverse=True)
    return sorted(runs, key=lambda run: STATES.index(run.state))


def is_run(folder: Path) -> bool:
    """Whether `folder` has anything of a run in it."""
    return any((folder / name).exists() for name in MARKS)


def summarize(folder: Path) -> RunSummary:
    """What the files of `folder` say; what cannot be read makes it "damaged", and is named."""
    status, problems = _status(folder)
    epoch, wer = None, None
    try:
        epoch, wer = _metrics(folder / "metrics.csv")
    except FileNotFoundError:
        pass  # no step has been logged yet, or it is an imported model
    except (OSError, ValueError) as error:
        problems.append(f"metrics.csv: {error}")
    if status is None:
        state = "damaged" if problems else "finished" if (folder / "model.pt").is_file() else "unknown"
        return RunSummary(folder=str(folder), state=state, epoch=epoch, wer=wer, problem="; ".join(problems))
    return RunSummary(
        folder=str(folder),
        state="damaged" if problems else status.state,
        epoch=epoch,
        step=status.step,
        saved_step=status.saved_step,
        total=status.total,
        wer=wer,
        speed=status.audio_per_s,
        host=status.environment.get("host", ""),
        job=status.environment.get("SLURM job", ""),
        updated=status.updated,
        problem="; ".join(problems) or status.message.partition("\n")[0],
    )


def _find(place: Path) -> Iterator[Path]:
    """The runs at and below `place`; none lies within another."""
    if not place.is_dir():
        raise UserError(f"{place}: no such folder; name one that has runs in it")
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(place, onerror=unreadable.append):
        if MARKS & {*folders, *files}:
            folders.clear()
            yield Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
    if unreadable:
        raise UserError("\n".join(f"{error.filename}: {error.strerror}" for error in unreadable))


def _status(folder: Path) -> tuple[TrainingStatus | None, list[str]]:
    problems = [] if (folder / "config.yaml").is_file() else ["config.yaml is missing"]
    status = read_status(folder / "status.json")
    if status is None and (folder / "status.json").exists():
        problems.append(f"status.json: {_why_unreadable(folder / 'status.json')}")
    return status, problems


def _why_unreadable(file: Path) -> str:
    try:
        json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return f"is no JSON: {error}"
    return "is no status of a training"


def _metrics(file: Path) -> tuple[int | None, float | None]:
    """The latest epoch and the best word error rate on the validation set; a torn last line counts for nothing."""
    with file.open(encoding="utf-8") as lines:
        columns = next(lines, "").rstrip("\r\n").split(",")
        if "epoch" not in columns:
            raise ValueError("has no column 'epoch'")
        at, rates = columns.index("epoch"), [number for number, name in enumerate(columns) if _is_wer(name)]
        epoch, best = None, math.inf
        for line in lines:
            cells = line.rstrip("\r\n").split(",")
            if len(cells) != len(columns) or not line.endswith("\n"):
                continue
            epoch = cells[at] or epoch
            best = min([best, *(float(cells[number]) for number in rates if cells[number])])
    return None if epoch is None else int(float(epoch)), best if math.isfinite(best) else None


def _is_wer(column: str) -> bool:
    return column.startswith("valid.") and column.endswith(".wer")
