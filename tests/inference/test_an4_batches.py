"""The batch law with trained weights: AN4's test set one by one and in large batches, by every decoder."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid_asr.config.locate import presets
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.batching import OrderedBatching
from hybrid_asr.inference.build_decoder import build_task
from hybrid_asr.inference.evaluate import evaluate_set
from hybrid_asr.inference.presets import load_decoder
from hybrid_asr.run.folder import Run

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_an4_one_by_one_is_an4_in_large_batches():
    run, data = CHECKOUT / "runs/an4/conformer_s", CHECKOUT / "data/an4/test.jsonl"
    if not (run / "model.pt").is_file() or not data.is_file():
        pytest.skip(f"needs {run} and {data}: hybrid-asr prepare an4, hybrid-asr train recipes/an4/conformer_s.yaml")
    bundle = Run(run).bundle()[0]
    bundle.model.eval()
    manifest, device = Manifest.read(data, audio="unchecked"), torch.device("cpu")
    order = np.argsort(-manifest.durations, kind="stable").tolist()
    words = {"lexicon": ["decode.lexicon=train"]}
    chosen = {name: load_decoder(name, bundle.config, words.get(name, [])) for name in presets("decode")}
    tasks = {name: build_task(bundle, cfg, search_errors="ignore") for name, cfg in chosen.items()}
    ways = [OrderedBatching(order, seconds=math.inf, most_utterances=most) for most in (1, 32)]
    alone, many = (evaluate_set(bundle, manifest, tasks, batching=way, device=device) for way in ways)
    for name in tasks:
        pairs = list(zip(alone[name].items, many[name].items, strict=True))
        assert [one.score for one, _ in pairs] == pytest.approx([other.score for _, other in pairs], abs=1e-4), name
        changed = [one.id for one, other in pairs if one.text != other.text]
        assert len(changed) <= 1, f"{name}: {changed} differ, though scores are equal to 1e-4"
