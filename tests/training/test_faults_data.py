"""Worker processes that die, and sound files that vanish while training."""

import multiprocessing.forkserver
import os
import signal
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import hybrid_asr.commands.validation
from hybrid_asr.data.dataset import SpeechDataset
from hybrid_asr.data.label_counts import label_counts
from hybrid_asr.data.loader import WorkerError, build_loader
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.plan import Part, PlannedUtterance
from hybrid_asr.models.bundle import read_torch
from hybrid_asr.text.tokenizer import AS_IT_IS, CharTokenizerConfig, train_tokenizer
from tests.tones import rows, train, write_corpus

SETTINGS = ("trainer.epochs=3", "data.audio=unchecked", "trainer.log_every=3", "augment.speeds=[0.9,1.0,1.1]")


@pytest.fixture(scope="module")
def dataset(tones) -> SpeechDataset:
    manifest = Manifest.read(tones / "train.jsonl")
    tokenizer = train_tokenizer(CharTokenizerConfig(), [utterance.text for utterance in manifest])
    assert len(label_counts(manifest, tokenizer, AS_IT_IS).labels) == 48
    return SpeechDataset(manifest, tokenizer=tokenizer, text=AS_IT_IS, rate=8000)


PARTS = [Part((PlannedUtterance((place,), 1.0, 1.0),), None) for place in range(24)]


def kill_a_worker(loader) -> None:
    os.kill(loader._iterator._workers[0].pid, signal.SIGKILL)


def test_killed_workers_are_started_again_where_they_were(dataset):
    told: list[str] = []
    expected = [batch.ids for batch in build_loader(dataset, PARTS, workers=0, prefetch=1)]
    loader = build_loader(dataset, PARTS, workers=2, prefetch=2, restarts=2, warn=told.append)
    for _ in range(2):  # a second round over the same loader begins at its beginning
        found = []
        for batch in loader:
            found.append(batch.ids)
            if len(found) == 5 and not told:
                assert not hasattr(loader._iterator._workers_done_event, "_cond"), (
                    "a worker killed with its lock stops all"
                )
                kill_a_worker(loader)
        assert found == expected
    assert len(told) == 1
    assert "has died" in told[0] and "nothing is lost or repeated" in told[0]


def test_a_signal_to_all_processes_of_a_training_leaves_it_its_workers(dataset):
    """As `timeout`, a supervisor, or SLURM sends it: what the workers prepare is needed to save and stop."""
    loader: Any = build_loader(dataset, PARTS, workers=2, prefetch=1)
    server: Any = multiprocessing.forkserver._forkserver
    found = 0
    for _ in loader:
        found += 1
        for process in (server._forkserver_pid, *(worker.pid for worker in loader._iterator._workers)):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                os.kill(process, number)
    assert found == len(PARTS)
    [first, _] = loader._iterator._workers
    first.terminate()
    first.join(10)
    assert first.exitcode == -signal.SIGKILL, "torch ends a worker so that hangs"


@pytest.mark.slow
def test_workers_that_die_too_often_stop_it(dataset):
    loader = build_loader(dataset, PARTS, workers=1, prefetch=1, restarts=1)
    found = 0
    with pytest.raises(WorkerError, match=r"died again and again.*fewer data\.workers"):
        for _ in loader:
            found += 1
            kill_a_worker(loader)
    assert found >= 2


@pytest.fixture
def corpus(tmp_path):
    """A corpus of tones of which a file may be taken away."""
    return write_corpus(tmp_path / "tones")


def taken_away(monkeypatch, file, epoch: int = 1) -> None:
    """Let a sound file vanish while epoch `epoch` is validated."""
    evaluate_set, calls = hybrid_asr.commands.validation.evaluate_set, []

    def losing(*arguments, **options):
        calls.append(1)
        if len(calls) == epoch:
            os.replace(file, file.with_suffix(".away"))
        return evaluate_set(*arguments, **options)

    monkeypatch.setattr(hybrid_asr.commands.validation, "evaluate_set", losing)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_vanished_file_stops_training_with_all_saved(corpus, tmp_path, monkeypatch, capsys, workers):
    whole, run, file = tmp_path / "whole", tmp_path / "run", corpus / "train/07.wav"
    settings = (*SETTINGS, f"data.workers={workers}")
    assert train(corpus, whole, *settings) == 0
    with monkeypatch.context() as patch:
        taken_away(patch, file)
        assert train(corpus, run, *settings) == 2
    told = capsys.readouterr().err.partition("hybrid-asr train: ")[2]
    assert f"{corpus}/train.jsonl:8: utterance 'train-07': {file}: no such file" in told
    step = read_torch(run / "checkpoints/last.ckpt")["step"]
    assert f"the last saved state is that of step {step} in" in told
    assert step >= len(rows(whole, "train.loss"))
    os.replace(file.with_suffix(".away"), file)
    assert train(corpus, run, *settings) == 0
    assert (run / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    one, other = (read_torch(place / "model.pt")["weights"] for place in (run, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_vanished_file_is_skipped_and_counted(corpus, tmp_path, monkeypatch, capsys, workers):
    run, file = tmp_path / "run", corpus / "train/07.wav"
    taken_away(monkeypatch, file)
    skip = ("data.unreadable=skip", "data.unreadable_share=0.05", f"data.workers={workers}")
    assert train(corpus, run, *SETTINGS, *skip) == 0
    told = capsys.readouterr().err
    assert told.count(f"left out: {corpus}/train.jsonl:8: utterance 'train-07': {file}: no such file") == 1
    assert "1 training utterances could not be read and were left out" in told
    assert sum(rows(run, "train.unread")) in ((2,) if workers == 0 else (1, 2)), "workers may have read it ahead"
    assert sum(rows(run, "train.skipped")) == 0


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_channels_that_cancel_are_told_once_in_all_epochs_and_counted(corpus, tmp_path, capfd, workers):
    doubtful = [corpus / f"train/{index:02d}.wav" for index in range(3, 10)]
    for file in doubtful:
        samples, rate = soundfile.read(file, dtype="int16")
        soundfile.write(file, np.stack([samples, -samples], 1), rate)
    assert train(corpus, tmp_path / "run", *SETTINGS, "trainer.epochs=2", f"data.workers={workers}") == 0
    told = capfd.readouterr().err
    assert told.count("its channels cancel each other") == 5 and told.count("further ones are only counted") == 1
    assert sum(told.count(f"warning: {file}: its channels") for file in doubtful) == 5
    assert "7 warnings about audio that was read all the same" in told
    assert "AudioWarning" not in told


def test_a_row_that_is_left_out_is_silence_that_does_not_count(corpus, dataset):
    manifest = Manifest.read(corpus / "train.jsonl")
    (corpus / "train/07.wav").write_bytes(b"RIFF damaged")
    reader = SpeechDataset(manifest, tokenizer=dataset.tokenizer, text=AS_IT_IS, rate=8000, unreadable="skip")
    part = Part((PlannedUtterance((3,), 1.0, 1.0), PlannedUtterance((7,), 1.1, 1.0)), 20)
    batch, good = reader[part], dataset[part]
    assert batch.weights.tolist() == [1.0, 0.0]
    assert batch.samples.tolist() == good.samples.tolist(), "the plan's budget holds"
    assert not batch.audio[1].any()
    assert torch.equal(batch.audio[0], good.audio[0]) and batch.divisor == good.divisor
    assert len(batch.unread) == 1 and "train.jsonl:8" in batch.unread[0]


def test_too_many_vanished_files_stop_training_all_the_same(corpus, tmp_path, capsys):
    for place in range(10, 20):
        (corpus / f"train/{place}.wav").unlink()
    run = tmp_path / "run"
    assert train(corpus, run, *SETTINGS, "data.unreadable=skip", "data.unreadable_share=0.05") == 2
    told = capsys.readouterr().err
    assert "4 training utterances could not be read, data.unreadable_share allows 2" in told  # two in one step
    assert "the last saved state is that of step" in told
