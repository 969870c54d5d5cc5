"""The diagnosis of a model: its numbers belong to an utterance, a layer and a head, whoever stands beside it."""

import json

import numpy as np
import pytest
import torch

from hybrid_asr.attention.alarms import describe_problem
from hybrid_asr.attention.diagnosis import choose_utterances, diagnose, shuffled_frames
from hybrid_asr.attention.measures import Measures
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def manifest(tones) -> Manifest:
    return Manifest.read(tones / "valid.jsonl")


def test_an_untrained_model_is_told_of(bundle, manifest):
    places = choose_utterances(manifest, 8)
    torch.manual_seed(1)
    fresh = Bundle.build(bundle.config, bundle.tokenizer, bundle.labels_per_frame).eval()
    fresh.frontend.load_state_dict(bundle.frontend.state_dict())
    found = diagnose(fresh, manifest, places, CPU)
    assert describe_problem(found.heads())
    assert set(found.row()) == {f"attention.{name}" for name in (*Measures._fields, "listening")}


def test_a_ctc_model_has_no_attention_to_look_at(bundle, manifest):
    config = bundle.config | {"loss": bundle.config["loss"] | {"ctc_weight": 1.0}}
    alone = Bundle.build(config, bundle.tokenizer, bundle.labels_per_frame).eval()
    assert diagnose(alone, manifest, choose_utterances(manifest, 2), CPU) is None


def test_an_utterance_s_numbers_do_not_depend_on_the_others(bundle, manifest):
    together = diagnose(bundle, manifest, choose_utterances(manifest, 8), CPU)
    for place, name in enumerate(together.ids):
        [index] = [number for number, one in enumerate(manifest) if one.id == name]
        alone = diagnose(bundle, manifest, [index], CPU)
        for mine, its in zip(alone.measures, together.measures, strict=True):
            assert torch.allclose(mine[0], its[place], atol=1e-4, equal_nan=True)


def test_utterances_are_chosen_by_length_and_always_the_same(manifest):
    chosen = choose_utterances(manifest, 3)
    seconds = manifest.durations[chosen]
    assert seconds.min() == manifest.durations.min() and seconds.max() == manifest.durations.max()
    assert chosen == choose_utterances(manifest, 3)
    assert len(choose_utterances(manifest, 1000)) == len(manifest) and choose_utterances(manifest, 0) == []


def test_a_line_for_each_utterance_has_all_layers_and_heads(bundle, manifest):
    found = diagnose(bundle, manifest, choose_utterances(manifest, 2), CPU)
    lines = [json.loads(line.to_line()) for line in found.lines(epoch=3)]
    assert [line["id"] for line in lines] == found.ids
    assert list(lines[0]) == ["epoch", "id", "nats", "nats_shuffled", *Measures._fields] and lines[0]["epoch"] == 3
    decoder = bundle.config["model"]["decoder"]
    for line in lines:
        assert np.array(line["entropy"]).shape == (decoder["layers"], decoder["heads"])


def test_shuffling_moves_real_frames_alone_and_keeps_them_all():
    states = torch.arange(2 * 9 * 3, dtype=torch.float32).view(2, 9, 3)
    found = shuffled_frames(Encoded(states, torch.tensor([9, 5])), seed=1)
    assert torch.equal(found.states[1, 5:], states[1, 5:])
    assert not torch.equal(found.states[1, :5], states[1, :5])
    for row, frames in enumerate((9, 5)):
        moved = found.states[row, :frames]
        assert torch.equal(moved[moved[:, 0].argsort()], states[row, :frames])


def test_a_decoder_that_finds_its_place_by_content_writes_the_same_of_shuffled_frames_and_looks_elsewhere(
    bundle, manifest
):
    found = diagnose(bundle, manifest, choose_utterances(manifest, 8), CPU)
    assert torch.allclose(found.nats, found.nats_shuffled, rtol=1e-4) and abs(found.listening) < 1e-4
    assert ((found.measures.marching - found.measures.monotonicity).abs() > 0.05).any()


def test_listening_is_the_share_of_the_nats_that_shuffled_frames_cost(bundle, manifest):
    found = diagnose(bundle, manifest, choose_utterances(manifest, 4), CPU)
    assert found._replace(nats_shuffled=4 * found.nats).listening == pytest.approx(0.75)
    assert found._replace(nats_shuffled=found.nats / 2).listening == pytest.approx(-1)
    assert found._replace(nats_shuffled=4 * found.nats).row()["attention.listening"] == pytest.approx(0.75)


def test_the_nats_are_the_mean_of_an_utterance_s_labels_whoever_stands_beside_it(bundle, manifest):
    together = diagnose(bundle, manifest, choose_utterances(manifest, 8), CPU)
    for place, nats in zip(choose_utterances(manifest, 8), together.nats.tolist(), strict=True):
        alone = diagnose(bundle, manifest, [place], CPU)
        assert float(alone.nats[0]) == pytest.approx(nats, rel=1e-4)
        assert 0 < nats < 20
