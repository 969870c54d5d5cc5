"""Subsampling: lengths, the smallest input, and output frames that see real input frames only."""

import pytest
import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.nn.subsampling import SMALLEST_INPUT, STRIDE, ConvSubsampling, subsampled_length

FEATURES, DIM = 9, 6


@pytest.fixture
def layer() -> ConvSubsampling:
    return ConvSubsampling(FEATURES, 3, DIM).double()


def test_lengths_are_those_of_the_convolutions(layer):
    for frames in range(SMALLEST_INPUT, 61):
        output, lengths = layer(torch.randn(1, frames, FEATURES, dtype=torch.float64), torch.tensor([frames]))
        assert output.shape == (1, subsampled_length(frames), DIM)
        assert lengths.tolist() == [subsampled_length(frames)]


def test_numbers_and_tensors_have_the_same_length():
    frames = torch.arange(61)
    assert subsampled_length(frames).tolist() == [subsampled_length(n) for n in range(61)]


def test_the_smallest_input_gives_one_frame_and_less_gives_none(layer):
    assert subsampled_length(SMALLEST_INPUT) == 1
    for frames in range(SMALLEST_INPUT):
        assert subsampled_length(frames) <= 0
        values = torch.randn(2, frames, FEATURES, dtype=torch.float64)
        output, lengths = layer(values, torch.tensor([frames, 0]))
        assert lengths.tolist() == [0, 0]
        assert output.shape == (2, 1, DIM)  # padding, so that later layers have something to mask


def test_an_output_frame_sees_seven_input_frames_and_the_next_one_begins_four_later(layer):
    """In many utterances at once, since in one alone a dead ReLU may hide a frame."""
    values = torch.randn(32, 31, FEATURES, dtype=torch.float64).requires_grad_()
    output, _ = layer(values, torch.full((32,), 31))
    for place in range(output.shape[1]):
        [gradient] = torch.autograd.grad(output[:, place].sum(), values, retain_graph=True)
        seen = (gradient != 0).any(-1).any(0).nonzero()[:, 0].tolist()
        assert seen == list(range(STRIDE * place, STRIDE * place + SMALLEST_INPUT))


def test_whatever_stands_in_the_padding_real_frames_do_not_change(layer):
    values = torch.randn(1, 60, FEATURES, dtype=torch.float64)
    for frames in range(SMALLEST_INPUT, 61):
        alone, [length] = layer(values[:, :frames], torch.tensor([frames]))
        wide = values.clone()
        wide[:, frames:] = 1e3
        beside, _ = layer(wide, torch.tensor([frames]))
        torch.testing.assert_close(beside[:, :length], alone, rtol=0, atol=1e-12)


def test_too_few_features_are_refused():
    ConvSubsampling(SMALLEST_INPUT, 2, 4)
    with pytest.raises(UserError, match="6 features a frame are too few"):
        ConvSubsampling(SMALLEST_INPUT - 1, 2, 4)
