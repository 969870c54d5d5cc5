"""The comparison of models: controls that hear nothing, and one command from training to the page."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import compare_models

from tests.tones import RECIPE


def test_a_control_s_transcripts_are_those_of_other_utterances_and_nothing_else_changes(tones, tmp_path):
    (tmp_path / "train.jsonl").write_bytes((tones / "train.jsonl").read_bytes())
    compare_models.shuffle(tmp_path)
    before, after = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("train.jsonl", compare_models.SHUFFLED)
    )
    assert sorted(one["text"] for one in before) == sorted(one["text"] for one in after)
    assert [one | {"text": ""} for one in before] == [one | {"text": ""} for one in after]
    same = sum(mine["text"] == its["text"] for mine, its in zip(before, after, strict=True))
    assert same <= len(before) / 8


def test_a_command_that_fails_is_told_of_when_the_others_have_ended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, bad = [["--version", "good"]], [["decode", str(tmp_path / "none")], ["--version", "never"]]
    with pytest.raises(compare_models.UserError, match=r"decode .*none: status 2"):
        compare_models.in_parallel([lambda: iter(bad), lambda: iter(good)], together=1)


@pytest.mark.slow
def test_one_command_trains_decodes_and_shows_recipes_and_their_controls(tones, tmp_path):
    recipes = tmp_path / "recipes" / "tones"
    recipes.mkdir(parents=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "tones").symlink_to(tones)
    recipe = RECIPE.replace("epochs: 4", "epochs: 1").replace("average_count: 2", "average_count: 1")
    recipe = re.sub(r"\b(train|valid|test)\.jsonl", r"tones/\1.jsonl", recipe)
    (recipes / "first.yaml").write_text(recipe)
    (recipes / "second.yaml").write_text(recipe + "init: {from: runs/tones/first}\n")
    command = [
        sys.executable,
        compare_models.__file__,
        "tones",
        "--page",
        "all.html",
        "--json",
        "all.json",
        "--results",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "all.json").read_text())
    assert [(row["recipe"], row["control"]) for row in rows] == [
        ("first", False), ("second", False), ("first", True), ("second", True)
    ]  # fmt: skip
    assert {"ctc_greedy", "attention", "joint"} <= rows[0]["test_wer"].keys()
    assert set(rows[0]["speed"]) == {"2", "5", "10", "20"} and "speed" not in rows[2]
    started = (tmp_path / "runs" / "tones" / "second-control.log").read_text()
    assert "starting from runs/tones/first-control" in started
    assert "second" in (tmp_path / "all.html").read_text()
    assert len(json.loads((recipes / "results.json").read_text())["models"]) == 4
    assert "| tones | second |" in done.stdout
    again = subprocess.run([*command, "--no-speed"], cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert again.returncode == 0 and "hybrid-asr train" not in again.stderr, "what is trained stays"
