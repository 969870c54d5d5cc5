"""A run of version 0.1.0, before its modules moved, is loaded, decoded, transcribed with, shown, replayed and resumed.

`tests/fixtures/run_of_0_1.tar.xz` holds a training of `tests/tones.py`'s recipe (smaller, 24 epochs), made by commit
d815be0: `finished`, decoded by three decoders, and `stopped`, the same training stopped after step 55. Its own numbers
are the expected ones. They were computed on one processor; another may round otherwise, hence the tolerances.
"""

import csv
import json
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from hybrid_asr.cli import main
from hybrid_asr.recognizer import load

DECODERS = ["attention", "ctc_greedy", "joint"]


@pytest.fixture
def former(tmp_path, tones, checkout, monkeypatch) -> Path:
    """The two runs, with the corpus where they expect it."""
    with tarfile.open(checkout / "tests/fixtures/run_of_0_1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tones)
    return tmp_path


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_its_decodings_still_hold(former, capsys):
    before = {path: path.read_bytes() for path in (former / "finished/decode").rglob("*") if path.is_file()}
    assert main(["decode", str(former / "finished"), "--decoders", ",".join(DECODERS)]) == 0
    assert "test/joint" in capsys.readouterr().out
    after = {path: path.read_bytes() for path in (former / "finished/decode").rglob("*") if path.is_file()}
    assert after == before


def test_it_decodes_to_the_same_texts_and_scores(former):
    run = former / "finished"
    then = {name: lines(run / f"decode/test/{name}/hypotheses.jsonl") for name in DECODERS}
    shutil.rmtree(run / "decode")
    assert main(["decode", str(run), "--decoders", ",".join(DECODERS)]) == 0
    for name in DECODERS:
        now = lines(run / f"decode/test/{name}/hypotheses.jsonl")
        assert [row.keys() - {"short"} for row in now] == [row.keys() for row in then[name]]  # told since then
        assert [(row["id"], row["text"]) for row in now] == [(row["id"], row["text"]) for row in then[name]]
        assert [row["score"] for row in now] == pytest.approx([row["score"] for row in then[name]], abs=1e-4)


def test_it_transcribes(former, tones):
    recognizer = load(former / "finished", decoder="joint")
    expected = {row["id"]: row["text"] for row in lines(former / "finished/decode/test/joint/hypotheses.jsonl")}
    transcripts = recognizer.transcribe(sorted((tones / "test").glob("*.wav")))
    assert [transcript.text for transcript in transcripts] == [expected[f"test-{n:02d}"] for n in range(8)]
    assert all(word.end_s > word.start_s for transcript in transcripts for word in transcript.words)


@pytest.mark.parametrize("what", [["run"], ["model"], ["batch", "160"]], ids=lambda what: what[0])
def test_it_is_shown_and_replayed(former, what, capsys):
    assert main(["show", what[0], str(former / "finished"), *what[1:]]) == 0
    out = capsys.readouterr().out
    assert {"run": "finished", "model": "8,672", "batch": "train-"}[what[0]] in out


@pytest.mark.slow
def test_it_goes_on_to_the_weights_of_the_training_that_was_never_stopped(former):
    """On the processor that made the fixture the numbers are equal to the bit."""
    small = [f"model.{part}.{name}" for part in ("encoder", "decoder") for name in ("dim=16", "feed_forward=32")]
    settings = ["data.root=.", *small, "model.encoder.channels=4", "trainer.epochs=24"]
    assert main(["train", "tiny.yaml", *settings, "--run", str(former / "stopped")]) == 0
    runs = [former / "finished", former / "stopped"]
    then, now = (list(csv.DictReader((run / "metrics.csv").open(newline=""))) for run in runs)
    assert [row["step"] for row in now] == [row["step"] for row in then]
    for column in ("train.loss", "train.ctc", "train.attention"):
        ours, theirs = ([float(row[column]) for row in rows if row.get(column)] for rows in (now, then))
        assert len(ours) > 100
        assert ours == pytest.approx(theirs, rel=0.02, abs=0.02), column
    ours, theirs = (torch.load(run / "model.pt", weights_only=True) for run in reversed(runs))
    assert ours.keys() - {"labels_per_second"} == theirs.keys()  # known since then
    assert json.loads((former / "stopped/status.json").read_text())["state"] == "finished"
