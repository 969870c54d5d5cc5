"""The comparison of models: controls that hear nothing, and one command from training to the page."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest

from hybrid_asr.commands.decode import decode_run
from hybrid_asr.config.compose import compose
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.study.shuffled import write_shuffled
from tests.tones import RECIPE
from tools.results import compare_models, compared_rows


def test_a_control_s_transcripts_are_those_of_other_utterances_and_nothing_else_changes(tones, tmp_path):
    (tmp_path / "train.jsonl").write_bytes((tones / "train.jsonl").read_bytes())
    write_shuffled(tmp_path / "train.jsonl")
    before, after = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("train.jsonl", compare_models.SHUFFLED)
    )
    assert sorted(one["text"] for one in before) == sorted(one["text"] for one in after)
    assert [one | {"text": ""} for one in before] == [one | {"text": ""} for one in after]
    same = sum(mine["text"] == its["text"] for mine, its in zip(before, after, strict=True))
    least = max(0, 2 * max(Counter(one["text"] for one in before).values()) - len(before))
    assert same == least, "with texts that repeat some cannot but keep theirs"


def test_what_others_start_from_comes_first_and_is_trained_even_if_it_was_not_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipes = tmp_path / "recipes" / "tones"
    recipes.mkdir(parents=True)
    (recipes / "first.yaml").write_text(RECIPE)
    (recipes / "second.yaml").write_text(RECIPE + "init: {from: runs/tones/first}\n")
    found = compare_models.waves("tones", [("second", False), ("second", True)])
    assert found == [[("first", False), ("first", True)], [("second", False), ("second", True)]]
    (recipes / "third.yaml").write_text(RECIPE + "init: {from: runs/tones/second}\n")
    found = compare_models.waves("tones", [("third", False), ("second", False)])
    assert found == [[("first", False)], [("second", False)], [("third", False)]]
    (recipes / "first.yaml").write_text(RECIPE + "init: {from: runs/tones/third}\n")
    with pytest.raises(
        compare_models.UserError, match=r"third.yaml: init.from leads in a circle: third, second, first"
    ):
        compare_models.waves("tones", [("third", False)])
    (recipes / "third.yaml").write_text(RECIPE + "init: {from: runs/other/first}\n")
    with pytest.raises(compare_models.UserError, match=r"third.yaml: init.from: runs/other/first is no run of recipes"):
        compare_models.waves("tones", [("third", False)])


def test_a_run_of_another_configuration_is_named_and_not_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipes" / "tones" / "first.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE)
    (tmp_path / "runs" / "tones" / "first").mkdir(parents=True)
    Run(tmp_path / "runs" / "tones" / "first").write_config(compose(str(recipe)).parse(RunConfig))
    compare_models.refuse_stale("tones", [("first", False)])
    recipe.write_text(RECIPE.replace("epochs: 4", "epochs: 9"))
    with pytest.raises(compare_models.UserError, match=r"runs/tones/first: (.|\n)*trainer.epochs: 4 there, 9 now"):
        compare_models.refuse_stale("tones", [("first", False)])


@pytest.mark.slow
def test_a_command_that_fails_is_told_of_when_the_others_have_ended(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good, bad = [["--version", "good"]], [["decode", str(tmp_path / "none")], ["--version", "never"]]
    with pytest.raises(compare_models.UserError, match=r"decode .*none: status 2"):
        compare_models.in_parallel([lambda: iter(bad), lambda: iter(good)], together=1)


def test_a_decoding_counts_that_is_of_these_weights_and_with_what_the_recipe_says(
    tones, trained, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    recipe, run = tmp_path / "recipes" / "tones" / "first.yaml", Run(tmp_path / "runs" / "tones" / "first")
    recipe.parent.mkdir(parents=True)
    recipe.write_text(RECIPE)
    shutil.copytree(trained, run.folder)
    decode_run(run.folder, decoders=["joint", "ctc_greedy"], overrides=["decode.beam=5"])
    place, told = run.folder / "decode" / "test", []

    def test_rates() -> set[str]:
        told.clear()
        return set(compared_rows.rates(run, "tones", "first", told.append)["test_wer"])

    assert test_rates() == {"ctc_greedy"}, "joint with another beam is another decoding"
    decode_run(run.folder, decoders=["joint"])
    assert test_rates() == {"ctc_greedy", "joint"} and not told
    report = json.loads((place / "joint" / "report.json").read_text())
    (place / "joint" / "report.json").write_text(json.dumps(report | {"decoder": report["decoder"] | {"beam": 7}}))
    assert test_rates() == {"ctc_greedy"} and "test/joint: not what the recipe asks for" in told[0]
    (place / "joint" / "report.json").write_text("{")
    assert test_rates() == {"ctc_greedy"} and "decode/test/joint: " in told[0] and "decode it again" in told[0]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_command_trains_decodes_and_shows_recipes_and_their_controls(checkout, tones, tmp_path):
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
        "-m",
        "tools.results.compare_models",
        "tones",
        "--page",
        "all.html",
        "--json",
        "all.json",
        "--results",
    ]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    rows = json.loads((recipes / "results.json").read_text())["models"]
    assert [(row["recipe"], row["control"]) for row in rows] == [
        ("first", False), ("first", True), ("second", False), ("second", True)
    ]  # fmt: skip
    assert {"ctc_greedy", "attention", "joint"} <= rows[0]["test_wer"].keys()
    assert set(rows[0]["speed"]) == {"2", "5", "10", "20"} and "speed" not in rows[1]
    started = (tmp_path / "runs" / "tones" / "second-control.log").read_text()
    assert "starting from runs/tones/first-control" in started
    assert "second" in (tmp_path / "all.html").read_text()
    assert rows[2]["core_minutes"] >= rows[0]["core_minutes"] and rows[2]["timed"] == "processor"
    grown = json.loads((tmp_path / "all.json").read_text())
    assert [one["what"].split(":")[0] for one in grown] == ["tones/first", "tones/second"]
    assert all(one["ratio"] == pytest.approx(one["ours"] / one["other"], abs=1e-3) for one in grown)
    assert "| tones | second |" in done.stdout
    model = tmp_path / "runs" / "tones" / "first" / "checkpoints" / "last.ckpt"
    written = model.stat().st_mtime_ns
    again = subprocess.run([*command, "--no-speed"], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert again.returncode == 0 and model.stat().st_mtime_ns == written, "what is trained stays"
