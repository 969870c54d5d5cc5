"""Every kind of model, tokenizer, normalization and precision, and every recipe: from audio to a decoded set."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from hybrid_asr.cli import main
from hybrid_asr.config.compose import compose
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.config import RunConfig
from tests.tones import lexicon_of, rows, train

SMALL = {"dim": 16, "layers": 1, "heads": 2, "feed_forward": 32, "channels": 4, "cells": 8, "embedding": 8}
QUICK = ("an4/conformer_s", "an4/phoneme_ctc", "an4/las_hybrid", "an4/patch_transformer")
RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*/*.yaml"))


def reports(run: Path) -> dict[str, dict]:
    """The reports of a run's decodings by `<set>/<decoder>`."""
    found = run.glob("decode/*/*/report.json")
    return {path.parent.relative_to(run / "decode").as_posix(): json.loads(path.read_text()) for path in found}


def scores(run: Path) -> list[float]:
    """Those of the hypotheses of the test set."""
    lines = (run / "decode/test/ctc_greedy/hypotheses.jsonl").read_text().splitlines()
    return [json.loads(line)["score"] for line in lines]


@pytest.fixture
def three(tones, tmp_path) -> Path:
    """Three utterances of each set, a lexicon of their words, and `tiny.yaml`."""
    for name in ("train", "valid", "test"):
        lines = [json.loads(line) for line in (tones / f"{name}.jsonl").read_text().splitlines()[:3]]
        entries = [line | {"audio": str(tones / line["audio"])} for line in lines]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (tmp_path / "lexicon.txt").write_text(lexicon_of(tmp_path, "train", "valid", "test"))
    shutil.copy(tones / "tiny.yaml", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("weight", "decoders", "lacking", "remedy"),
    [
        ("1.0", ["ctc_greedy", "ctc_beam"], ["attention", "joint"], "choose the decoder 'ctc_greedy'"),
        ("0.0", ["attention"], ["ctc_greedy", "ctc_beam", "joint"], "choose the decoder 'attention'"),
    ],
)
def test_a_model_of_one_head_trains_and_decodes_with_what_it_has(
    tones, three, capsys, weight, decoders, lacking, remedy
):
    run = three / "run"
    assert train(three, run, "trainer.epochs=1", f"loss.ctc_weight={weight}") == 0
    bundle = Bundle.load(run / "model.pt")
    assert (bundle.model.decoder is None) == (weight == "1.0")
    assert (bundle.model.ctc is None) == (weight == "0.0")
    missing = "train.attention" if weight == "1.0" else "train.ctc"
    assert set(rows(run, missing)) == {0.0}
    assert main(["decode", str(run), "--decoders", ",".join(decoders)]) == 0
    assert set(reports(run)) == {f"test/{name}" for name in decoders}
    for name in lacking:
        capsys.readouterr()
        assert main(["decode", str(run), "--decoders", f"{decoders[0]},{name}"]) == 2
        assert remedy in capsys.readouterr().err
    assert set(reports(run)) == {f"test/{name}" for name in decoders}
    audio = str(tones / "test/00.wav")
    assert main(["transcribe", str(run), audio]) == 0, "the recipe's joint search gives way to what there is"


def test_statistics_of_the_training_set_are_stored_and_used(three):
    run = three / "run"
    assert train(three, run, "trainer.epochs=1", "features.cmvn=global") == 0
    bundle = Bundle.load(run / "model.pt")
    from hybrid_asr.audio import io
    from hybrid_asr.data.manifest import Manifest

    manifest = Manifest.read(three / "train.jsonl")
    frames = []
    for index in range(len(manifest)):
        samples = torch.from_numpy(io.read(manifest.audio_path(index), rate=8000))[None]
        frames.append(bundle.frontend.raw(samples, torch.tensor([samples.shape[1]])).values[0].double())
    mean = torch.cat(frames).mean(0)
    torch.testing.assert_close(bundle.frontend.cmvn.mean.double(), mean, rtol=1e-5, atol=1e-5)
    assert main(["decode", str(run), "--decoders", "ctc_greedy"]) == 0
    before = scores(run)
    bundle.frontend.cmvn.mean += 3.0
    bundle.save(run / "model.pt")
    assert main(["decode", str(run), "--decoders", "ctc_greedy"]) == 0
    assert scores(run) != before


@pytest.mark.parametrize(
    "settings",
    [
        ["trainer.precision=bf16"],
        ["presets.tokenizer=bpe500", "tokenizer.size=14"],
        ["presets.model=transformer_s"],
        ["presets.optim=noam"],
        ["presets.optim=cosine", "data.shortest_first_epochs=0", "trainer.average=best", "text.rules=upper@1"],
    ],
    ids=lambda settings: settings[0],
)
def test_other_choices_train_and_decode(three, settings):
    if "presets.model=transformer_s" in settings:
        sizes = "dim: 16, layers: 1, heads: 2, feed_forward: 32"
        settings = [*settings, f"model.encoder={{{sizes}, channels: 4}}", f"model.decoder={{{sizes}}}"]
    run = three / "run"
    assert train(three, run, "trainer.epochs=1", "data.batch_seconds=2.0", *settings) == 0
    losses = rows(run, "train.loss")
    assert len(losses) >= 2
    assert all(math.isfinite(loss) for loss in losses)
    assert main(["decode", str(run), "--decoders", "ctc_greedy,joint"]) == 0
    assert {report["utterances"] for report in reports(run).values()} == {3}


def quick(recipe: Path) -> bool:
    """One of each kind of training: hybrid, by phonemes, recurrent, of patches; tests/config builds all others' models.

    Their attention is tried in tests/models and tests/training/test_recurrent_training.py.
    """
    return f"{recipe.parent.name}/{recipe.stem}" in QUICK


@pytest.mark.parametrize(
    "recipe",
    [pytest.param(path, marks=() if quick(path) else pytest.mark.slow) for path in RECIPES],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_every_recipe_trains_two_steps_and_decodes(recipe, three):
    cfg = compose(recipe).parse(RunConfig)
    parts = {"encoder": cfg.model.encoder, "decoder": cfg.model.decoder}
    settings = [
        *(f"data.root={three}", "data.train=train.jsonl", "data.valid=valid.jsonl", "data.test=[test.jsonl]"),
        *(
            f"model.{part}.{name}={SMALL[name]}"
            for part, sizes in parts.items()
            for name in SMALL
            if name in vars(sizes)
        ),
        *("trainer.epochs=1", "trainer.log_every=1", "trainer.threads=1", "trainer.accelerator=cpu"),
        *("data.batch_seconds=2.0", "augment.join_max_s=2.0", "data.workers=0"),
        *(['init.from=""'] if cfg.init.from_ else []),
        *(["tokenizer.size=14"] if cfg.tokenizer.kind == "bpe" else []),
        *([f"tokenizer.lexicon={three / 'lexicon.txt'}"] if cfg.tokenizer.kind == "phoneme" else []),
    ]
    run = three / "run"
    assert main(["train", str(recipe), *settings, "--run", str(run)]) == 0
    losses = rows(run, "train.loss")
    assert len(losses) >= 2
    assert all(math.isfinite(loss) for loss in losses)
    assert main(["decode", str(run)]) == 0
    [report] = reports(run).values()
    assert report["utterances"] == 3
