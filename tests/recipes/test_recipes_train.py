"""Recipes that need nothing but speech and text train two steps: on tones, whatever they are meant for."""

import csv

import pytest

from hybrid_asr.cli import main

DATA = ("data.train=train.jsonl", "data.valid=valid.jsonl", "data.test=[test.jsonl]", "data.batch_seconds=40")
SMALL = (
    "features.rate=8000",
    "trainer.epochs=1",
    "trainer.log_every=1",
    "trainer.accelerator=cpu",
    "augment.speeds=[1.0]",
)
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "recipe",
    [
        "an4/patch_transformer",
        pytest.param("an4/transformer", marks=SLOW),
        pytest.param("spoken/patch_transformer", marks=SLOW),
        pytest.param("spoken/transformer", marks=SLOW),
    ],
)
def test_a_recipe_trains_two_steps(recipe, tones, checkout, tmp_path, monkeypatch):
    monkeypatch.chdir(checkout)
    command = ["train", f"recipes/{recipe}.yaml", f"data.root={tones}", *DATA, *SMALL, "--run", str(tmp_path / "run")]
    assert main(command) == 0
    with (tmp_path / "run/metrics.csv").open(newline="") as file:
        losses = [float(row["train.loss"]) for row in csv.DictReader(file) if row["train.loss"]]
    assert len(losses) >= 2 and all(0 < loss < 100 for loss in losses)
