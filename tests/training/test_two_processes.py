"""Two processes (gloo), several parts, or one big batch: the same training but for rounding, the same evaluation."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from hybrid_asr.cli import main
from tests.tones import CHECKOUT, rows, train, words

TRACED = 3  # steps, behind three others, before an epoch ends
SETTINGS = ("trainer.epochs=2", "trainer.save_steps=13", "augment.speeds=[0.9,1.0,1.1]", f"trainer.profile={TRACED}")
DRAWN = ("augment.spec.time_masks=2", "augment.spec.freq_masks=1", "model.encoder.dropout=0.1", "trainer.log_every=3")


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command line in a process group of its own."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hybrid_asr.cli", *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.fixture(scope="module")
def alone(tones, tmp_path_factory):
    """A training by one process, each batch as a whole."""
    run = tmp_path_factory.mktemp("runs") / "alone"
    assert train(tones, run, *SETTINGS) == 0
    return run


@pytest.fixture(scope="module")
def pair(tones, tmp_path_factory):
    """The same training by two processes."""
    run = tmp_path_factory.mktemp("runs") / "pair"
    process = start(*words(tones, run, *SETTINGS, "trainer.devices=2"))
    told = process.communicate(timeout=240)[1]
    assert process.returncode == 0, told
    assert told.count("epoch 1: valid") == 1, "the first process speaks for both"
    assert "deprecated" not in told, "warnings of libraries are not for users"
    return run


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in two processes that torchrun starts."""
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(Path(sys.executable).parent / "hybrid-asr"), *arguments]
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, timeout=240)


@pytest.mark.slow
def test_torchrun_trains_one_model(pair, tones, tmp_path):
    """Not one in each process: the very training that two processes of ours come to."""
    run = tmp_path / "run"
    done = torchrun(*words(tones, run, *SETTINGS))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 1: valid") == 1, "the first process speaks for both"
    assert (run / "metrics.csv").read_bytes() == (pair / "metrics.csv").read_bytes()
    assert (run / "config.yaml").read_bytes() == (pair / "config.yaml").read_bytes()
    ours, theirs = (torch.load(path / "model.pt", weights_only=True)["weights"] for path in (run, pair))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def assert_equal_start(run, alone):
    """Equal weights and equal batches give equal losses and gradients; later, rounding grows."""
    for name in ("train.loss", "train.ctc", "train.attention", "train.gradient_norm"):
        mine, its = rows(run, name), rows(alone, name)
        assert len(mine) == len(its)
        assert mine[0] == pytest.approx(its[0], rel=1e-5), name
        assert mine[:5] == pytest.approx(its[:5], rel=1e-3), name
    assert rows(run, "train.lr") == rows(alone, "train.lr")


def test_a_step_waits_for_no_collective_but_the_gradients(pair):
    """A sum of the only bucket of gradients, the stop flag and a row of metrics, of which the last two are read later.

    All there is goes through these operators, Lightning's own exchanges included; nothing is broadcast or gathered.
    """
    events = json.loads((pair / "profile/steps.json").read_text())["traceEvents"]
    sent = Counter(event["name"] for event in events if event.get("name", "").startswith("c10d::"))
    assert sent == {"c10d::allreduce_": 3 * TRACED}


@pytest.mark.slow
def test_spread_weights_train_the_same_model_and_go_on_in_any_number_of_processes(pair, tones, tmp_path):
    run, settings = tmp_path / "run", (*SETTINGS[1:], "trainer.devices=2")
    process = start(*words(tones, run, "trainer.epochs=1", *settings, "trainer.strategy=fsdp"))
    assert process.wait(timeout=240) == 0
    alone = tmp_path / "alone"
    shutil.copytree(run, alone)
    assert train(tones, alone, *SETTINGS) == 0
    process = start(*words(tones, run, *SETTINGS, "trainer.devices=2", "trainer.strategy=fsdp"))
    assert process.wait(timeout=240) == 0
    for name in ("train.loss", "train.ctc", "train.attention", "train.gradient_norm", "valid.ctc_greedy.cer"):
        assert rows(run, name) == pytest.approx(rows(pair, name), rel=1e-5), name
        assert rows(alone, name) == pytest.approx(rows(pair, name), rel=1e-5), name
    weights = str(run / "checkpoints/epoch-001.ckpt")
    assert main(["decode", str(run), "--sets", "test", "--decoders", "joint", "--checkpoint", weights]) == 0


def test_two_processes_see_the_batches_of_one(pair, alone):
    assert_equal_start(pair, alone)
    assert rows(pair, "train.audio_s") == rows(alone, "train.audio_s"), "to the sample"


def test_the_state_is_saved_after_so_many_steps_too(pair, alone):
    for run in (pair, alone):
        steps = [
            torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["step"] for name in ("previous", "last")
        ]
        assert steps == [13, 14], "and at the end of each epoch of seven"


def test_accumulated_parts_are_one_batch(alone, tones, tmp_path, capsys):
    run = tmp_path / "run"
    assert train(tones, run, *SETTINGS, "data.device_seconds=3.0") == 0
    assert_equal_start(run, alone)
    longer = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["step"]
    assert longer == torch.load(alone / "checkpoints/last.ckpt", weights_only=True)["step"]


def test_two_processes_evaluate_as_one_decodes(pair, capsys):
    with (pair / "metrics.csv").open(newline="") as file:
        measured = [row for row in csv.DictReader(file) if row["valid.ctc_greedy.wer"]]
    assert [row["epoch"] for row in measured] == ["1", "2"]
    for row in measured:
        weights = str(pair / f"checkpoints/epoch-{int(row['epoch']):03d}.ckpt")
        assert main(["decode", str(pair), "--sets", "valid", "--decoders", "ctc_greedy", "--checkpoint", weights]) == 0
    found = [json.loads(file.read_text()) for file in pair.glob("decode/valid/*/report.json")]
    assert sorted(report["cer"] for report in found) == sorted(float(row["valid.ctc_greedy.cer"]) for row in measured)
    assert sorted(report["wer"] for report in found) == sorted(float(row["valid.ctc_greedy.wer"]) for row in measured)


@pytest.mark.slow
def test_two_interrupted_processes_go_on_as_if_nothing_had_been(tones, tmp_path):
    whole, run = tmp_path / "whole", tmp_path / "run"
    settings = (*SETTINGS, *DRAWN, "trainer.devices=2", "trainer.epochs=20")
    process = start(*words(tones, whole, *settings))
    assert process.wait(timeout=240) == 0
    process = start(*words(tones, run, *settings))
    while not (run / "metrics.csv").is_file() or len((run / "metrics.csv").read_text().splitlines()) < 3:
        time.sleep(0.02)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to both
    told = process.communicate(timeout=240)[1]
    assert process.returncode == 130, told
    assert "stopped after step" in told and "death signal" not in told, "torch's words for it"
    process = start(*words(tones, run, *settings))
    told = process.communicate(timeout=240)[1]
    assert process.returncode == 0, told
    assert "continuing" in told
    assert (run / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    one, other = (torch.load(place / "model.pt", weights_only=True)["weights"] for place in (run, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)
