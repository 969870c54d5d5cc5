"""On a real SLURM with two nodes (tools/local_slurm.sh): one training however it is started, interrupted and moved."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tones import CHECKOUT, words

pytestmark = pytest.mark.slow
SETTINGS = ("trainer.epochs=20", "model.encoder.dropout=0.1", "augment.spec.time_masks=2")
PROGRAM = [sys.executable, "-m", "hybrid_asr.cli"]


class Cluster:
    """Commands on the local SLURM, in a user's folder."""

    def __init__(self, environment: dict[str, str], folder: Path):
        self.folder = folder
        self.environment = environment | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}

    def run(self, *command: str | Path, expect: int = 0) -> str:
        """What a command prints; its exit status must be the expected one."""
        done = subprocess.run(
            command, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def submit(self, tones: Path, run: str, *more: str) -> str:
        """Submit a training in the folder `run`; gives the job's number."""
        told = self.run(*PROGRAM, *words(tones, Path(run), *SETTINGS), "--launch", "slurm", *more)
        return told.splitlines()[0].rpartition(" ")[2]

    def wait_for(self, job: str, *states: str) -> str:
        """Wait until the job has one of the states; gives all that SLURM knows of it."""
        for _ in range(1800):
            known = self.run("scontrol", "show", "job", "--oneliner", job)
            if any(f"JobState={state} " in known for state in states):
                return known
            time.sleep(0.1)
        raise AssertionError(f"{known}\n{self.log(job)}")

    def log(self, job: str) -> str:
        """What all jobs have printed."""
        return "\n".join(file.read_text() for file in self.folder.rglob(f"*{job}*.log"))


@pytest.fixture
def cluster(slurm, tmp_path):
    """The local SLURM with all nodes in use, and a folder to stand in."""
    place = Cluster(slurm, tmp_path)
    yield place
    place.run("scancel", "--user=root")
    for node in ("n1", "n2"):
        if "DRAIN" in place.run("scontrol", "show", "node", node):
            place.run("scontrol", "update", f"nodename={node}", "state=resume")


@pytest.fixture(scope="module")
def whole(tones, tmp_path_factory) -> Path:
    """The training by two processes of ours, never interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    place = Cluster({"PATH": "/usr/bin:/bin"}, run.parent)
    place.run(*PROGRAM, *words(tones, run, *SETTINGS, "trainer.devices=2"))
    return run


def assert_equal(run: Path, whole: Path) -> None:
    """Equal to the bit: every row of metrics, no step missing or twice."""
    assert (run / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert json.loads((run / "status.json").read_text())["state"] == "finished"


def await_rows(metrics: Path) -> None:
    """Wait until a training is beyond the end of its first epoch."""
    while not metrics.is_file() or len(metrics.read_text().splitlines()) < 12:
        time.sleep(0.02)


@pytest.mark.parametrize("spread", ["--nodes=1", "--nodes=2"])
def test_srun_trains_as_two_processes_of_ours(spread, cluster, tones, whole):
    command = ["srun", spread, "--ntasks=2", "--kill-on-bad-exit=1", *PROGRAM]
    cluster.run(*command, *words(tones, cluster.folder / "run", *SETTINGS))
    assert_equal(cluster.folder / "run", whole)


@pytest.mark.parametrize("signal", ["USR1", "TERM", "KILL"])
def test_a_stopped_job_goes_on_on_another_node_as_if_nothing_had_been(signal, cluster, tones, whole):
    run = "it's 100% of a $run"
    job = cluster.submit(tones, run, "--tasks", "2", "--sbatch", "--comment='a b'")
    await_rows(cluster.folder / run / "metrics.csv")
    first = cluster.wait_for(job, "RUNNING").partition(" NodeList=")[2].split()[0]
    cluster.run("scontrol", "update", f"nodename={first}", "state=drain", "reason=test")
    cluster.run("scancel", f"--signal={signal}", f"{job}.0")  # its step: KILL for the job would cancel it
    known = cluster.wait_for(job, "COMPLETED", "FAILED")
    assert "JobState=COMPLETED" in known and "Restarts=1" in known, known + cluster.log(job)
    assert f" NodeList={'n2' if first == 'n1' else 'n1'} " in known
    assert f"is {'killed' if signal == 'KILL' else 'stopped'}; step " in cluster.log(job)
    assert_equal(cluster.folder / run, whole)
    assert not list(cluster.folder.rglob("hpc_ckpt*"))


def test_an_array_trains_a_run_for_each_value(cluster, tones):
    """One of them is stopped, and goes on by its own number."""
    job = cluster.submit(tones, "run", "--array", "seed=1,2", "--time", "30")
    await_rows(cluster.folder / "run-seed-2/metrics.csv")
    cluster.run("scancel", "--signal=USR1", f"{job}_1")
    for task, restarts in (("0", 0), ("1", 1)):
        known = cluster.wait_for(f"{job}_{task}", "COMPLETED", "FAILED")
        assert "JobState=COMPLETED" in known and f"Restarts={restarts}" in known, known + cluster.log(job)
    runs = json.loads(cluster.run(*PROGRAM, "runs", ".", "--json"))
    assert {Path(each["folder"]).name: each["state"] for each in runs} == {
        "run-seed-1": "finished",
        "run-seed-2": "finished",
    }
    assert {each["job"] for each in runs} == {f"{job}_0", f"{job}_1"}
    assert {each["host"] for each in runs} <= {"n1", "n2"}
    losses = [(cluster.folder / f"run-seed-{seed}/metrics.csv").read_text() for seed in (1, 2)]
    assert losses[0] != losses[1]


def test_a_training_that_fails_or_is_canceled_does_not_come_back(cluster, tones):
    bad = cluster.submit(tones, "bad", "data.train=none.jsonl")
    canceled = cluster.submit(tones, "canceled", "trainer.epochs=1000")
    assert "JobState=FAILED" in cluster.wait_for(bad, "FAILED", "COMPLETED")
    assert "is none; step 0 is saved" in cluster.log(bad)
    await_rows(cluster.folder / "canceled/metrics.csv")
    cluster.run("scancel", canceled)
    assert "Restarts=0" in cluster.wait_for(canceled, "CANCELLED")
    time.sleep(7)  # longer than a requeued job would wait
    assert "JobState=CANCELLED" in cluster.run("scontrol", "show", "job", canceled)
    assert json.loads((cluster.folder / "canceled/status.json").read_text())["state"] == "stopped"


def test_slurm_takes_a_script_that_asks_for_gpus(cluster, tones):
    asked = ["--nodes", "2", "--gpus", "2", "--cpus", "1", "--time", "24:00:00", "--sbatch", "--mem=100 --exclusive"]
    command = [*PROGRAM, *words(tones, Path("run"), *SETTINGS), "--launch", "slurm", *asked, "--dry-run"]
    (cluster.folder / "run.sbatch").write_text(cluster.run(*command))
    cluster.run("sbatch", "--test-only", "run.sbatch")
