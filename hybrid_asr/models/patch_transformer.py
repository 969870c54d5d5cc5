"""The patch Transformer encoder.  Axes: B utterances, T' time steps, F' patches of a time step, D width."""

from itertools import zip_longest
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from hybrid_asr.audio.features import Features
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer import TransformerLayer, TransformerSizes
from hybrid_asr.nn.cpu import Dropout, Linear
from hybrid_asr.nn.patches import Patches, PatchNeighbors, PatchPositions
from hybrid_asr.nn.positions import Rotation

LONGEST_STRIDE_S = 0.08  # seconds between encoder frames beyond which CTC has too few of them for the labels


@config
class PatchTransformerConfig(TransformerSizes):
    """Sizes of a patch Transformer; patches are `patch_frames` x `patch_bins`, in frames and bins of the features.

    They begin every `stride_frames` frames and every `stride_bins` bins: they overlap by the rest, and not at all
    where stride and size are equal. `stride_frames` times the features' shift is at most 80 ms. Attention is over all
    patches of an utterance, so that its cost grows with the square of their number.
    `positions`, in time: `rotary` (learns sooner, see docs/lessons.md) or `sinusoidal`, added; in frequency they are
    learned and added. `neighbours`: time steps that a convolution over the grid of patches joins before
    each layer, an odd number; 0 leaves it out, as in the original, and learns later.
    """

    kind: Literal["patch_transformer"] = "patch_transformer"
    patch_frames: Annotated[int, Field(gt=0)]
    stride_frames: Annotated[int, Field(gt=0)]
    patch_bins: Annotated[int, Field(gt=0)]
    stride_bins: Annotated[int, Field(gt=0)]
    positions: Literal["rotary", "sinusoidal"] = "rotary"
    neighbours: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions == "rotary":
            self.check_turns()
        if self.neighbours and self.neighbours % 2 == 0:
            raise ValueError(f"neighbours {self.neighbours} must be odd, as many on each side, or 0")
        for axis in ("frames", "bins"):
            size, stride = getattr(self, f"patch_{axis}"), getattr(self, f"stride_{axis}")
            if stride > size:
                raise ValueError(
                    f"stride_{axis} {stride} must be at most patch_{axis} {size}: {axis} between patches would be lost"
                )

    def check_features(self, seconds_per_frame: float, features: int) -> None:
        """Raise UserError if time steps are more than 80 ms apart, or a patch is higher than the spectrogram."""
        if self.patch_bins > features:
            raise UserError(
                f"model.encoder.patch_bins: {self.patch_bins} bins, and the features have {features}; "
                f"give {features} at most"
            )
        stride_s = self.stride_frames * seconds_per_frame
        if stride_s > LONGEST_STRIDE_S + 1e-9:
            most = max(1, int(LONGEST_STRIDE_S / seconds_per_frame + 1e-9))
            raise UserError(
                f"model.encoder.stride_frames: {self.stride_frames} frames of {1e3 * seconds_per_frame:g} ms put "
                f"{1e3 * stride_s:g} ms between encoder frames, and at most {1e3 * LONGEST_STRIDE_S:g} ms suit CTC "
                f"and a decoder; give {most} frames at most"
            )


class PatchTransformer(nn.Module):
    """Attention over all time x frequency patches of an utterance; then those of a time step become one state.

    Patches are embedded linearly and know their place in time and frequency (Dosovitskiy et al., 2021, for pictures;
    Gong et al., 2021, for spectrograms, who sum an utterance up in one vector). Here the patches of each time step are
    joined and projected, so that CTC and a decoder have a sequence. Layers are pre-norm (Xiong et al., 2020).
    """

    def __init__(self, cfg: PatchTransformerConfig, features: int) -> None:
        super().__init__()
        self.width, self.stride = cfg.dim, cfg.stride_frames
        self.patches = Patches(
            features,
            cfg.dim,
            size=cfg.patch_frames,
            stride=cfg.stride_frames,
            bins=cfg.patch_bins,
            bin_stride=cfg.stride_bins,
        )
        self.bands = self.patches.count  # patches of a time step, neighbors in the sequence that attention sees
        self.positions = PatchPositions(self.bands, cfg.dim, time="none" if cfg.positions == "rotary" else "sinusoidal")
        self.rotation = Rotation(cfg.dim // cfg.heads) if cfg.positions == "rotary" else None
        kernels = [cfg.neighbours] * cfg.layers if cfg.neighbours else []
        self.neighbours = nn.ModuleList(PatchNeighbors(cfg.dim, kernel) for kernel in kernels)
        self.dropout = Dropout(cfg.dropout)
        self.layers = nn.ModuleList(TransformerLayer(cfg) for _ in range(cfg.layers))
        self.norms = nn.ModuleList(nn.LayerNorm(cfg.dim, eps=cfg.norm_eps) for _ in range(2))
        self.join = Linear(self.bands * cfg.dim, cfg.dim)

    def output_length(self, frames: int) -> int:
        """Encoder frames, which are time steps of patches, for a number of feature frames."""
        return self.patches.output_length(frames)

    def forward(self, features: Features) -> Encoded:
        """Encode features; padding has no effect on real frames."""
        x, steps = self.patches(features.values, features.frames)  # (B, T', F', D)
        grid = x.shape[:3]
        valid = valid_mask(steps, grid[1])
        x = self.dropout(x + self.positions(grid[1])).flatten(1, 2)  # (B, T' F', D)
        mask = valid.repeat_interleave(grid[2], 1)[:, None, None]
        table = None if self.rotation is None else self.rotation.table(grid[1], x).repeat_interleave(grid[2], 1)
        for layer, neighbors in zip_longest(self.layers, self.neighbours):
            x = x if neighbors is None else neighbors(x.unflatten(1, grid[1:]), valid).flatten(1, 2)
            x = layer(x, mask, rotation=self.rotation, table=table)
        joined = self.join(self.norms[0](x).view(*grid[:2], -1))  # (B, T', D)
        return Encoded(self.norms[1](joined), steps)
