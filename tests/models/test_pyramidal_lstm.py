"""The pyramid's lengths, for any joins, and that its last group is no matter of the batch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_asr.audio.features import Features
from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.models.encoder import EncoderConfig
from hybrid_asr.models.pyramidal_lstm import PyramidalLstm, PyramidalLstmConfig
from hybrid_asr.nn.subsampling import join_frames
from tests.models.tiny import FEATURES, close, tiny


def listener(joins, **changes) -> PyramidalLstm:
    torch.manual_seed(0)
    return PyramidalLstm(tiny(PyramidalLstmConfig, cells=2, joins=tuple(joins), **changes), FEATURES).double().eval()


@settings(max_examples=40)
@given(
    joins=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=4),
    padding=st.integers(0, 9),
    front=st.sampled_from([{"input": "conv"}, {"input": "joined", "join": 1}, {"input": "joined", "join": 3}]),
)
@torch.no_grad()
def test_lengths_are_exact_and_no_utterance_depends_on_its_batch(joins, lengths, padding, front):
    model = listener(joins, **front)
    values = torch.randn(len(lengths), max(lengths) + padding, FEATURES, dtype=torch.float64)
    values[torch.arange(values.shape[1]) >= torch.tensor(lengths)[:, None]] = 0  # what `Features` promises
    together = model(Features(values, torch.tensor(lengths)))
    for row, length in enumerate(lengths):
        alone = model(Features(values[row : row + 1, :length], torch.tensor([length])))
        frames = model.output_length(length)
        assert int(together.frames[row]) == int(alone.frames) == frames
        assert alone.states.shape[1] == max(1, frames)
        close(together.states[row, :frames], alone.states[0, :frames])


@given(st.integers(1, 7), st.integers(0, 30))
def test_joining_loses_no_frame_and_fills_up_with_zeros(join, length):
    values = torch.randn(1, length + 3, 2, dtype=torch.float64)  # numbers in the padding, too
    joined, [frames] = join_frames(values, torch.tensor([length]), join)
    assert int(frames) == -(-length // join)
    flat = joined[0, : int(frames)].reshape(-1, 2)
    assert torch.equal(flat[:length], values[0, :length])
    if join > 1:
        assert (flat[length:] == 0).all()


def test_each_layer_joins_and_the_stride_is_their_product():
    model = listener([1, 2, 3])
    assert model.stride == 4 * 6
    assert model.output_length(4 * 6 * 10 + 3) == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joins": []}, "encoder.joins"),
        ({"joins": [2, 0]}, "encoder.joins.1"),
        ({"cells": 0}, "encoder.cells"),
        ({"heads": 4}, "unknown key of kind 'listener'"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(changes, message):
    tree = {"kind": "listener", "dim": 8, "cells": 4, "joins": [1, 2]}
    parse(EncoderConfig, tree, where="encoder")
    with pytest.raises(ConfigError, match=message):
        parse(EncoderConfig, tree | changes, where="encoder")
