"""A training from shards, on a disk or on a server, is the training from the files they were made of, killed or not."""

import shutil
from pathlib import Path

import pytest
import torch

from hybrid_asr.cli import main
from tests.data.range_server import RangeServer
from tests.tones import process, train, words
from tests.training.test_resume import SIGNAL

SETTINGS = ("augment.speeds=[0.9,1.0,1.1]", "trainer.epochs=3", "trainer.log_every=3", "trainer.save_minutes=1e-9")


@pytest.fixture(scope="module")
def packed(tones, tmp_path_factory) -> Path:
    """The corpus of tones in shards, without its audio files."""
    folder = tmp_path_factory.mktemp("packed")
    shutil.copy(tones / "tiny.yaml", folder)
    for name in ("train", "valid", "test"):
        size = ["--shard-size", "200K", "--jobs", "1"]
        assert main(["pack", str(tones / f"{name}.jsonl"), "--to", str(folder), *size]) == 0
    return folder


@pytest.fixture
def served(packed, tmp_path, monkeypatch):
    """A server of the shards, and a folder with the manifests alone."""
    for name in ("tiny.yaml", "train.jsonl", "valid.jsonl", "test.jsonl"):
        shutil.copy(packed / name, tmp_path)
    server = RangeServer(packed)
    monkeypatch.setenv("HYBRID_ASR_SHARDS", server.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield tmp_path, server
    server.close()


@pytest.mark.slow
def test_a_training_from_shards_is_that_from_files(tones, packed, served, tmp_path):
    folder, server = served
    assert train(tones, tmp_path / "files", *SETTINGS) == 0
    assert train(folder, tmp_path / "server", *SETTINGS) == 0
    assert len(server.asked) > 48
    expected = (tmp_path / "files/metrics.csv").read_bytes()
    assert (tmp_path / "server/metrics.csv").read_bytes() == expected
    run = tmp_path / "killed"
    done = process(*words(folder, run, *SETTINGS), code=SIGNAL.format(metrics=str(run / "metrics.csv"), name="SIGKILL"))
    assert done.returncode == -9, done.stderr
    assert not (run / "model.pt").exists()
    server.busy = 3
    assert train(folder, run, *SETTINGS) == 0
    assert (run / "metrics.csv").read_bytes() == expected
    states = [torch.load(tmp_path / name / "model.pt", weights_only=True)["weights"] for name in ("files", "killed")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
