"""A spectrogram as time x frequency patches.  Axes: B utterances, T frames, F bins, T' time steps, F' patches, D width.

Dosovitskiy et al., An Image is Worth 16x16 Words, 2021; Gong et al., AST: Audio Spectrogram Transformer, 2021.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_asr.nn.cpu import Linear
from hybrid_asr.nn.positions import sinusoids


class Patches(nn.Module):
    """Cut features into overlapping patches and embed each by one linear layer, the same wherever the patch stood.

    A time step is one column of patches, which lie `stride` frames apart. It exists where all its `size` frames are
    real: padding has no part in any, and up to `stride - 1` frames at an utterance's end are not seen. In frequency
    every bin is in a patch: above the highest bin there are zeros, where the last patch reaches beyond it.
    """

    def __init__(self, features: int, dim: int, *, size: int, stride: int, bins: int, bin_stride: int) -> None:
        """Patches of `size` frames and `bins` bins, every `stride` frames and every `bin_stride` bins."""
        super().__init__()
        self.size, self.stride, self.bins, self.bin_stride = size, stride, bins, bin_stride
        self.count = max(0, -(-(features - bins) // bin_stride)) + 1  # F', of one time step
        self.above = (self.count - 1) * bin_stride + bins - features
        self.embed = Linear(size * bins, dim)

    def output_length(self, frames: int) -> int:
        """Time steps that lie wholly in `frames` frames."""
        return max(0, (frames - self.size) // self.stride + 1)

    def cut(self, values: Float[Tensor, "batch time features"]) -> Float[Tensor, "batch steps patches numbers"]:
        """The numbers of every patch, frame after frame; one step at least, for later layers to have something."""
        padded = F.pad(values, (0, self.above, 0, max(0, self.size - values.shape[1])))
        return padded.unfold(1, self.size, self.stride).unfold(2, self.bins, self.bin_stride).flatten(3)

    def forward(
        self, values: Float[Tensor, "batch time features"], frames: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch steps patches dim"], Int[Tensor, " batch"]]:
        """Embedded patches, and how many time steps of each utterance are real."""
        steps = torch.div(frames - self.size, self.stride, rounding_mode="floor") + 1
        return self.embed(self.cut(values)), steps.clamp(min=0)


class PatchPositions(nn.Module):
    """Positions of patches: a learned vector for its band, and a sinusoid of its time step unless `time` is `none`."""

    def __init__(self, patches: int, dim: int, *, time: Literal["sinusoidal", "none"]) -> None:
        super().__init__()
        self.time = time
        self.bands = nn.Parameter(torch.empty(patches, dim))
        nn.init.normal_(self.bands, std=0.5**0.5)  # as large as a sinusoid

    def forward(self, steps: int) -> Float[Tensor, "{steps} patches dim"]:
        """The positions of all patches of `steps` time steps, however many."""
        if self.time == "none":
            return self.bands.expand(steps, -1, -1)
        return sinusoids(steps, self.bands.shape[1], self.bands)[:, None] + self.bands


class PatchNeighbors(nn.Module):
    """Add to each patch a depth-wise convolution over those around it, in time and in frequency (Chu et al., 2021).

    Attention alone must learn from its data what lies beside what; with little data that takes long, see
    docs/lessons.md. Padded time steps count as zero, as does what lies beyond the spectrogram.
    """

    def __init__(self, dim: int, steps: int) -> None:
        """Over `steps` time steps, an odd number, and three patches of each."""
        super().__init__()
        assert steps % 2, steps
        self.mix = nn.Conv2d(dim, dim, (steps, 3), padding=(steps // 2, 1), groups=dim)

    def forward(
        self, patches: Float[Tensor, "batch steps patches dim"], valid: Bool[Tensor, "batch steps"]
    ) -> Float[Tensor, "batch steps patches dim"]:
        """Add the convolution to the patches of real time steps; `valid` marks these."""
        activated = patches.relu() * valid[..., None, None]
        return patches + self.mix(activated.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
