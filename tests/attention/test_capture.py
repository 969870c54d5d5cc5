"""Laws of every attention's weights: real keys alone, no neighbor matters, and they are what the model mixes by."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from hybrid_asr.attention.capture import (
    AttentionKind,
    attention_kinds,
    compute_weights,
    over_frequency,
    over_time,
    record_weights,
    self_attention_modules,
)
from hybrid_asr.attention.teacher_forcing import teacher_forced
from hybrid_asr.models.hybrid import HybridModel
from hybrid_asr.models.transformer import TransformerConfig
from hybrid_asr.models.transformer_decoder import TransformerDecoderConfig
from hybrid_asr.nn.attention import CrossAttention, ScaledDotProduct
from tests.models.tiny import DECODERS, ENCODERS, SOS, Speech, build, close, each_encoder, kind, speech, tiny

FRAMES, LABELS = [60, 23, 41], [4, 2, 6]


def looked(model: HybridModel, batch: Speech, of: AttentionKind) -> dict[int, Tensor]:
    with torch.no_grad():
        encoded = model.encode(batch.features)
    return compute_weights(model, batch.features, encoded, batch.labels, sos=SOS, of=of).layers


def real(model: HybridModel, batch: Speech, row: int, of: AttentionKind, size: int) -> tuple[int, int]:
    """How many queries and keys of an utterance are real, of `size` keys in the batch."""
    frames = [model.output_length(int(one)) for one in batch.features.frames]
    steps = frames[row] * size // max(frames)  # patches are several of a time step
    said = int(batch.label_lengths[row]) + 1
    return {"decoder": (said, steps), "encoder": (steps, steps), "labels": (said, said)}[of]


def kinds() -> Iterator[Any]:
    """Each encoder's own attention with one decoder, and what each decoder has with one encoder."""
    for encoder in ENCODERS:
        if "encoder" in attention_kinds(build(encoder)):
            yield pytest.param(encoder, DECODERS[0], "encoder", id=f"{kind(encoder)}-encoder")
    for decoder in DECODERS:
        for of in attention_kinds(build(decoder=decoder)):
            if of != "encoder":
                yield pytest.param(ENCODERS[0], decoder, of, id=f"{kind(decoder)}-{of}")


@pytest.mark.parametrize(("encoder", "decoder", "of"), list(kinds()))
def test_weights_sum_to_one_over_real_keys_and_no_neighbor_matters(encoder, decoder, of):
    model, batch = build(encoder, decoder).eval(), speech(FRAMES, LABELS)
    together = looked(model, batch, of)
    for row in range(len(FRAMES)):
        alone = looked(model, batch.rows(row), of)
        assert list(alone) == list(together) == list(range(len(together)))
        for layer, weights in together.items():
            queries, keys = real(model, batch, row, of, weights.shape[3])
            assert weights[row].min() >= 0
            close(weights[row, :, :queries].sum(-1), torch.ones(weights.shape[1], queries, dtype=torch.float64))
            if of != "labels":  # of labels those behind the end are hidden by the order of time
                assert not weights[row, ..., keys:].any()
            close(weights[row, :, :queries, :keys], alone[layer][0, :, :queries, :keys])


@each_encoder
@torch.no_grad()
def test_weights_times_values_are_what_every_attention_gives(encoder):
    model, batch = build(encoder, tiny(TransformerDecoderConfig)).eval(), speech(FRAMES, LABELS)
    checked = []

    def compare(module: ScaledDotProduct, arguments: tuple, keywords: dict, output: Tensor) -> None:
        memory, mask = arguments[1:3]
        mixed = module.weights(*arguments, **keywords) @ memory.values
        assert mask is None or mask.any(-1).all()
        close(mixed, output)
        checked.append(module)

    for module in model.modules():
        if isinstance(module, ScaledDotProduct):
            module.register_forward_hook(compare, with_kwargs=True)
    model(batch.features, batch.labels)
    assert checked and len(checked) == len(set(checked))
    assert set(checked) == {one for one in model.modules() if isinstance(one, ScaledDotProduct)}


@each_encoder
def test_training_uses_the_weights_that_are_shown(encoder):
    """The forward of training, seen by a hook while the gradient is computed, against those of an evaluation."""
    model, batch = build(encoder), speech(FRAMES, LABELS)
    with record_weights(self_attention_modules(model, "encoder")) as seen:
        model(batch.features, batch.labels).logits.sum().backward()
    if not seen:
        assert "encoder" not in attention_kinds(model)
        return
    shown = looked(model.eval(), batch, "encoder")
    assert len(seen) == len(shown) > 1
    for trained, weights in zip(seen, shown.values(), strict=True):
        close(trained, weights)


@torch.no_grad()
def test_the_decoders_weights_are_those_of_all_steps_at_once():
    model, batch = build(decoder=tiny(TransformerDecoderConfig)).eval(), speech(FRAMES, LABELS)
    across = [one.kernel for one in model.decoder.modules() if isinstance(one, CrossAttention)]
    encoded = model.encode(batch.features)
    with record_weights(across) as seen:
        model.decoder(encoded, batch.labels)
    close(teacher_forced(model.decoder, encoded, batch.labels, sos=SOS), torch.stack(seen, 1))
    for layer, weights in looked(model, batch, "decoder").items():
        close(weights, seen[layer])


@torch.no_grad()
def test_labels_look_at_themselves_and_the_past_only():
    model, batch = build(decoder=tiny(TransformerDecoderConfig)).eval(), speech(FRAMES, LABELS)
    for weights in looked(model, batch, "labels").values():
        assert not weights.triu(1).any() and weights.diagonal(dim1=2, dim2=3).all()


@torch.no_grad()
def test_looking_changes_nothing_and_leaves_no_hook():
    model, batch = build().eval(), speech(FRAMES, LABELS)
    before = model(batch.features, batch.labels)
    names = list(model.state_dict())
    for of in attention_kinds(model):
        looked(model, batch, of)
    with pytest.raises(ZeroDivisionError), record_weights(self_attention_modules(model, "encoder")):
        raise ZeroDivisionError
    assert not any(one._forward_hooks for one in model.modules())
    after = model(batch.features, batch.labels)
    pairs = [pair for pair in zip(before, after, strict=True) if pair[0] is not None]
    assert len(pairs) >= 3 and all(torch.equal(one, other) for one, other in pairs)
    assert names == list(model.state_dict()) and not any("kernel" in name for name in names)


def test_only_the_layers_that_are_asked_for_are_kept():
    model, batch = build().eval(), speech(FRAMES, LABELS)
    with torch.no_grad():
        encoded = model.encode(batch.features)
    for of in attention_kinds(model):
        whole = compute_weights(model, batch.features, encoded, batch.labels, sos=SOS, of=of)
        some = compute_weights(model, batch.features, encoded, batch.labels, sos=SOS, of=of, layers=[1, 7])
        assert whole.layer_count == some.layer_count == 2 and list(whole.layers) == [0, 1] and list(some.layers) == [1]
        assert torch.equal(whole.layers[1], some.layers[1])


def test_a_model_tells_which_kinds_it_has():
    assert attention_kinds(build(ctc_weight=1.0)) == ["encoder"]
    assert attention_kinds(build(tiny(TransformerConfig), ctc_weight=0.3)) == ["decoder", "encoder", "labels"]


def test_patches_are_summed_over_time_and_over_frequency():
    steps, bands = 5, 3
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(2, steps * bands, steps * bands, dtype=torch.float64, generator=generator).softmax(-1)
    time, frequency = over_time(weights, bands), over_frequency(weights, bands)
    for t in range(steps):
        for u in range(steps):
            block = weights[:, t * bands : (t + 1) * bands, u * bands : (u + 1) * bands]
            close(time[:, t, u], block.sum((1, 2)) / bands)
    for f in range(bands):
        for g in range(bands):
            close(frequency[:, f, g], weights[:, f::bands, g::bands].sum((1, 2)) / steps)
    close(over_time(weights, 1), weights)
