"""Processes that differ do not begin; only the first one writes, and it alone reads what lies in the run's folder."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

from hybrid_asr.commands.training_facts import checkpoint_facts, data_facts, setting_facts
from hybrid_asr.commands.training_fit import _open_folder
from hybrid_asr.commands.training_setup import prepare_training
from hybrid_asr.config.compose import compose
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import read_torch
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.training.agreement import differences
from hybrid_asr.training.status import StatusFile
from tests.tones import CHECKOUT, words
from tests.training.test_process_group import free_port

HOSTS = ["n1", "n2", "n2", "n3"]


def test_who_differs_is_named_with_the_host_and_the_usual_value_comes_last():
    facts = [{"seed": "1", "torch": "2"}, {"seed": "2", "torch": "2"}, {"seed": "1", "torch": "2"}, {"seed": "2"}]
    told = differences([*facts, {"seed": "1"}], [*HOSTS, "n3"])
    assert "\n  seed: processes 1, 3 (hosts n2, n3): 2; processes 0, 2, 4 (hosts n1, n2, n3): 1\n" in told
    assert "torch" not in told, "what a process does not know is not compared"
    assert differences(facts[:1] * 3, HOSTS) == ""
    told = differences([{"seed": "1"}, {"seed": "2"}], HOSTS)
    assert "seed: process 1 (host n2): 2; process 0 (host n1): 1" in told, "in doubt the first one is right"
    many = [{str(name): value for name in range(9)} for value in ("a", "b")]
    assert "… and 4 more" in differences(many, HOSTS)


def test_what_decides_is_compared_and_what_is_of_a_node_is_not(tones):
    def facts(*overrides: str) -> dict[str, str]:
        recipe = str(tones / "tiny.yaml")
        return setting_facts(compose(recipe, [f"data.root={tones}", *overrides]).parse(RunConfig))

    usual = facts()
    assert facts("data.root=elsewhere", "data.workers=3", "trainer.threads=2", "presets.logger=tensorboard") == usual
    for override in ("seed=7", "trainer.valid_every=2", "data.device_seconds=4", "optim.lr=0.5", "decode.beam=7"):
        assert facts(override) != usual, override


def test_manifests_are_compared_by_what_they_hold(tones, tmp_path):
    shutil.copytree(tones / "train", tmp_path / "train")
    text = (tones / "train.jsonl").read_text()
    (tmp_path / "same.jsonl").write_text(text)
    (tmp_path / "other.jsonl").write_text(text.replace('"train-00"', '"train-99"'))
    train, same, other = (
        Manifest.read(path) for path in (tones / "train.jsonl", *sorted(tmp_path.glob("*.jsonl"))[::-1])
    )
    assert len(other) == len(train)
    assert data_facts(same, train) == data_facts(train, train), "wherever it lies"
    assert data_facts(other, train) != data_facts(train, train) != data_facts(train, other)


def test_a_state_is_known_by_its_step_and_what_is_in_it(trained, tmp_path):
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    folder, last = tmp_path / "checkpoints", tmp_path / "checkpoints/last.ckpt"
    usual = checkpoint_facts(folder, first=True)
    state = read_torch(last)
    assert usual["checkpoint"].startswith(f"step {state['step']}, ")
    torch.save(state | {"elapsed_s": 1.0}, last)
    assert checkpoint_facts(folder, first=False) != usual
    last.write_bytes(b"torn")
    assert checkpoint_facts(folder, first=True) == {"checkpoint": "damaged"}
    last.unlink()
    assert checkpoint_facts(folder, first=True) == {"checkpoint": "none"}
    assert checkpoint_facts(folder, first=False) == {}, "a disk of another node need not have it"


def test_another_process_than_the_first_leaves_nothing_in_the_folder(tones, tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    cfg = compose(str(tones / "tiny.yaml"), [f"data.root={tones}"]).parse(RunConfig)
    run = Run(tmp_path / "run")
    setup = prepare_training(cfg, run, None, fresh=True, begin_anew="")
    _open_folder(setup, StatusFile(run.status_file, total=1), "id")
    assert not run.folder.exists()


def start(tones, folders, *settings, more=((), ()), **environment):
    """Two processes of one training, each with a folder and `more` settings of its own; (status, stderr) of each."""
    port, started = str(free_port()), []
    for rank in range(2):
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
        own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "hybrid_asr.cli", *words(tones, folders[rank], *settings, *more[rank])]
        started.append(subprocess.Popen(command, env=os.environ | own | environment, stderr=subprocess.PIPE, text=True))
    told = [process.communicate(timeout=240)[1] for process in started]
    return [(process.returncode, text) for process, text in zip(started, told, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("seed=2", "seed: process 1 (host "),
        ("data.train=valid.jsonl", "data.train: process 1 (host "),
        ("data.root={other}", "data.train digest: process 1 (host "),
    ],
)
def test_processes_that_differ_are_refused_and_nothing_is_written(tones, tmp_path, more, named):
    other = tmp_path / "other"
    shutil.copytree(tones, other)
    lines = (other / "train.jsonl").read_text().splitlines(keepends=True)
    (other / "train.jsonl").write_text("".join(lines[:-1]))
    run = tmp_path / "run"
    (status, told), (other_status, silent) = start(tones, [run, run], more=((), (more.format(other=other),)))
    assert (status, other_status) == (2, 2), told + silent
    assert named in told and "; process 0 (host " in told, told
    assert not silent.strip(), "one process speaks"
    assert not run.exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_first_process_reads_and_writes_for_all(tones, tmp_path):
    """Each sees a disk of its own: the second resumes from what the first one reads, and leaves nothing on its own."""
    here, there, whole = tmp_path / "here", tmp_path / "there", tmp_path / "whole"
    logged = ("presets.logger=tensorboard",)
    assert [status for status, _ in start(tones, [whole, there], "trainer.epochs=2", *logged)] == [0, 0]
    assert not there.exists()
    assert [status for status, _ in start(tones, [here, there], "trainer.epochs=1", *logged)] == [0, 0]
    (status, told), (other, _) = start(tones, [here, there], "trainer.epochs=2", *logged)
    assert (status, other) == (0, 0), told
    assert f"continuing {here} at step 7 of 14" in told
    assert not there.exists()
    assert (here / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    shutil.copytree(whole, there)
    (status, told), (other, _) = start(tones, [here, there], "trainer.epochs=3", *logged)
    assert (status, other) == (2, 2)
    assert "checkpoint: process 1 (host " in told and ": step 14, " in told
