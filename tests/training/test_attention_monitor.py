"""Attention is measured with each validation; its alarm outlives an interruption and can be turned off."""

import csv
import json

import numpy as np
import pytest
import soundfile
import torch

from hybrid_asr.data.manifest import Manifest
from hybrid_asr.pages.epoch_heat_map import draw_epoch
from hybrid_asr.run.folder import Run
from hybrid_asr.training.attention_monitor import AttentionMonitor, _heads, read_lines
from hybrid_asr.training.attention_pictures import AttentionPictures
from tests.tones import train

SETTINGS = ("trainer.epochs=6", "optim.lr=0.0001")  # learns nothing, so that the alarm is sure


@pytest.fixture(scope="module")
def alarmed(tones, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "alarmed"
    assert train(tones, run, *SETTINGS) == 0
    return run


def test_every_epoch_has_a_line_an_utterance_and_the_leading_head_s_means(alarmed):
    lines = [json.loads(line) for line in (alarmed / "attention.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [epoch for epoch in range(1, 7) for _ in range(8)]
    with (alarmed / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["attention.monotonicity"]]
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    last = [line["monotonicity"][0] for line in lines if line["epoch"] == 6]
    means = [np.nanmean(np.array([head[place] for head in last], dtype=float)) for place in (0, 1)]
    assert float(rows[-1]["attention.monotonicity"]) == pytest.approx(max(means), abs=1e-4)


def test_the_alarm_comes_after_the_beginning_and_three_epochs_and_is_kept(alarmed):
    [alarm] = Run(alarmed).status().alarms
    assert alarm.startswith(
        "epoch 5: attention has not aligned with the speech in 3 validations, since epoch 3: no head follows the speech"
    )


def test_what_lies_behind_the_last_epoch_is_forgotten_and_an_alarm_is_not_told_twice(alarmed, tones, tmp_path, capsys):
    file, told = tmp_path / "attention.jsonl", []
    file.write_text((alarmed / "attention.jsonl").read_text() + '{"epoch": 7, "id"')  # torn by a crash
    cfg = Run(alarmed).read_config()
    manifest = Manifest.read(tones / "valid.jsonl")
    pictures = AttentionPictures(tmp_path / "attention", draw=draw_epoch, show=print, steps_per_epoch=7)
    watch = AttentionMonitor(
        cfg.trainer,
        cfg.model.decoder,
        file,
        manifest,
        pictures=pictures,
        alarms=told.append,
        epochs=cfg.trainer.length[1],
    )
    watch.continue_from(5)
    assert {line.epoch for _, line in read_lines(file)} == {1, 2, 3, 4, 5}
    assert told == list(Run(alarmed).status().alarms)
    bundle, _ = Run(alarmed).bundle("last")
    bundle.model.eval()
    watch.measure(bundle, torch.device("cpu"), 6)
    assert len(told) == 1 and not capsys.readouterr().err
    assert file.read_bytes() == (alarmed / "attention.jsonl").read_bytes()


HUGE = '{"epoch": 2, "nats": 1' + 400 * "0" + "}"


@pytest.mark.parametrize(
    "damage", ["{}", "5", "\xff", '{"epoch": 2, "monotonicity": [[[1]]]}', '{"epoch": 3, "ent', "[" * 9999, HUGE]
)
def test_damaged_lines_are_left_out_told_of_and_cost_no_others(alarmed, tmp_path, damage, capsys):
    file = tmp_path / "attention.jsonl"
    lines = (alarmed / "attention.jsonl").read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:10], damage.encode("latin-1") + b"\n", *lines[11:]]))
    texts = [line.decode().rstrip("\n") for index, line in enumerate(lines) if index != 10]
    assert [text for text, _ in read_lines(file)] == texts
    assert f"{file}: 1 damaged lines are left out" in capsys.readouterr().err
    assert not np.isnan(_heads([line for _, line in read_lines(file) if line.epoch == 2]).entropy).any()


def test_it_can_be_turned_off(tones, tmp_path, capsys):
    assert train(tones, tmp_path / "run", *SETTINGS, "trainer.epochs=4", "trainer.attention_utterances=0") == 0
    assert "attention" not in (tmp_path / "run" / "metrics.csv").read_text().replace("train.attention", "")
    assert not (tmp_path / "run" / "attention.jsonl").exists()


def test_a_set_without_an_utterance_short_enough_is_told_of(alarmed, tmp_path, capsys):
    soundfile.write(tmp_path / "long.wav", np.zeros(int(20.5 * 8000), np.float32), 8000)
    line = {"id": "long", "audio": "long.wav", "duration_s": 20.5, "text": "a"}
    (tmp_path / "valid.jsonl").write_text(json.dumps(line) + "\n")
    cfg, manifest = Run(alarmed).read_config(), Manifest.read(tmp_path / "valid.jsonl")
    pictures = AttentionPictures(tmp_path / "attention", draw=draw_epoch, show=print, steps_per_epoch=7)
    AttentionMonitor(
        cfg.trainer,
        cfg.model.decoder,
        tmp_path / "a",
        manifest,
        pictures=pictures,
        alarms=print,
        epochs=cfg.trainer.length[1],
    )
    assert "no validation utterance is at most 20 s long: attention is neither" in capsys.readouterr().err
