"""The convolution module mixes real frames only."""

import pytest
import torch
from torch.nn import functional as F

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.nn.convolution import ConvolutionModule, FrameBatchNorm

DIM, KERNEL = 6, 5


@pytest.fixture
def module() -> ConvolutionModule:
    return ConvolutionModule(DIM, KERNEL).double()


def test_it_equals_loops_over_real_neighbors(module):
    lengths, values = [9, 4, 1], torch.randn(3, 9, DIM, dtype=torch.float64)
    output = module(values, valid_mask(torch.tensor(lengths), 9))
    weight, bias = module.depthwise.weight[:, 0], module.depthwise.bias
    for row, length in enumerate(lengths):
        content, gate = module.gate(values[row]).chunk(2, dim=-1)
        gated = content * gate.sigmoid()
        for place in range(length):
            window = range(place - KERNEL // 2, place + KERNEL // 2 + 1)
            mixed = bias + sum(weight[:, tap] * gated[at] for tap, at in enumerate(window) if 0 <= at < length)
            expected = module.output(F.silu(module.norm(mixed)))
            torch.testing.assert_close(output[row, place], expected, rtol=0, atol=1e-12)


def test_numbers_in_the_padding_reach_neither_outputs_nor_gradients(module):
    valid = valid_mask(torch.tensor([9, 4]), 9)
    values = torch.randn(2, 9, DIM, dtype=torch.float64)
    other = torch.where(valid[..., None], values, 1e3).requires_grad_()
    output = module(other, valid)
    torch.testing.assert_close(output[valid], module(values, valid)[valid], rtol=0, atol=1e-12)
    [gradient] = torch.autograd.grad(output[valid].sum(), other)
    assert (gradient[~valid] == 0).all()
    assert (gradient[valid] != 0).any(-1).all()


def test_numbers_that_are_not_finite_leave_the_running_statistics_alone():
    norm, valid = FrameBatchNorm(DIM), torch.ones(2, 3, dtype=torch.bool)
    norm(torch.randn(2, 3, DIM), valid)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    for odd in (torch.nan, torch.inf):
        norm(torch.full((2, 3, DIM), odd), valid)
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_batch_norm_is_torchs_over_the_real_frames(mode):
    ours, theirs = FrameBatchNorm(DIM).double(), torch.nn.BatchNorm1d(DIM).double()
    theirs.load_state_dict(ours.state_dict())
    valid = valid_mask(torch.tensor([9, 4, 1]), 9)
    for norm in (ours, theirs):
        norm.train(mode == "training")
    for _ in range(3):
        values = 3 + 2 * torch.randn(3, 9, DIM, dtype=torch.float64)
        noisy = torch.where(valid[..., None], values, 1e3)
        torch.testing.assert_close(ours(noisy, valid)[valid], theirs(values[valid]), rtol=0, atol=1e-9)
    for name, value in theirs.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=1e-9)
