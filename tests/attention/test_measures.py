"""What each measure says of attention whose answer is known, and that none depends on padding."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hybrid_asr.attention.measures import measure, positions

ROWS, FRAMES = 6, 24


def measure_head(weights: Tensor, **more):
    """The measures of a single head, as numbers."""
    found = measure(weights[None, None, None], torch.tensor([len(weights)]), torch.tensor([weights.shape[1]]), **more)
    return type(found)(*(float(value) for value in found))


def diagonal(rows: int = ROWS, frames: int = FRAMES) -> Tensor:
    """Row r looks evenly at its share of the time."""
    place = torch.arange(frames) * rows // frames
    return (place == torch.arange(rows)[:, None]).double() * rows / frames


def test_a_diagonal_is_in_order_covers_all_and_does_not_overlap():
    found = measure_head(diagonal())
    assert found.monotonicity == 1 and found.coverage == pytest.approx(1) and found.overlap == 0
    assert found.diagonality > 0.8
    assert found.entropy == pytest.approx(math.log(FRAMES / ROWS) / math.log(FRAMES))
    assert measure_head(diagonal().flip(0)).monotonicity == -1


def test_what_looks_everywhere_alike_has_no_order_and_the_greatest_entropy():
    found = measure_head(torch.full((ROWS, FRAMES), 1 / FRAMES, dtype=torch.float64))
    assert found.monotonicity == 0 and found.diagonality == pytest.approx(0, abs=1e-9)
    assert found.entropy == pytest.approx(1) and found.overlap == pytest.approx(1)
    assert found.coverage == pytest.approx(1)


def test_what_looks_at_one_place_covers_little():
    weights = torch.zeros(ROWS, FRAMES, dtype=torch.float64)
    weights[:, 5] = 1
    found = measure_head(weights)
    assert found.coverage == pytest.approx(1 / ROWS) and found.overlap == 1 and found.entropy == 0
    assert found.monotonicity == 0


def test_the_distance_is_that_from_each_label_s_place_in_seconds():
    weights = torch.zeros(3, 10, dtype=torch.float64)
    weights[0, 1] = weights[1, 4] = weights[2, 9] = 1  # two labels and the end
    places = torch.tensor([[1.5, 6.5]])
    assert measure_head(weights, label_middles=places, frame_s=0.04).ctc_distance_s == pytest.approx((0 + 2) / 2 * 0.04)
    assert measure_head(weights, label_middles=torch.tensor([[math.nan, 6.5]])).ctc_distance_s == pytest.approx(2)
    assert math.isnan(measure_head(weights, label_middles=torch.full((1, 2), math.nan)).ctc_distance_s)
    assert math.isnan(measure_head(weights).ctc_distance_s)


def test_marching_is_the_order_that_is_left_with_shuffled_frames():
    onwards, backwards = diagonal()[None, None, None], diagonal().flip(0)[None, None, None]
    assert measure_head(diagonal(), shuffled=[onwards]).marching == 1
    assert measure_head(diagonal(), shuffled=[onwards, backwards]).marching == 0, "the mean of 1 and -1"


def test_a_single_row_tells_nothing_of_order():
    found = measure_head(torch.full((1, 4), 0.25, dtype=torch.float64))
    assert math.isnan(found.monotonicity) and math.isnan(found.diagonality) and math.isnan(found.overlap)
    assert found.entropy == pytest.approx(1)


def plain(weights: list[list[float]], places: list[float]) -> dict[str, float]:
    """The formulas of docs/attention.md, one number after the other."""
    rows, frames = len(weights), len(weights[0])
    looks = [sum(a * (t + 0.5) for t, a in enumerate(row)) for row in weights]
    pairs = [(r, s) for r in range(rows) for s in range(r + 1, rows)]
    signs = [(looks[s] >= looks[r] + 0.01) - (looks[s] <= looks[r] - 0.01) for r, s in pairs]
    away = [[abs((t + 0.5) / frames - (r + 0.5) / rows) for t in range(frames)] for r in range(rows)]
    even = sum(map(sum, away)) / (rows * frames)
    mean = sum(a * d for row, line in zip(weights, away, strict=True) for a, d in zip(row, line, strict=True)) / rows
    got = [0.0] * rows
    for row in weights:
        for t, a in enumerate(row):
            got[t * rows // frames] += a
    far = [sum(map(min, weights[r], weights[s])) for r, s in pairs if s > r + 1]
    nats = -sum(a * math.log(a) for row in weights for a in row if a > 0) / rows
    apart = [sum(a * abs(t + 0.5 - c) for t, a in enumerate(row)) for row, c in zip(weights, places, strict=False)]
    return {
        "monotonicity": sum(signs) / len(pairs),
        "diagonality": 1 - mean / even,
        "coverage": min(1.0, sum(min(1.0, part) for part in got) / min(rows, frames)),
        "overlap": sum(far) / len(far),
        "entropy": nats / math.log(frames),
        "ctc_distance_s": sum(apart) / max(len(apart), 1),
    }


@given(st.integers(3, 7), st.integers(2, 12), st.integers(0, 2**31))
def test_a_batch_is_the_plain_formulas_whatever_stands_in_the_padding(rows, frames, seed):
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(1, 1, 1, rows, frames, dtype=torch.float64, generator=generator) ** 3
    weights /= weights.sum(-1, keepdim=True)
    places = torch.rand(1, rows - 1, generator=generator, dtype=torch.float64) * frames
    padded = torch.rand(2, 1, 1, rows + 2, frames + 3, dtype=torch.float64, generator=generator)
    padded[:1, :, :, :rows, :frames] = weights
    middles = torch.rand(2, rows + 1, generator=generator, dtype=torch.float64)
    middles[:1, : rows - 1] = places
    sizes = torch.tensor([rows, rows + 2]), torch.tensor([frames, frames + 3])
    other = torch.rand(padded.shape, dtype=torch.float64, generator=generator)
    other[:1, :, :, :rows, :frames] /= other[:1, :, :, :rows, :frames].sum(-1, keepdim=True)
    found = measure(padded, *sizes, label_middles=middles, shuffled=[other])
    wanted = plain(weights[0, 0, 0].tolist(), places[0].tolist())
    wanted["marching"] = plain(other[0, 0, 0, :rows, :frames].tolist(), [])["monotonicity"]
    assert {name: float(value[0]) for name, value in found._asdict().items()} == pytest.approx(wanted, abs=1e-9)


def test_positions_are_the_middles_of_frames():
    assert positions(torch.eye(3)).tolist() == [0.5, 1.5, 2.5]
