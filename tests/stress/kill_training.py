"""Kill a training again and again, let it go on, and compare it with one that nobody disturbed.

    make kills COUNT=25 PROCESSES=2                   # a small model on a small corpus of tones, made for this
    make kills COUNT=25 PROCESSES=2 CORPUS=an4        # an4/conformer_s, two epochs; AN4=DIR has the corpus
    python -m tests.stress.kill_training recipes/an4/conformer_s.yaml trainer.epochs=4 --kills 10 --work /tmp/kills
    python -m tests.stress.kill_training RECIPE key=value ... --kills 200 --seed 1 --json kills.json

Half of the kills (SIGKILL) come at a random moment of the training, or of its start; half are aimed at the writing of a
checkpoint: they come as soon as a temporary file has appeared. After each kill the state on disk is read and the same
command is given again. It must start, at the very step whose state lay there, and never behind a step that was reported
as saved. A training that reaches its end must equal the undisturbed one: metrics.csv and every checkpoint, bit for bit.
Then the next one is begun, until there are enough kills. One thread, since two give different sums.

With several processes all are killed at one moment, and a third of the kills is also continued, in a copy of the run,
by another number of processes (`--other-processes`, `--share`): that must train on the same batches in the same order,
by the seconds of audio in each, with losses that differ no more than other draws of dropout make them.
"""

import argparse
import contextlib
import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from hybrid_asr.common.lock_holder import process_started
from hybrid_asr.models.bundle import BundleError, read_torch
from hybrid_asr.run.folder import Run
from hybrid_asr.training.status import TrainingStatus
from tests.tones import write_corpus

ROOT = Path(__file__).resolve().parents[2]
START_SHARE = 0.05  # of kills that come while the process starts
LIFE_S = 6.0  # the longest life behind the start
AIM_DELAY_S = 0.03  # how long after its temporary file has appeared a checkpoint's writer is killed at most
LATEST = 3  # the checkpoint of a life that is aimed at: the first to the third
POLL_S = 0.0005
ROWS = 6  # that another number of processes trains behind a kill
ROWS_S = 120.0  # in which it must have trained them
ROUNDING_S = 2e-6  # of seconds of audio, which are written with six decimals: half a sample at 16 kHz is in between
LOSS_NOISE = 0.3  # by how much of it a loss may differ then


class Kill(NamedTuple):
    """One kill: how it was aimed, seconds from the start, steps, and what the disk held."""

    training: int
    aim: str
    start_s: float
    lived_s: float
    reported: int
    saved: int
    reached: int
    lost_s: float
    unfinished: bool
    other_rows: int = 0  # rows of the same order that another number of processes added
    went_on_at: int | None = None


class Failure(Exception):
    """What must not happen; the message says what did."""


def main() -> int:
    """Read the command line, kill, print; 0 if every continuation was right."""
    options = _parser().parse_args()
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kills-")))
        return run(options, work)


def run(options: argparse.Namespace, work: Path) -> int:
    """Train once undisturbed, then again and again with kills, below `work`."""
    work.mkdir(parents=True, exist_ok=True)
    if options.recipe is None:
        tones = write_corpus(work / "tones")
        options.recipe = str(tones / "tiny.yaml")
        options.overrides = [f"data.root={tones}", "trainer.epochs=12", *options.overrides]
    began, kills, trainings, failure = time.monotonic(), [], 0, None
    reference = work / "reference"
    process = start(options, reference)
    if process.wait() != 0:
        print(log(reference), file=sys.stderr)
        print("0 kills: the undisturbed training failed")
        return 1
    alone_s = time.monotonic() - began
    print(f"undisturbed: {alone_s:.0f} s, {saved_step(reference)} steps", flush=True)
    rng = random.Random(options.seed)
    try:
        while len(kills) < options.kills:
            trainings += 1
            disturb(options, work / f"killed-{trainings}", reference, rng, kills)
            compare(work / f"killed-{trainings}", reference)
            print(f"training {trainings}: {len(kills)} kills so far, equal to the undisturbed one", flush=True)
    except Failure as error:
        failure = str(error)
    print(summary(kills, trainings, alone_s, time.monotonic() - began, failure))
    if options.json:
        content = {"seed": options.seed, "recipe": options.recipe, "overrides": options.overrides, "failure": failure}
        content |= figures(kills) | {"trainings": trainings, "kills": [kill._asdict() for kill in kills]}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(failure is not None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="(default: a small one, with a corpus of tones)")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--kills", type=int, default=200, help="(default 200)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default 1)")
    parser.add_argument("--processes", type=int, default=1, help="of each training; all are killed at once (default 1)")
    parser.add_argument(
        "--other-processes", type=int, default=1, help="that continue a share of the kills as well (default 1)"
    )
    parser.add_argument("--share", type=float, default=0.33, help="(default 0.33; of one process none)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the runs are put (default: a temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all kills here")
    return parser


def start(options: argparse.Namespace, run: Path, *, processes: int | None = None) -> subprocess.Popen[bytes]:
    """Train in a process of its own; what it says goes to a file beside the run."""
    count = processes or options.processes
    devices = [f"trainer.devices={count}"] if count > 1 else []
    command = [sys.executable, "-m", "hybrid_asr.cli", "train", options.recipe, *options.overrides, *devices]
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with run.with_suffix(".log").open("wb") as told:
        return subprocess.Popen(
            [*command, "--folder", str(run)],
            env=os.environ | settings,
            stderr=told,
            stdout=told,
            start_new_session=True,
        )


def kill_all(process: subprocess.Popen[bytes]) -> int:
    """Kill a training with all processes that it has started, at one moment; gives its exit status."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text(errors="replace").rpartition(")")[2].split()[1])
    family = [process.pid]
    for pid in family:
        family += [child for child, parent in parents.items() if parent == pid]
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    status = process.wait()
    while any(process_started(pid) for pid in family):
        time.sleep(POLL_S)
    return status


def log(run: Path) -> str:
    """What the latest process said."""
    return run.with_suffix(".log").read_text(encoding="utf-8", errors="replace")


def disturb(options: argparse.Namespace, run: Path, reference: Path, rng: random.Random, kills: list[Kill]) -> None:
    """Train until the end, killed again and again; adds to `kills`. Raises Failure."""
    number = int(run.name.rpartition("-")[2])
    wanted = None  # the step at which the next process must go on
    while True:
        before = Run(run).status()
        process, began = start(options, run), time.monotonic()
        aim = "none" if len(kills) >= options.kills else _aim(rng)
        start_s = hunt(process, run, before, aim, rng)
        ended = process.poll()
        if ended is None:
            ended = kill_all(process)
        lived_s = time.monotonic() - began
        went_on = _went_on_at(run)
        if wanted is not None and went_on is not None and kills[-1].went_on_at is None:
            kills[-1] = kills[-1]._replace(went_on_at=went_on)
            if went_on != wanted or went_on < kills[-1].reported:
                raise Failure(f"{run}: went on at step {went_on}, saved was {wanted}, reported {kills[-1].reported}")
        if ended == 0:
            return
        if ended != -signal.SIGKILL:
            raise Failure(f"{run}: ended with {ended} after {len(kills)} kills:\n{log(run)}")
        kills.append(_look(run, number, aim, start_s, lived_s))
        if options.processes > 1 and rng.random() < options.share:
            rows = continue_elsewhere(options, run, reference, behind=kills[-1].saved)
            kills[-1] = kills[-1]._replace(other_rows=rows)
        wanted = kills[-1].saved or None


def _aim(rng: random.Random) -> str:
    draw = rng.random()
    return "start" if draw < START_SHARE else "writing" if draw < 0.5 + START_SHARE / 2 else "any"


def hunt(
    process: subprocess.Popen[bytes], run: Path, before: TrainingStatus | None, aim: str, rng: random.Random
) -> float:
    """Wait for the moment of the kill, or for the end; returns the seconds that the start took."""
    began = time.monotonic()
    if aim == "start":
        deadline = began + rng.uniform(0.1, 5.0)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return time.monotonic() - began
    started = (run / "status.json").stat().st_mtime_ns if before else 0
    while process.poll() is None:
        status = run / "status.json"
        if status.is_file() and status.stat().st_mtime_ns != started:
            break
        time.sleep(0.02)
    start_s = time.monotonic() - began
    if aim == "none":
        process.wait()
    elif aim == "any":
        deadline = time.monotonic() + rng.uniform(0, LIFE_S)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
    else:
        _wait_for_writing(process, run / "checkpoints", rng)
    return start_s


def _wait_for_writing(process: subprocess.Popen[bytes], folder: Path, rng: random.Random) -> None:
    """Return a moment after the n-th temporary file of this life has appeared, half written or renamed already."""
    nth, delay, seen = rng.randint(1, LATEST), rng.uniform(0, AIM_DELAY_S), 0
    writing = False
    while process.poll() is None:
        there = any(name.endswith(".tmp") for name in os.listdir(folder))
        seen += there and not writing
        writing = there
        if seen == nth:
            time.sleep(delay)
            return
        time.sleep(POLL_S)


def _look(run: Path, number: int, aim: str, start_s: float, lived_s: float) -> Kill:
    """What lies in the folder of a killed training. Raises Failure where no state is whole or the kill is not seen."""
    killed = time.time()
    status = Run(run).status()
    if status is not None and status.state not in ("killed", "finished"):  # the latter between its end and its exit
        raise Failure(f"{run}: a killed training is shown as {status.state}")
    last = run / "checkpoints/last.ckpt"
    lost_s = killed - last.stat().st_mtime if last.is_file() else lived_s - start_s
    return Kill(
        training=number,
        aim=aim,
        start_s=round(start_s, 2),
        lived_s=round(lived_s, 2),
        reported=(status.saved_step if status else None) or 0,
        saved=saved_step(run),
        reached=_reached(run),
        lost_s=round(min(lost_s, max(0.0, lived_s - start_s)), 2),
        unfinished=any((run / "checkpoints").glob(".*.tmp")),
    )


def continue_elsewhere(options: argparse.Namespace, run: Path, reference: Path, *, behind: int) -> int:
    """Let a copy of a killed training go on with another number of processes; gives how many rows it added.

    Raises Failure.
    """
    copy = run.with_name("elsewhere")
    shutil.rmtree(copy, ignore_errors=True)
    if run.exists():
        shutil.copytree(run, copy)
    (copy / "metrics.csv").unlink(missing_ok=True)  # so that all its rows are of the other processes
    process, deadline = start(options, copy, processes=options.other_processes), time.monotonic() + ROWS_S
    while process.poll() is None and len(_losses(copy, behind)) < ROWS and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.poll() not in (None, 0):
        raise Failure(f"{copy}: ended with {process.returncode}:\n{log(copy)}")
    kill_all(process)
    went_on, rows, right = _went_on_at(copy) or 0, _losses(copy, behind), _losses(reference, behind)
    if went_on != behind or not rows:
        raise Failure(f"{copy}: went on at step {went_on}, saved was {behind}, {len(rows)} rows:\n{log(copy)}")
    for step, (audio_s, loss) in rows.items():
        if abs(audio_s - right[step][0]) > ROUNDING_S or abs(loss - right[step][1]) > LOSS_NOISE * right[step][1]:
            raise Failure(
                f"{copy}: step {step} had {audio_s} s of audio and a loss of {loss}, with {options.processes} "
                f"processes {right[step][0]} s and {right[step][1]}"
            )
    return len(rows)


def _losses(run: Path, behind: int) -> dict[int, tuple[float, float]]:
    """Seconds of audio and the loss of each step behind a step, of the rows that are whole."""
    try:
        whole = (run / "metrics.csv").read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    except OSError:
        return {}
    return {
        int(row["step"]): (float(row["train.audio_s"]), float(row["train.loss"]))
        for row in csv.DictReader(whole)
        if row.get("train.loss") and row.get("train.audio_s") and int(row["step"]) > behind
    }


def saved_step(run: Path) -> int:
    """The step of the state on disk, every checksum compared; 0 where none was saved yet."""
    for name in ("last.ckpt", "previous.ckpt"):
        path = run / "checkpoints" / name
        if path.is_file():
            try:
                return read_torch(path)["step"]
            except BundleError as error:
                raise Failure(str(error)) from error
    return 0


def _reached(run: Path) -> int:
    """The step of the last row of metrics.csv."""
    try:
        rows = (run / "metrics.csv").read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return 0
    steps = [row.partition(",")[0] for row in rows]
    return max((int(step) for step in steps if step.isdigit()), default=0)


def _went_on_at(run: Path) -> int | None:
    found = re.search(r"continuing \S+ at step (\d+)", log(run))
    return int(found[1]) if found else None


def compare(run: Path, reference: Path) -> None:
    """Raise Failure unless both trainings have written the same."""
    if (run / "metrics.csv").read_bytes() != (reference / "metrics.csv").read_bytes():
        raise Failure(f"{run}/metrics.csv differs from that of the undisturbed training")
    names = [sorted(path.name for path in place.glob("checkpoints/*.ckpt")) for place in (run, reference)]
    names = [[name for name in some if name != "previous.ckpt"] for some in names]
    left = [path.name for path in run.glob("**/.*.tmp")]
    if names[0] != names[1] or left:
        raise Failure(f"{run}: has {names[0]}, not {names[1]}, and unfinished {left}")
    for name in ["model.pt", *(f"checkpoints/{name}" for name in names[0])]:
        mine, its = read_torch(run / name), read_torch(reference / name)
        for part in ("weights", "state_dict", "optimizer"):
            if not same(mine.get(part), its.get(part)):
                raise Failure(f"{run}/{name}: {part} differs from that of the undisturbed training")


def same(mine: object, its: object) -> bool:
    """Whether two trees of plain containers and tensors are equal bit for bit."""
    if isinstance(mine, torch.Tensor) and isinstance(its, torch.Tensor):
        return torch.equal(mine, its)
    if isinstance(mine, dict) and isinstance(its, dict):
        return mine.keys() == its.keys() and all(same(mine[key], its[key]) for key in mine)
    if isinstance(mine, list) and isinstance(its, list):
        return len(mine) == len(its) and all(map(same, mine, its))
    return mine == its


def figures(kills: list[Kill]) -> dict[str, float | int]:
    """The counts and times of all kills."""
    steps = [max(0, kill.reached - kill.saved) for kill in kills]
    return {
        "kills_at_start": sum(kill.aim == "start" for kill in kills),
        "kills_at_writing": sum(kill.aim == "writing" for kill in kills),
        "kills_at_any_moment": sum(kill.aim == "any" for kill in kills),
        "left_unfinished_file": sum(kill.unfinished for kill in kills),
        "continued_by_other_processes": sum(kill.other_rows > 0 for kill in kills),
        "rows_in_the_same_order": sum(kill.other_rows for kill in kills),
        "behind_reported": sum(kill.saved < kill.reported for kill in kills),
        "most_lost_s": max((kill.lost_s for kill in kills), default=0.0),
        "mean_lost_s": round(sum(kill.lost_s for kill in kills) / max(1, len(kills)), 2),
        "most_lost_steps": max(steps, default=0),
        "mean_start_s": round(sum(kill.start_s for kill in kills) / max(1, len(kills)), 2),
    }


def summary(kills: list[Kill], trainings: int, alone_s: float, seconds: float, failure: str | None) -> str:
    """The table for people."""
    lines = [f"{name.replace('_', ' '):30} {value:>8}" for name, value in figures(kills).items()]
    head = f"{len(kills)} kills of {trainings} trainings ({alone_s:.0f} s undisturbed) in {seconds / 60:.1f} minutes"
    last = (
        f"FAILED after {len(kills)} kills: {failure}"
        if failure
        else f"{len(kills)} kills: each training resumed where it was saved; all {trainings} ends are equal bit for bit"
    )
    return "\n".join([head, *lines, last])


if __name__ == "__main__":
    sys.exit(main())
