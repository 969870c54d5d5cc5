"""Laws of every encoder in the union: lengths, and padding that changes nothing."""

import typing

import pytest
import torch

from hybrid_asr.audio.features import Features
from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.models.conformer import Conformer, ConformerConfig
from hybrid_asr.models.encoder import EncoderConfig, build_encoder
from hybrid_asr.nn.subsampling import SMALLEST_INPUT
from tests.models.tiny import ENCODERS, FEATURES, SIZES, build, close, each_encoder, members, speech

FRAMES = [60, 23, 7, 41, 8]


def test_all_members_of_the_union_are_tested():
    kinds = [typing.get_args(typing.get_type_hints(cls)["kind"])[0] for cls in members(EncoderConfig)]
    assert [*dict.fromkeys(cfg.kind for cfg in ENCODERS), "plugin"] == kinds  # a plugin in test_plugin.py
    assert {"conformer", "transformer", "patch_transformer"} <= set(kinds)


@each_encoder
@torch.no_grad()
def test_output_length_is_the_number_of_real_output_frames(encoder):
    model = build_encoder(encoder, FEATURES).eval()
    values = torch.randn(1, 60, FEATURES)
    for frames in range(61):
        states, [given] = model(Features(values[:, :frames], torch.tensor([frames])))
        assert int(given) == model.output_length(frames)
        assert states.shape[1] == max(1, model.output_length(frames))
        assert states.shape[2] == model.width
    together = model(Features(values.expand(61, -1, -1), torch.arange(61)))
    assert together.frames.tolist() == [model.output_length(frames) for frames in range(61)]


@each_encoder
def test_the_smallest_input_gives_one_frame_and_stride_more_give_one_more(encoder):
    model = build_encoder(encoder, FEATURES)
    assert model.output_length(SMALLEST_INPUT) == 1
    assert model.output_length(SMALLEST_INPUT - 1) == 0
    assert all(model.output_length(n + model.stride) == model.output_length(n) + 1 for n in range(SMALLEST_INPUT, 200))


@each_encoder
@torch.no_grad()
@pytest.mark.parametrize("mode", ["training", "evaluation"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_neighbors_and_padding_do_not_change_an_utterance(encoder, mode, dtype, tolerance):
    model = build_encoder(encoder, FEATURES).to(dtype).train(mode == "training")
    batch = speech(FRAMES, [1] * len(FRAMES), dtype=dtype)
    together = model(batch.features)
    for row, frames in enumerate(FRAMES):
        alone = model(batch.rows(row).features)
        assert together.frames[row] == alone.frames[0] == model.output_length(frames)
        size = alone.states.abs().max().item()
        close(together.states[row, : alone.states.shape[1]], alone.states[0], atol=tolerance * max(size, 1e-6))


@each_encoder
@torch.no_grad()
def test_more_padding_than_the_longest_needs_changes_nothing(encoder):
    model = build_encoder(encoder, FEATURES).double().eval()
    values, frames = speech(FRAMES, [1] * len(FRAMES)).features
    wide = torch.nn.functional.pad(values, (0, 0, 0, 37))
    narrow, wider = model(Features(values, frames)), model(Features(wide, frames))
    real = valid_mask(narrow.frames, narrow.states.shape[1])
    close(wider.states[:, : narrow.states.shape[1]][real], narrow.states[real])


@each_encoder
def test_every_real_frame_reaches_the_output_and_no_padded_one_does(encoder):
    model = build_encoder(encoder, FEATURES).double()
    values, frames = speech([31, 15] * 6, [1] * 12).features  # in one utterance alone a frame may meet dead ReLUs only
    values.requires_grad_()
    encoded = model(Features(values, frames))
    weight = torch.randn(encoded.states.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    real = valid_mask(encoded.frames, encoded.states.shape[1])
    [gradient] = torch.autograd.grad((encoded.states * weight)[real].sum(), values)
    reached = (gradient != 0).any(-1)
    assert reached[0::2].any(0).all()
    assert reached[1::2].any(0).tolist() == [True] * 15 + [False] * 16


@each_encoder
def test_an_utterance_too_short_for_a_frame_spoils_neither_its_neighbors_nor_the_gradients(encoder):
    model = build(encoder)
    batch = speech([23, 5, 0], [2, 2, 1])
    outputs = model(batch.features, batch.labels)
    assert outputs.frames.tolist() == [model.output_length(23), 0, 0]
    alone = model(batch.rows(0).features, batch.rows(0).labels)
    close(outputs.ctc_log_probs[:1], alone.ctc_log_probs)
    close(outputs.logits[:1], alone.logits)
    total = outputs.ctc_log_probs[0].sum() + outputs.logits.sum()
    gradients = torch.autograd.grad(total, list(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


@each_encoder
def test_the_order_of_time_matters(encoder):
    """Attention without positions would not see it."""
    model = build_encoder(encoder, FEATURES).double().eval()
    block = torch.randn(4, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    values = torch.zeros(2, 200, FEATURES, dtype=torch.float64)
    values[0, 100:104], values[1, 140:144] = block, block  # far from where the states are compared
    states = model(Features(values, torch.tensor([200, 200]))).states
    assert not torch.allclose(states[0, 5], states[1, 5], rtol=0, atol=1e-9)


@each_encoder
def test_dropout_acts_in_training_only(encoder):
    names = {name: 0.5 for name in type(encoder).__dataclass_fields__ if "dropout" in name}
    cfg = type(encoder)(**vars(encoder) | names)
    model, features = build_encoder(cfg, FEATURES), speech([40], [1], dtype=torch.float32).features
    torch.manual_seed(0)
    assert not torch.equal(model(features).states, model(features).states)
    model.eval()
    assert torch.equal(model(features).states, model(features).states)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"kind": "conformer", "dim": 6}, "dim 6 must be a multiple of 2 x heads = 4"),
        ({"kind": "conformer", "kernel": 4}, "kernel 4 must be odd"),
        ({"kind": "transformer", "dim": 11}, "dim 11 must be a multiple of heads 2"),
        ({"kind": "transformer", "dim": 9, "heads": 3}, "dim 9 must be a multiple of heads 3, and even"),
        ({"kind": "transformer", "dropout": 1.0}, "encoder.dropout: Input should be less than 1"),
        ({"kind": "transformer", "kernel": 5}, "encoder.kernel: unknown key"),
        ({"kind": "patch_transformer", "dim": 11}, "dim 11 must be a multiple of heads 2"),
        ({"kind": "patch_transformer", "dim": 6}, "dim 6 must be a multiple of 2 x heads = 4"),
        ({"kind": "patch_transformer", "neighbours": 4}, "neighbours 4 must be odd"),
        ({"kind": "patch_transformer", "stride_frames": 8}, "stride_frames 8 must be at most patch_frames 7"),
        ({"kind": "patch_transformer", "stride_bins": 5}, "stride_bins 5 must be at most patch_bins 4"),
        ({"kind": "patch_transformer", "patch_bins": 0}, "encoder.patch_bins: Input should be greater than 0"),
        ({"kind": "conformr"}, "unknown kind 'conformr'; did you mean 'conformer'?"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(tree, message):
    cls = {typing.get_args(typing.get_type_hints(one)["kind"])[0]: one for one in members(EncoderConfig)}.get(
        tree["kind"], ConformerConfig
    )
    sizes = {name: SIZES[name] for name in cls.__dataclass_fields__ if name in SIZES}
    with pytest.raises(ConfigError) as raised:
        parse(EncoderConfig, sizes | tree, where="encoder")
    assert message in str(raised.value)


def test_attention_in_the_conformer_depends_on_distances_only():
    """Rotary positions: a signal that moves inside a long silence gives states that move with it."""
    model = build_encoder(next(cfg for cfg in ENCODERS if cfg.kind == "conformer"), FEATURES).double().eval()
    assert isinstance(model, Conformer)
    table = model.rotation.table(64, torch.empty(0, dtype=torch.float64))
    x = torch.randn(1, 20, model.width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    look = torch.ones(1, 1, 1, 20, dtype=torch.bool)
    attention = model.layers[0].attention
    here = attention(x, look, rotation=model.rotation, table=table[:, :20])
    there = attention(x, look, rotation=model.rotation, table=table[:, 40:60])
    close(here, there, atol=1e-12)
