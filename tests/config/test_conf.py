"""Every preset under conf/ and every recipe parses, and its model builds on the meta device, without weights."""

from pathlib import Path

import pytest
import torch

from hybrid_asr.audio.build import build_features
from hybrid_asr.audio.features import FrontEndUnavailable
from hybrid_asr.config.compose import compose
from hybrid_asr.config.files import load_yaml
from hybrid_asr.config.schema import field_types, parse
from hybrid_asr.models.hybrid import build_model
from hybrid_asr.run.config import RunConfig

ROOT = Path(__file__).resolve().parents[2]
PRESETS = sorted((ROOT / "conf").glob("*/*"))
RECIPES = sorted((ROOT / "recipes").glob("*/*.yaml"))


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The checkout's own files count, wherever the tests are started."""
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_preset_parses_and_builds(path):
    section = path.parent.name
    assert path.suffix == ".yaml"
    cfg = parse(field_types(RunConfig)[section], load_yaml(path), where=section)
    with torch.device("meta"):
        if section == "features":
            try:
                assert build_features(cfg).width > 0
            except FrontEndUnavailable as lacking:
                pytest.skip(str(lacking))
        if section == "model":
            model = build_model(cfg, features=80, vocab_size=30, sos=29, ctc_weight=0.5)
            assert sum(weight.numel() for weight in model.parameters()) > 1e6


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_composes_parses_and_builds(path):
    cfg = compose(path).parse(RunConfig)
    assert set(cfg.presets) <= set(field_types(RunConfig))
    with torch.device("meta"):
        features = build_features(cfg.features)
        build_model(cfg.model, features=features.width, vocab_size=30, sos=29, ctc_weight=cfg.loss.ctc_weight)


def test_there_are_presets_and_recipes():
    assert len(PRESETS) > 5
    assert RECIPES
