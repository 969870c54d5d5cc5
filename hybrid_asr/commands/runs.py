"""`hybrid-asr runs`: which trainings there are, how far they are, and where they run."""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path

from hybrid_asr.common.errors import UserError
from hybrid_asr.run.listing import RunSummary, is_run, list_runs, summarize

HEADER = ("state", "epoch", "step", "WER", "speed", "where", "updated", "run")


def print_runs(places: Sequence[Path], *, as_json: bool) -> None:
    """Print the runs below `places`, as a table or as JSON."""
    runs = list_runs(places)
    if as_json:
        print(json.dumps([run.to_json() for run in runs], indent=1, ensure_ascii=False))
        return
    if not runs:
        print(f"no runs below {', '.join(map(str, places))}")
        return
    rows = [HEADER, *map(_row, runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, run in zip(rows, [None, *runs], strict=True):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if run is not None and run.state in ("failed", "damaged"):
            print(f"    {run.problem}")


def print_state(places: Sequence[Path]) -> None:
    """For scripts: the state of one run and the step of its last saved state; `none 0` where there is no run."""
    if len(places) != 1:
        raise UserError("runs --state takes the folder of one run")
    run = summarize(places[0]) if is_run(places[0]) else None
    print("none 0" if run is None else f"{run.state} {run.saved_step or 0}")


def _row(run: RunSummary) -> tuple[str, ...]:
    step = "" if run.step is None else f"{run.step}/{run.total}"
    where = f"{run.host} (job {run.job})" if run.job else run.host
    return (
        run.state,
        "" if run.epoch is None else str(run.epoch),
        step,
        "" if run.wer is None else f"{run.wer:.2%}",
        "" if run.speed is None else f"{run.speed:.0f} s/s",
        where,
        _local_time(run.updated),
        run.folder,
    )


def _local_time(utc: str) -> str:
    try:
        return datetime.datetime.fromisoformat(utc).astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return utc
