"""Measures of whether attention follows the speech; docs/attention.md has each formula, and usual values.

Axes: B utterances, L layers, H heads, R rows (the labels and the end), T frames.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hybrid_asr.common.masks import valid_mask

SAME_POSITION = 0.01  # frames: positions that are no further apart count as equal, whatever rounding says

Weights = Float[Tensor, "batch layers heads rows time"]
Measure = Float[Tensor, "batch layers heads"]


class Measures(NamedTuple):
    """One number for each utterance, layer and head; NaN where an utterance has too few rows or frames to tell.

    `monotonicity` is Kendall's tau of rows and their mean positions, from -1 (backwards) by 0 (in no order) to 1.
    `diagonality` is 1 where row r of R attends at the share r/R of the time, 0 where it attends to all frames alike.
    `coverage` is the share of the time that gets its share of attention, `overlap` how much rows that are no neighbors
    attend to the same frames, `entropy` how far a row spreads: 1 is over all frames alike. All three lie in 0 to 1.
    `ctc_distance_s` is the mean distance of a row's weights from its label's place in the CTC alignment, in seconds,
    the end left out.
    `marching` is the monotonicity that is left with the frames in random order.
    """

    monotonicity: Measure
    diagonality: Measure
    coverage: Measure
    overlap: Measure
    entropy: Measure
    ctc_distance_s: Measure
    marching: Measure


def measure(
    weights: Weights,
    rows: Int[Tensor, " batch"],
    frames: Int[Tensor, " batch"],
    *,
    label_middles: Float[Tensor, "batch labels"] | None = None,
    frame_s: float = 1.0,
    shuffled: Sequence[Weights] = (),
) -> Measures:
    """Measure attention whose real rows (labels and the end) and frames are given.

    `label_middles` are in the CTC alignment, in frames of `frame_s` seconds, NaN where there is none. `shuffled` are
    the weights of the same texts with the frames in random order.
    """
    row_real, frame_real = valid_mask(rows, weights.shape[3]), valid_mask(frames, weights.shape[4])
    real = (row_real[:, :, None] & frame_real[:, None])[:, None, None]
    weights = weights.double() * real
    has_order = (rows > 1)[:, None, None]

    def order(of: Weights) -> Measure:
        return torch.where(has_order, _monotonicity(positions(of), row_real), torch.nan)

    marching = [order(other.double() * real) for other in shuffled]
    return Measures(
        monotonicity=order(weights),
        diagonality=torch.where(has_order, _diagonality(weights, rows, frames, row_real), torch.nan),
        coverage=_coverage(weights, rows, frames),
        overlap=_overlap(weights, row_real),
        entropy=_entropy(weights, rows, frames),
        ctc_distance_s=_distance(weights, label_middles, row_real) * frame_s,
        marching=torch.stack(marching).mean(0) if marching else weights.new_full(weights.shape[:3], torch.nan),
    )


def positions(weights: Float[Tensor, "*any rows time"]) -> Float[Tensor, "*any rows"]:
    """The mean position of each row's weights, in frames: p_r = sum_t a_rt (t + 1/2)."""
    return weights @ (torch.arange(weights.shape[-1], device=weights.device, dtype=weights.dtype) + 0.5)


def _monotonicity(mean_positions: Tensor, real: Bool[Tensor, "batch rows"]) -> Measure:
    """tau = mean over r < s of sign(p_s - p_r), 0 for less than `SAME_POSITION` (Kendall, 1938)."""
    pairs = (real[:, :, None] & real[:, None]).triu(1)[:, None, None]
    forward = mean_positions[..., None, :] - mean_positions[..., :, None]
    signs = forward.sign() * (forward.abs() >= SAME_POSITION)
    return (signs * pairs).sum((-2, -1)) / pairs.sum((-2, -1)).clamp(min=1)


def _diagonality(weights: Tensor, rows: Tensor, frames: Tensor, real: Tensor) -> Measure:
    """1 - E|t/T - r/R| over the weights, divided by the same of uniform attention."""
    time, row = (torch.arange(size, dtype=weights.dtype, device=weights.device) + 0.5 for size in weights.shape[:2:-1])
    distance = ((row / rows[:, None])[:, :, None] - (time / frames[:, None])[:, None]).abs()  # (B, R, T)
    inside = real[:, :, None] & valid_mask(frames, weights.shape[4])[:, None]
    even = (distance * inside).sum((1, 2)) / (rows * frames).clamp(min=1)
    mean = (weights * distance[:, None, None]).sum((-2, -1)) / rows[:, None, None]
    return 1 - mean / even[:, None, None]


def _coverage(weights: Tensor, rows: Tensor, frames: Tensor) -> Measure:
    """Time in R parts of equal length: the mean over them of min(1, attention that the part gets)."""
    count = weights.shape[3]
    frame = torch.arange(weights.shape[4], device=weights.device)
    part = (frame * rows[:, None] // frames[:, None].clamp(min=1)).clamp(max=count - 1)  # (B, T)
    of_frames = weights.sum(3)  # (B, L, H, T)
    parts = of_frames.new_zeros(*of_frames.shape[:3], count)
    parts.scatter_add_(3, part[:, None, None].expand_as(of_frames), of_frames)
    wanted = torch.minimum(rows, frames)[:, None, None]  # no more parts than frames can get any
    return (parts.clamp(max=1).sum(-1) / wanted).clamp(max=1)


def _overlap(weights: Tensor, real: Tensor) -> Measure:
    """The mean over pairs of rows s > r + 1 of sum_t min(a_rt, a_st): neighbors may well share a frame."""
    total, pairs = weights.new_zeros(weights.shape[:3]), weights.new_zeros(len(weights))
    for lag in range(2, weights.shape[3]):
        both = real[:, lag:]  # lengths: where the later row is real, so is the earlier
        shared = torch.minimum(weights[..., lag:, :], weights[..., :-lag, :]).sum(-1)
        total, pairs = total + (shared * both[:, None, None]).sum(-1), pairs + both.sum(1)
    return total / torch.where(pairs > 0, pairs, torch.nan)[:, None, None]


def _entropy(weights: Tensor, rows: Tensor, frames: Tensor) -> Measure:
    """The mean over rows of -sum_t a_rt log a_rt, divided by log T."""
    nats = torch.special.entr(weights).sum((-2, -1)) / rows[:, None, None]
    most = torch.where(frames > 1, frames.to(nats.dtype), torch.nan).log()
    return nats / most[:, None, None]


def _distance(weights: Tensor, middles: Tensor | None, real: Tensor) -> Measure:
    """The mean over labels of sum_t a_rt |t - c_r|, where c_r is the label's middle in the CTC alignment."""
    if middles is None:
        return weights.new_full(weights.shape[:3], torch.nan)
    known = real[:, 1:] & ~middles.isnan()  # the last real row is the end, so that label r is real where row r + 1 is
    return (
        distances(weights, middles, known).sum(-1) / torch.where(known.any(1), known.sum(1), torch.nan)[:, None, None]
    )


def distances(weights: Tensor, middles: Tensor, known: Tensor) -> Float[Tensor, "batch layers heads labels"]:
    """sum_t a_rt |t + 1/2 - c_r| of each label whose middle c_r is known, in frames; 0 of the others."""
    frame = torch.arange(weights.shape[-1], dtype=weights.dtype, device=weights.device) + 0.5
    distance = torch.where(known[..., None], (frame - middles[..., None]).abs(), 0.0)
    return torch.einsum("blhrt,brt->blhr", weights[..., :-1, :], distance)
