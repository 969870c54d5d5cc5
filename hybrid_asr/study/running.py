"""Runs what a study lacks: each training and its decodings as processes of their own, some side by side.

A training has one thread and, while it lasts, a core of its own. What is done is not done again: a training by its
signature, which its folder's name ends with, a decoding by its report.
"""

import itertools
import os
import queue
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hybrid_asr.common.lock import is_held
from hybrid_asr.inference.report import DecodingReport, ReportError
from hybrid_asr.run.folder import Run
from hybrid_asr.study.plan import Decoding, Plan
from hybrid_asr.study.shuffled import write_shuffled
from hybrid_asr.study.trainings import Training

Tell = Callable[[str], None]
CONTROL = ("data.check.infeasible=warn",)  # a long text on short audio is no mistake here


class Workplace:
    """Where a study's runs lie, and whether they are done."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.trainings = folder / "trainings"

    def run(self, training: Training) -> Run:
        """The run of a training: whatever name it was given first, its signature ends it."""
        found = sorted(self.trainings.glob(f"*-{training.signature[:8]}"))
        return Run(found[0] if found else self.trainings / training.folder_name)

    def is_trained(self, training: Training) -> bool:
        """Whether a training has ended as it should."""
        status = self.run(training).status()
        return status is not None and status.state == "finished"

    def decoded(self, training: Training, decoding: Decoding) -> DecodingReport | None:
        """The report of a decoding, if there is one and it is of the set as it is now."""
        try:
            report = DecodingReport.read(self.report_folder(training, decoding))
        except ReportError:
            return None
        same = report.source is not None and report.source.manifest_sha256 == self.plan.digests[decoding.set_name]
        return report if same else None

    def report_folder(self, training: Training, decoding: Decoding) -> Path:
        """decode/<set>/<label> of a training."""
        return self.run(training).folder / "decode" / decoding.set_name / decoding.label

    def commands(self, training: Training) -> Iterator[list[str]]:
        """The commands that a training still lacks, one after the other; none where all is done."""
        run = self.run(training)
        if not self.is_trained(training):
            yield ["train", str(training.recipe), *self._overrides(training), "--folder", str(run.folder)]
        wanted = self.plan.decodings(training)
        lacking = [one for one in wanted if self.decoded(training, one) is None]
        for settings in dict.fromkeys(one.settings for one in lacking):
            same = [one for one in wanted if one.settings == settings]  # of these, those that hold stay
            sets = ",".join(dict.fromkeys(one.set_name for one in same))
            decoders = ",".join(dict.fromkeys(one.decoder for one in same))
            yield ["decode", str(run.folder), "--sets", sets, "--decoders", decoders, *settings]

    def _overrides(self, training: Training) -> list[str]:
        """Those of a training, and where it starts from and what it learns from in this place."""
        more = ["trainer.threads=1"]
        if training.start is not None:
            more.append(f"init.from={self.run(training.start).folder}")
        if training.control is not None:
            [train] = training.cfg.data.train_manifests
            root = Path(training.cfg.data.root)
            more += [f"data.train={write_shuffled(root / train.manifest).relative_to(root)}", *CONTROL]
        return [*training.overrides, *more]


def run_missing(place: Workplace, *, jobs: int, tell: Tell) -> dict[str, str]:
    """Train and decode what is missing, `jobs` trainings side by side; what another starts from comes first.

    Returns why trainings failed, by their signature; the others are not held up. An interrupted study stops its
    trainings, which save what they have.
    """
    failed: dict[str, str] = {}
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()
    usable = sorted(os.sched_getaffinity(0))
    for index in range(jobs):
        cores.put(usable[index % len(usable)])
    running: dict[str, subprocess.Popen[bytes]] = {}
    lock, stopping = threading.Lock(), threading.Event()
    count = itertools.count(1)

    def make(training: Training) -> None:
        core = cores.get()
        try:
            start = training.start
            if start is not None and start.signature in failed:
                failed[training.signature] = f"{start.name}, which it starts from, has failed"
                return
            wait_while_running(place.run(training), tell)
            for command in place.commands(training):
                if stopping.is_set():
                    return
                tell(f"{training.name}: {command[0]}")
                log = place.trainings / f"{place.run(training).folder.name}.log"
                status = _call(command, log, core, training.signature, running, lock)
                if status and not stopping.is_set():
                    failed[training.signature] = f"{_shown(command)}: exit status {status}; see {log}"
                    tell(f"{training.name}: failed, {failed[training.signature]}")
                    return
            tell(f"{training.name}: done, {next(count)} of {len(place.plan.trainings)}")
        finally:
            cores.put(core)

    waves: dict[int, list[Training]] = {}
    for training in place.plan.trainings.values():
        waves.setdefault(training.depth, []).append(training)
    with ThreadPoolExecutor(jobs) as pool:
        try:
            for depth in sorted(waves):
                list(pool.map(make, waves[depth]))
        except BaseException:
            stopping.set()
            with lock:
                for process in running.values():
                    process.terminate()
            raise
    return failed


def wait_while_running(run: Run, tell: Tell) -> None:
    """Let a training end that a study before, which was killed, has left behind."""
    if run.exists() and is_held(run.folder):
        tell(f"{run.folder}: is being trained by another process: waiting for it")
        while is_held(run.folder):
            time.sleep(1.0)


def _call(
    command: Sequence[str],
    log: Path,
    core: int,
    key: str,
    running: dict[str, subprocess.Popen[bytes]],
    lock: threading.Lock,
) -> int:
    """Run a command on one core; what it says goes to the file `log`. Gives its exit status."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"$ {_shown(command)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            [sys.executable, "-m", "hybrid_asr.cli", *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,  # a Ctrl-C reaches it through us, once
        )
        os.sched_setaffinity(process.pid, {core})
        with lock:
            running[key] = process
        try:
            return process.wait()
        finally:
            with lock:
                del running[key]


def _shown(command: Sequence[str]) -> str:
    return shlex.join(["hybrid-asr", *command])
