"""Augmentation: what the epoch's plan draws (speeds, joins), and SpecAugment.

Axes: B utterances, T frames, F bins, M masks.

Speed perturbation: Ko et al., Audio Augmentation for Speech Recognition, 2015. SpecAugment: Park et al., 2019.
"""

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn

from hybrid_asr.audio.features import Features
from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config


@config
class SpecAugmentConfig:
    """Masks of SpecAugment (Park et al., 2019), without its time warping; 0 masks of a kind switch that kind off."""

    time_masks: Annotated[int, Field(ge=0)] = 2
    time_width: Annotated[int, Field(ge=0)] = 30
    """The widest time mask, in frames of the features."""
    time_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.2
    """A time mask never exceeds this share of its utterance."""
    freq_masks: Annotated[int, Field(ge=0)] = 2
    freq_width: Annotated[int, Field(ge=0)] = 20
    """The widest frequency mask, in bins."""
    from_epoch: Annotated[int, Field(ge=0)] = 0
    """Training masks from this epoch on, counted from 0."""


@config
class AugmentConfig:
    """All augmentation of the training set; nothing of it touches validation, test or use."""

    speeds: Annotated[tuple[Annotated[float, Field(ge=0.5, le=2.0)], ...], Field(min_length=1)] = (1.0,)
    """One of these factors is drawn, all equally likely, for each utterance and epoch; 1.1 is faster and higher."""
    join_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """The share of utterances that are joined with another into one."""
    join_max_s: Annotated[float, Field(gt=0.0)] = 8.0
    """No joined utterance is longer than this."""
    join_separator: str = " "
    """Between the two texts; empty for languages without spaces."""
    spec: SpecAugmentConfig = SpecAugmentConfig()


def describe(cfg: AugmentConfig) -> str:
    """What is on, in a line, so that nothing can be off unnoticed."""
    spec = cfg.spec
    speeds = f"speeds {', '.join(f'{speed:g}' for speed in cfg.speeds)}" if len(cfg.speeds) > 1 else "speeds off"
    joins = f"joins {cfg.join_share:.0%} up to {cfg.join_max_s:g} s" if cfg.join_share else "joins off"
    masks = (
        f"masks {spec.time_masks} x {spec.time_width} frames and {spec.freq_masks} x {spec.freq_width} bins "
        f"from epoch {spec.from_epoch + 1}"
        if spec.time_masks or spec.freq_masks
        else "masks off"
    )
    return f"{speeds}; {joins}; {masks}"


class MaskCounts(NamedTuple):
    """What was masked: the share of the batch's real frames, and the mean share of the bins of an utterance."""

    time_share: Float[Tensor, ""]
    freq_share: Float[Tensor, ""]


class SpecAugment(nn.Module):
    """Set random stretches of time and bands of frequency to 0, the mean of normalized features.

    Acts in training mode only and on real frames only; draws from the device's default generator unless given one,
    and never waits for the device.
    """

    def __init__(self, cfg: SpecAugmentConfig) -> None:
        """See SpecAugmentConfig."""
        super().__init__()
        self.cfg = cfg

    def forward(self, features: Features, generator: torch.Generator | None = None) -> tuple[Features, MaskCounts]:
        """Masked features of the same lengths, and how much was masked."""
        values, frames = features
        if not self.training:
            return features, MaskCounts(values.new_zeros(()), values.new_zeros(()))
        cfg, (batch, size, width) = self.cfg, values.shape
        bins = torch.full_like(frames, width)
        time_limits = (frames * cfg.time_share).long().clamp(max=cfg.time_width)
        time = _spans(frames, time_limits, cfg.time_masks, size, generator)  # (B, T)
        freq = _spans(bins, bins.clamp(max=cfg.freq_width), cfg.freq_masks, width, generator)  # (B, F)
        real = valid_mask(frames, size)
        masked = (time[:, :, None] | freq[:, None, :]) & real[:, :, None]
        counts = MaskCounts(
            (time.sum() / frames.sum().clamp(min=1)).to(values.dtype),
            (freq.sum() / (batch * width)).to(values.dtype),
        )
        return Features(values.masked_fill(masked, 0.0), frames), counts


def _spans(
    sizes: Int[Tensor, " batch"],
    limits: Int[Tensor, " batch"],
    masks: int,
    length: int,
    generator: torch.Generator | None,
) -> Bool[Tensor, "batch {length}"]:
    """The union of `masks` spans a row: width uniform in 0..limit, start uniform where the span fits into `sizes`."""
    draws = torch.rand(2, len(sizes), masks, device=sizes.device, generator=generator)
    widths = _uniform(draws[0], limits[:, None])  # (B, M)
    starts = _uniform(draws[1], sizes[:, None] - widths)
    places = torch.arange(length, device=sizes.device)
    inside = (places >= starts[..., None]) & (places < (starts + widths)[..., None])  # (B, M, length)
    return inside.any(1)


def _uniform(draws: Float[Tensor, "batch masks"], highest: Int[Tensor, "batch #masks"]) -> Int[Tensor, "batch masks"]:
    """Whole numbers 0..highest, both included, from draws in [0, 1)."""
    return (draws * (highest + 1)).long().minimum(highest)  # float32 may round a draw up to highest + 1
