"""Positions: the sinusoids' formula, and rotations that know distances only."""

import math

import pytest
import torch
from torch import Tensor

from hybrid_asr.nn.positions import Rotation, sinusoids


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_sinusoids_follow_the_formula():
    table = sinusoids(50, 6, torch.empty(0, dtype=torch.float64))
    for position in range(50):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            assert table[position, 2 * pair].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert table[position, 2 * pair + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_far_positions_are_exact_in_float32():
    like = torch.empty(0)
    assert sinusoids(4, 6, like).dtype == torch.float32
    place = 100_000
    assert sinusoids(place + 1, 2, like)[place, 0].item() == pytest.approx(math.sin(place), abs=1e-6)
    assert Rotation(2).table(place + 1, like)[1, place, 0].item() == pytest.approx(math.sin(place), abs=1e-6)


def test_rotation_keeps_the_norm():
    rotation, heads = Rotation(8), drawn(2, 3, 50, 8)
    turned = rotation(heads, rotation.table(50, heads))
    torch.testing.assert_close(turned.norm(dim=-1), heads.norm(dim=-1), rtol=0, atol=1e-12)
    assert torch.equal(turned[:, :, 0], heads[:, :, 0])  # position 0 does not turn
    assert not torch.allclose(turned[:, :, 1:], heads[:, :, 1:])


def test_scores_depend_on_the_distance_alone():
    rotation, size = Rotation(8), 40
    query, key = drawn(8), drawn(8, seed=1)
    table = rotation.table(size, query)
    turned = [rotation(vector.expand(1, 1, size, 8), table)[0, 0] for vector in (query, key)]
    scores = turned[0] @ turned[1].T  # (T, T), of the same two vectors at all pairs of positions
    for distance in range(1 - size, size):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), rtol=0, atol=1e-12)
    near = torch.stack([scores[20, 20 + distance] for distance in range(-4, 5)])
    assert near.unique().numel() == 9  # and it does depend on it, on its sign too


def test_rotation_follows_the_formula():
    rotation, vector = Rotation(6), drawn(6)
    turned = rotation(vector.expand(1, 1, 9, 6), rotation.table(9, vector))[0, 0]
    for position in range(9):
        for pair in range(3):
            angle = position / 10000 ** (pair / 3)
            number = complex(vector[pair], vector[pair + 3]) * complex(math.cos(angle), math.sin(angle))
            assert turned[position, pair].item() == pytest.approx(number.real, abs=1e-12)
            assert turned[position, pair + 3].item() == pytest.approx(number.imag, abs=1e-12)


def test_an_odd_width_cannot_turn():
    with pytest.raises(ValueError, match="even width per head, got 5"):
        Rotation(5)
