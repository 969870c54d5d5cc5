"""Attention with relative positions, against its formula written as loops."""

import math

import pytest
import torch

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.nn.relative_attention import RelativeSelfAttention, distances, to_keys

DIM, HEADS, SIZE = 8, 2, 6


def sinusoid(distance: int) -> torch.Tensor:
    """Vaswani's position vector of a distance, which may be negative."""
    angles = [distance / 10000 ** (column / DIM) for column in range(0, DIM, 2)]
    return torch.tensor([part for angle in angles for part in (math.sin(angle), math.cos(angle))], dtype=torch.float64)


def test_the_formula():
    layer, values = RelativeSelfAttention(DIM, HEADS).double(), torch.randn(2, SIZE, DIM, dtype=torch.float64)
    lengths = torch.tensor([SIZE, 3])
    found = layer(values, valid_mask(lengths, SIZE)[:, None, None], distances(SIZE, DIM, values))
    width = DIM // HEADS
    for row, length in enumerate(lengths.tolist()):
        queries, keys, contents = layer.project(values[row]).chunk(3, dim=-1)
        for i in range(SIZE):
            mixed = []
            for head in range(HEADS):
                own = slice(head * width, (head + 1) * width)
                scores = []
                for k in range(length):
                    far = layer.distance(sinusoid(i - k))[own]
                    by_content = (queries[i, own] + layer.content_bias[head]) @ keys[k, own]
                    by_distance = (queries[i, own] + layer.distance_bias[head]) @ far
                    scores.append((by_content + by_distance) / math.sqrt(width))
                mixed.append(torch.stack(scores).softmax(0) @ contents[:length, own])
            torch.testing.assert_close(found[row, i], layer.output(torch.cat(mixed)), rtol=0, atol=1e-10)


def test_scores_of_distances_go_to_their_keys_and_gradients_back():
    scores = torch.randn(2, 3, 4, 7, dtype=torch.float64, requires_grad=True)
    picked = to_keys(scores)
    for i in range(4):
        for k in range(4):
            assert (picked[:, :, i, k] == scores[:, :, i, 3 - i + k]).all()
    assert torch.autograd.gradcheck(to_keys, (scores,))


@pytest.mark.parametrize("mode", ["training", "evaluation"])
def test_no_real_key_gives_numbers(mode):
    layer = RelativeSelfAttention(DIM, HEADS).train(mode == "training")
    output = layer(torch.randn(1, 3, DIM), torch.zeros(1, 1, 1, 3, dtype=torch.bool), distances(3, DIM, torch.zeros(1)))
    assert output.isfinite().all()
