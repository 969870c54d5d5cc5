"""Laws of what lies between the parts: that a setting, a segment or a mask also arrives where it should act."""

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.schema import parse
from hybrid_asr.data.dataset import Batch
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.batching import SharedBatching
from hybrid_asr.inference.build_decoder import build_task
from hybrid_asr.inference.evaluate import evaluate_set
from hybrid_asr.inference.outcomes import Decoded
from hybrid_asr.inference.presets import load_decoder
from hybrid_asr.losses import LossConfig, attention_loss
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.hybrid import Outputs
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.training.initial_weights import InitConfig, take_weights
from hybrid_asr.training.module import batch_loss
from tests.tones import RATE, rows, train


def evaluated(bundle: Bundle, manifest: Path) -> list[Decoded]:
    tasks = {"": build_task(bundle, load_decoder("ctc_greedy", bundle.config), search_errors="ignore")}
    batching, device = SharedBatching(9.0), torch.device("cpu")
    return evaluate_set(bundle, Manifest.read(manifest), tasks, batching=batching, device=device)[""].items


def write(path: Path, entries: list[dict]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_evaluation_reads_a_segment_at_its_place(bundle, tones, tmp_path):
    """Four recordings in one long file give what they gave one by one."""
    entries = [json.loads(line) for line in (tones / "test.jsonl").read_text().splitlines()[:4]]
    sounds = [soundfile.read(tones / entry["audio"], dtype="int16")[0] for entry in entries]
    soundfile.write(tmp_path / "long.wav", np.concatenate(sounds), RATE)
    starts = np.cumsum([0.0] + [entry["duration_s"] for entry in entries[:-1]])
    cut = [
        {**entry, "audio": "long.wav", "start_s": float(start)} for entry, start in zip(entries, starts, strict=True)
    ]
    whole = [{**entry, "audio": str(tones / entry["audio"])} for entry in entries]
    found = evaluated(bundle, write(tmp_path / "cut.jsonl", cut))
    expected = evaluated(bundle, write(tmp_path / "whole.jsonl", whole))
    assert [item.text for item in found] == [item.text for item in expected]
    assert [item.score for item in found] == pytest.approx([item.score for item in expected], abs=1e-6)
    assert len({item.text for item in found}) == 4


def test_references_are_normalized_by_the_models_rules(bundle, tones, tmp_path):
    """Else an error rate would count the case and punctuation that training took away."""
    entry = json.loads((tones / "test.jsonl").read_text().splitlines()[0])
    entry |= {"audio": str(tones / entry["audio"]), "text": "Ab,  Cd!"}
    bundle = dataclasses.replace(bundle, text=TextConfig(rules="basic@1"))
    [item] = evaluated(bundle, write(tmp_path / "one.jsonl", [entry]))
    assert item.reference == "ab cd"


def test_what_a_step_draws_hangs_on_its_number(trained, tones, tmp_path):
    """The same two batches in every epoch, a model that does not move: losses differ where masks do, there alone."""
    still = ("data.batch_seconds=300", "data.jitter=0.0", "data.shortest_first_epochs=6", "trainer.epochs=6")
    still = (*still, f"init.from={trained}", "optim.lr=1e-12", "optim.weight_decay=0.0")
    masks = ("augment.spec.time_masks=2", "augment.spec.freq_masks=1", "augment.spec.freq_width=5")
    run = tmp_path / "run"
    assert train(tones, run, *still, *masks, "augment.spec.from_epoch=2") == 0
    losses, masked = (np.array(rows(run, f"train.{name}")).reshape(6, 2) for name in ("loss", "time_masked"))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert (masked[:2] == 0).all()
    for batch in (0, 1):
        assert len(set(masked[2:, batch]) - {0}) == 4, "masks are drawn anew"
        seen = losses[1:, batch]
        distances = np.abs(np.subtract.outer(seen, seen))[~np.eye(5, dtype=bool)]
        assert distances.min() > 1e-3 * losses[0, batch], "and the model sees them"


def test_the_recipes_smoothing_reaches_the_loss(bundle):
    vocab_size, labels, lengths = (
        bundle.tokenizer.vocab_size,
        torch.tensor([[2, 3, 2], [4, 0, 0]]),
        torch.tensor([3, 1]),
    )
    logits = torch.randn(2, 4, vocab_size, generator=torch.Generator().manual_seed(1))
    batch = Batch(
        ids=("a", "b"),
        audio=torch.zeros(2, 1),
        samples=torch.tensor([1, 1]),
        labels=labels,
        label_lengths=lengths,
        host_samples=(1, 1),
        host_label_lengths=(3, 1),
        weights=torch.ones(2),
        divisor=6.0,
        seconds=1.0,
    )
    found = {}
    for smoothing in (0.0, 0.4):
        frames, cfg = torch.tensor([9, 9]), LossConfig(ctc_weight=0.0, smoothing=smoothing)
        outputs = Outputs(None, logits, frames)
        found[smoothing] = batch_loss(outputs, batch, bundle.tokenizer, cfg, host_frames=frames).attention
        expected = attention_loss(logits, labels, lengths, eos=bundle.tokenizer.eos, smoothing=smoothing)
        assert torch.equal(found[smoothing], expected)
    assert not torch.allclose(found[0.0], found[0.4])


def test_a_filler_teaches_nothing(tones, tmp_path):
    """Batches of two or three utterances in four parts: some parts have nothing but a filler."""
    small = ("trainer.epochs=1", "data.batch_seconds=3.0")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(tones, whole, *small) == 0
    assert train(tones, parts, *small, "data.device_seconds=1.5") == 0
    for name in ("train.loss", "train.gradient_norm"):
        assert rows(parts, name)[:4] == pytest.approx(rows(whole, name)[:4], rel=1e-3), name


def test_starting_from_what_does_not_fit_is_refused(bundle):
    config = copy.deepcopy(bundle.config)
    config["model"]["encoder"] |= {"dim": 16, "feed_forward": 24, "channels": 4, "kernel": 3}
    smaller = Bundle.build(config, bundle.tokenizer, labels_per_frame=1.0)
    with pytest.raises(UserError, match=r"init\.from: nothing in other fits this model"):
        take_weights(smaller, bundle, parse(InitConfig, {"from": "other", "parts": ["encoder"]}))
