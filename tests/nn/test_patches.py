"""Patches: the same as cut by hand, whole in real frames, every bin in one; positions of time and frequency."""

import pytest
import torch
from torch import Tensor

from hybrid_asr.nn.patches import Patches, PatchNeighbors, PatchPositions

SHAPES = [  # features, size, stride, bins, bin_stride
    (11, 7, 4, 4, 3),  # both overlap, and the last patch reaches above the highest bin
    (12, 4, 4, 4, 4),  # neither overlaps
    (10, 5, 1, 10, 10),  # one patch a time step
    (5, 3, 2, 9, 2),  # a patch larger than all bins
]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def layer(shape: tuple[int, ...], dim: int = 6) -> Patches:
    features, size, stride, bins, bin_stride = shape
    return Patches(features, dim, size=size, stride=stride, bins=bins, bin_stride=bin_stride).double()


def by_hand(values: Tensor, patches: Patches, steps: int) -> Tensor:
    """Number after number, frame after frame."""
    found = torch.zeros(len(values), steps, patches.count, patches.size * patches.bins, dtype=values.dtype)
    for row in range(len(values)):
        for step in range(steps):
            for patch in range(patches.count):
                for frame in range(patches.size):
                    for bin in range(patches.bins):
                        place = patch * patches.bin_stride + bin
                        if place < values.shape[2]:
                            number = values[row, step * patches.stride + frame, place]
                            found[row, step, patch, frame * patches.bins + bin] = number
    return found


@each_shape
def test_patches_are_those_cut_by_hand(shape):
    patches = layer(shape)
    values = torch.randn(2, 16, shape[0], dtype=torch.float64)
    embedded, [steps, _] = patches(values, torch.tensor([16, 9]))
    cut = by_hand(values, patches, int(steps))
    assert torch.equal(patches.cut(values), cut)
    torch.testing.assert_close(embedded, cut @ patches.embed.weight.T + patches.embed.bias, rtol=0, atol=1e-12)


@each_shape
def test_every_bin_is_in_a_patch_and_no_patch_has_none(shape):
    patches = layer(shape)
    bins = torch.arange(1.0, shape[0] + 1).expand(1, patches.size, -1)
    [step] = patches.cut(bins)[0]
    assert set(step.unique().tolist()) - {0.0} == set(range(1, shape[0] + 1))
    assert (step > 0).any(-1).all()


@each_shape
def test_a_time_step_lies_wholly_in_real_frames(shape):
    patches = layer(shape)
    for frames in range(31):
        values = torch.zeros(1, 30, shape[0], dtype=torch.float64)
        values[:, frames:] = torch.nan  # whatever padding holds
        cut, [steps] = patches.cut(values), patches(values, torch.tensor([frames]))[1]
        assert int(steps) == patches.output_length(frames)
        assert cut[0, :steps].isfinite().all()
        whole = sum(begin + patches.size <= frames for begin in range(0, frames, patches.stride))
        assert int(steps) == whole


def test_less_than_a_patch_gives_one_step_to_mask_and_none_that_is_real():
    patches = layer(SHAPES[0])
    for frames in range(7):
        embedded, steps = patches(torch.randn(2, frames, 11, dtype=torch.float64), torch.tensor([frames, 0]))
        assert embedded.shape == (2, 1, patches.count, 6)
        assert steps.tolist() == [0, 0]


def test_positions_are_those_of_any_length_and_differ_in_time_and_in_frequency():
    positions = PatchPositions(3, 8, time="sinusoidal").double()
    short, long = positions(20), positions(20_000)
    assert long.shape == (20_000, 3, 8)
    assert torch.equal(short, long[:20])
    assert len(short.flatten(0, 1).unique(dim=0)) == 60
    torch.testing.assert_close(short[:, 1] - short[:, 0], (short[:1, 1] - short[:1, 0]).expand(20, -1))


def test_positions_in_frequency_are_learned_and_the_only_ones_where_time_is_turned():
    positions = PatchPositions(3, 8, time="none")
    [(name, bands)] = positions.named_parameters()
    assert (name, bands.shape) == ("bands", (3, 8))
    assert torch.equal(positions(5), bands.expand(5, -1, -1))
    positions(5)[:, 1].sum().backward()
    assert bands.grad.tolist() == [[0.0] * 8, [5.0] * 8, [0.0] * 8]


def test_neighbors_are_those_around_a_patch_and_no_padding():
    mixed, grid = PatchNeighbors(4, 5).double(), torch.rand(2, 9, 4, 4, dtype=torch.float64, requires_grad=True)
    valid = torch.arange(9) < torch.tensor([[9], [6]])
    output = mixed(grid, valid)
    [gradient] = torch.autograd.grad(output[:, 4, 1].sum(), grid)
    seen = (gradient != 0).all(-1)
    assert seen[0].nonzero().tolist() == [[step, band] for step in range(2, 7) for band in range(3)]
    assert seen[1].nonzero().tolist() == [[step, band] for step in range(2, 6) for band in range(3)]
