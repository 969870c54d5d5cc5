"""Processes as torchrun and a PyTorchJob start them: one training, or one message and status 2 from all of them."""

import csv
import json
import os
import subprocess
import sys
import time

import pytest

from tests.ranks import free_port
from tests.tones import CHECKOUT, words

pytestmark = pytest.mark.slow
SETTINGS = ("trainer.epochs=2",)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
PROGRAM = [sys.executable, "-m", "hybrid_asr.cli"]


def start(command: list[str], **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command, env=ENVIRONMENT | variables, stderr=subprocess.PIPE, text=True)


def start_pods(command: list[str], **more: str) -> list[subprocess.Popen[str]]:
    """Two processes with the environment that a PyTorchJob with a master and a worker gives its pods."""
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    return [start(command, RANK=str(rank), **meeting, **more) for rank in range(2)]


def test_pods_of_a_pytorchjob_are_one_training(tones, tmp_path):
    whole = start([*PROGRAM, *words(tones, tmp_path / "whole", *SETTINGS, "trainer.devices=2")])
    assert whole.wait(timeout=240) == 0
    pods = start_pods([*PROGRAM, *words(tones, tmp_path / "run", *SETTINGS)])
    told = [pod.communicate(timeout=240)[1] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], told
    assert [text.count("epoch 1: valid") for text in told] == [1, 0], "the first pod speaks for both"
    assert (tmp_path / "run/metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()


def test_torchrun_in_the_pods_takes_the_jobs_numbers(tones, tmp_path):
    """As the operator sets them for nprocPerNode; WORLD_SIZE and RANK are then torchrun's to give."""
    command = [sys.executable, "-m", "torch.distributed.run", *PROGRAM[1:], *words(tones, tmp_path / "run", *SETTINGS)]
    common = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1"}
    common |= {"PET_MASTER_ADDR": "localhost", "PET_MASTER_PORT": str(free_port())}
    pods = [start(command, PET_NODE_RANK=str(rank), **common) for rank in range(2)]
    told = [pod.communicate(timeout=240)[1] for pod in pods]
    assert [pod.returncode for pod in pods] == [0, 0], told
    assert sum(text.count("epoch 1: valid") for text in told) == 1


def test_a_node_that_joins_stops_the_others_together_and_all_go_on(tones, tmp_path):
    """Torch 2.13 waits in vain for the new node's address where its agents share the processes' store."""
    options = ["--nnodes", "2:3", "--max-restarts", "1", "--local-addr", "localhost", "--rdzv-backend", "c10d"]
    options += ["--rdzv-endpoint", f"localhost:{free_port()}", "--rdzv-conf", "last_call_timeout=2"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, *PROGRAM[1:]]
    command += words(tones, tmp_path / "run", "trainer.epochs=40", "trainer.valid_every=40")
    nodes = [start(command, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1") for _ in range(2)]
    metrics = tmp_path / "run/metrics.csv"
    while not metrics.is_file() or metrics.read_text().count("\n") < 12:
        assert all(node.poll() is None for node in nodes)
        time.sleep(0.1)
    nodes.append(start(command, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1"))
    told = [node.communicate(timeout=300)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0, 0], told
    assert sum(text.count("stopped after step") for text in told) == 1, "asked to make room for the third"
    status = json.loads((tmp_path / "run/status.json").read_text())
    assert (status["state"], status["step"]) == ("finished", status["total"])
    with metrics.open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["train.loss"]]
    assert steps == list(range(1, status["total"] + 1)), "no step is missing or made twice"


@pytest.mark.parametrize("launcher", ["torchrun", "srun", "pods"])
def test_a_contradiction_ends_every_process_with_one_message(launcher, tones, tmp_path, request):
    command = [*PROGRAM, *words(tones, tmp_path / "run", "trainer.devices=3")]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *PROGRAM[1:]]
    started = time.monotonic()
    if launcher == "torchrun":
        processes, status = [start([*torchrun, *command[3:]])], 1  # its own, whatever that of its processes is
    elif launcher == "srun":
        slurm = request.getfixturevalue("slurm")
        processes, status = [start(["srun", "-N2", "-n2", *command], SLURM_CONF=slurm["SLURM_CONF"])], 2
    else:
        processes, status = start_pods(command), 2
    told = "".join(process.communicate(timeout=120)[1] for process in processes)
    assert {process.returncode for process in processes} == {status}, told
    assert told.count("hybrid-asr train: trainer.devices=3: ") == 1, told
    assert "leave both settings at auto" in told
    assert time.monotonic() - started < 60, "10 s where nothing else runs"
    assert not (tmp_path / "run").exists()
