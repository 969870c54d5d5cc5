"""Laws of the whole model, for every encoder and decoder: padding, divisor, weight, precision, presets."""

from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from hybrid_asr.config.schema import parse
from hybrid_asr.models.hybrid import HybridModel, ModelConfig, build_model
from tests.models.tiny import (
    DECODERS,
    ENCODERS,
    FEATURES,
    SOS,
    VOCAB_SIZE,
    Speech,
    build,
    close,
    each_decoder,
    each_encoder,
    each_pair,
    joint,
    speech,
)

FRAMES, LABELS = [60, 23, 7, 41, 8], [5, 2, 1, 3, 3]  # the last has one encoder frame for three labels: no alignment
PRESETS = sorted((Path(__file__).parents[2] / "conf" / "model").glob("*.yaml"))


def gradients(model: HybridModel, nats: Tensor) -> list[Tensor]:
    """Of all parameters; zeros where one has no part in `nats`."""
    found = torch.autograd.grad(nats, list(model.parameters()), retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(p) if gradient is None else gradient
        for p, gradient in zip(model.parameters(), found, strict=True)
    ]


def all_close(ours: list[Tensor], theirs: list[Tensor]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        close(one, other)


@each_pair
@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_neighbors_change_neither_posteriors_nor_logits_nor_losses_nor_gradients(encoder, decoder, mode):
    model = build(encoder, decoder).train(mode == "training")
    batch = speech(FRAMES, LABELS)
    together = model(batch.features, batch.labels)
    losses = joint(together, batch)
    assert losses.infeasible.tolist() == [False, False, False, False, True]
    for row, labels in enumerate(LABELS):
        single = batch.rows(row)
        alone = model(single.features, single.labels)
        frames = int(alone.frames)
        assert together.frames[row] == frames == model.output_length(FRAMES[row])
        close(together.ctc_log_probs[row, :frames], alone.ctc_log_probs[0, :frames])
        close(together.logits[row, : labels + 1], alone.logits[0])
        own = joint(alone, single)
        for part in ("total", "ctc", "attention"):
            close(getattr(losses, part)[row], getattr(own, part)[0])
        all_close(gradients(model, losses.total[row]), gradients(model, own.total[0]))


@each_encoder
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_parts_of_a_batch_add_up_to_the_whole(encoder, weight):
    """The divisor is the global batch's, so that one big batch, accumulated parts and devices give one gradient."""
    model, batch = build(encoder, ctc_weight=weight), speech(FRAMES, LABELS)
    divisor = float(sum(LABELS) + len(LABELS))

    def share(part: Speech) -> Tensor:
        return joint(model(part.features, part.labels), part, ctc_weight=weight).total.sum() / divisor

    whole = share(batch)
    parts = [share(batch.rows(*rows)) for rows in ([0, 4], [3], [1, 2])]
    close(sum(parts), whole)
    split = [gradients(model, part) for part in parts]
    all_close([sum(of_parameter) for of_parameter in zip(*split, strict=True)], gradients(model, whole))
    assert any((gradient != 0).any() for gradient in gradients(model, whole))


@each_decoder
def test_at_weight_one_there_is_no_decoder_and_at_zero_no_ctc_head(decoder):
    whole = set(build(decoder=decoder).state_dict())
    only = {weight: build(decoder=decoder, ctc_weight=weight) for weight in (0.0, 1.0)}
    assert only[0.0].ctc is None and only[0.0].decoder is not None
    assert only[1.0].decoder is None and only[1.0].ctc is not None
    for weight, absent in ((0.0, "ctc."), (1.0, "decoder.")):
        names = set(only[weight].state_dict())
        assert names == {name for name in whole if not name.startswith(absent)} < whole
        assert names == {name for name, _ in only[weight].named_parameters()}
    batch = speech(FRAMES, LABELS)
    assert only[0.0](batch.features, batch.labels).ctc_log_probs is None
    assert only[1.0](batch.features, batch.labels).logits is None


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_every_parameter_learns_from_the_joint_loss(weight):
    model, batch = build(ctc_weight=weight), speech(FRAMES, LABELS)
    losses = joint(model(batch.features, batch.labels), batch, ctc_weight=weight)
    found = torch.autograd.grad(losses.total.sum(), list(model.parameters()))  # raises where one is not used
    assert all(gradient.isfinite().all() for gradient in found)


def test_an_infeasible_utterance_still_teaches_the_decoder():
    model, batch = build(), speech(FRAMES, LABELS)
    losses = joint(model(batch.features, batch.labels), batch)
    assert losses.ctc[4] == 0
    assert losses.total[4] > 0
    found = dict(zip((name for name, _ in model.named_parameters()), gradients(model, losses.total[4]), strict=True))
    assert (found["ctc.project.weight"] == 0).all()
    assert (found["decoder.output.weight"] != 0).any()


@each_encoder
def test_ctc_posteriors_are_a_distribution_over_all_units(encoder):
    outputs = build(encoder)(*speech(FRAMES, LABELS)[:2])
    close(outputs.ctc_log_probs.exp().sum(-1), torch.ones(outputs.ctc_log_probs.shape[:2], dtype=torch.float64))
    assert outputs.ctc_log_probs.shape[-1] == outputs.logits.shape[-1] == VOCAB_SIZE


@each_pair
def test_bfloat16_autocast_runs_and_ctc_stays_float32(encoder, decoder):
    model, batch = build(encoder, decoder).float(), speech(FRAMES, LABELS, dtype=torch.float32)
    exact = model(batch.features, batch.labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model(batch.features, batch.labels)
        losses = joint(outputs, batch)
        state = model.decoder.start(model.encode(batch.features), 1)
        log_probs, _, _ = model.decoder.step(state, torch.full((len(FRAMES),), SOS))
    assert outputs.logits.dtype == torch.bfloat16  # autocast was at work
    assert outputs.ctc_log_probs.dtype == losses.total.dtype == log_probs.dtype == torch.float32
    close(outputs.ctc_log_probs.exp().sum(-1), torch.ones(outputs.ctc_log_probs.shape[:2]), atol=1e-5)
    close(outputs.ctc_log_probs[0], exact.ctc_log_probs[0], atol=0.15)
    losses.total.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_parses_and_builds_on_the_meta_device(path):
    cfg = parse(ModelConfig, yaml.safe_load(path.read_text(encoding="utf-8")), where=path.stem)
    for vocab_size in (30, 500):
        with torch.device("meta"):
            model = build_model(cfg, features=80, vocab_size=vocab_size, sos=vocab_size - 1, ctc_weight=0.3)
        assert {p.device.type for p in model.parameters()} == {"meta"}
        assert model.ctc.project.out_features == model.decoder.output.out_features == vocab_size
        assert 100 // 8 - 1 <= model.output_length(100) <= 100  # a stride of 8 frames at most


def test_there_are_presets():
    assert {"conformer_s", "transformer_s"} <= {path.stem for path in PRESETS}


def test_equal_seeds_give_equal_weights():
    first, second = build(ENCODERS[0], DECODERS[0]), build(ENCODERS[0], DECODERS[0])
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


@each_encoder
def test_the_model_answers_for_its_encoder(encoder):
    model = build(encoder)
    assert [model.output_length(n) for n in range(61)] == [model.encoder.output_length(n) for n in range(61)]
    features = speech([23], [1]).features
    assert features.values.shape[-1] == FEATURES
    assert torch.equal(model.eval().encode(features).states, model.encoder(features).states)
