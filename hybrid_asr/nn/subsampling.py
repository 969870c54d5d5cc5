"""From features to a model's width.  Axes: B utterances, T frames, T' shorter, F features, C channels, D width."""

from typing import Literal, TypeVar

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.masks import valid_mask
from hybrid_asr.nn.cpu import Linear

Length = TypeVar("Length", int, Tensor)

STRIDE = 4  # feature frames from one output frame to the next
SMALLEST_INPUT = 7  # frames that give one output frame


def subsampled_length(frames: Length) -> Length:
    """Frames left of `frames` by two 3x3 convolutions of stride 2 without padding; fewer than seven leave none."""
    return ((frames - 1) // 2 - 1) // 2


class ConvSubsampling(nn.Module):
    """Two 3x3 convolutions of stride 2 over time and frequency, then a projection: 4x fewer frames (Dong et al., 2018).

    The convolutions do not pad, so that a real output frame sees real input frames only and no mask is needed.
    """

    stride = STRIDE

    def __init__(self, features: int, channels: int, dim: int) -> None:
        super().__init__()
        if features < SMALLEST_INPUT:
            raise UserError(f"{features} features a frame are too few to be subsampled; give {SMALLEST_INPUT} or more")
        self.first = nn.Conv2d(1, channels, 3, stride=2)
        self.second = nn.Conv2d(channels, channels, 3, stride=2)
        self.project = Linear(channels * subsampled_length(features), dim)

    def forward(
        self, values: Float[Tensor, "batch time features"], frames: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch shorter dim"], Int[Tensor, " batch"]]:
        """Return the shorter sequence and its lengths."""
        missing = max(0, SMALLEST_INPUT - values.shape[1])
        image = F.pad(values, (0, 0, 0, missing)).unsqueeze(1)
        image = self.second(self.first(image).relu()).relu()  # (B, C, T', F')
        return self.project(image.transpose(1, 2).flatten(2)), subsampled_length(frames).clamp(min=0)

    @staticmethod
    def output_length(frames: int) -> int:
        """Frames left of a number of feature frames."""
        return max(0, subsampled_length(frames))


def joined_length(frames: Length, join: int) -> Length:
    """Groups of `join` neighbors, the last of which the end may leave incomplete."""
    return -(-frames // join)


def join_frames(
    values: Float[Tensor, "batch time dim"], frames: Int[Tensor, " batch"], join: int
) -> tuple[Float[Tensor, "batch shorter joined"], Int[Tensor, " batch"]]:
    """Put `join` neighbors side by side (Chan et al., 2016); an incomplete last group is filled with zeros.

    There is one group at least, so that later layers never get an empty input.
    """
    if join == 1 and values.shape[1] > 0:
        return values, frames
    masked = values * valid_mask(frames, values.shape[1])[..., None]
    missing = max(1, joined_length(values.shape[1], join)) * join - values.shape[1]
    return F.pad(masked, (0, 0, 0, missing)).unflatten(1, (-1, join)).flatten(2), joined_length(frames, join)


class JoinedInput(nn.Module):
    """Neighboring feature frames side by side, and a linear layer."""

    def __init__(self, features: int, join: int, dim: int) -> None:
        super().__init__()
        self.stride = join
        self.project = Linear(features * join, dim)

    def forward(
        self, values: Float[Tensor, "batch time features"], frames: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch shorter dim"], Int[Tensor, " batch"]]:
        """Return the shorter sequence and its lengths."""
        joined, frames = join_frames(values, frames, self.stride)
        return self.project(joined), frames

    def output_length(self, frames: int) -> int:
        """Groups of a number of feature frames."""
        return joined_length(frames, self.stride)


class LinearInput(nn.Module):
    """A linear layer and a norm for each frame, whose number stays (ESPnet's `input_layer: linear`)."""

    stride = 1

    def __init__(self, features: int, dim: int, *, activation: Literal["none", "relu"]) -> None:
        super().__init__()
        self.project = Linear(features, dim)
        self.norm = nn.LayerNorm(dim)
        self.activation = activation

    def forward(
        self, values: Float[Tensor, "batch time features"], frames: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch time dim"], Int[Tensor, " batch"]]:
        """Return a wider sequence of the same lengths."""
        normed = self.norm(self.project(values))
        return (normed.relu() if self.activation == "relu" else normed), frames

    @staticmethod
    def output_length(frames: int) -> int:
        """As many frames as there are feature frames."""
        return frames


def build_subsampling(
    kind: Literal["conv", "linear"],
    features: int,
    dim: int,
    *,
    channels: int,
    activation: Literal["none", "relu"],
) -> ConvSubsampling | LinearInput:
    """Convolutions with `channels` channels, or a linear layer, which `activation` follows."""
    if kind == "conv":
        return ConvSubsampling(features, channels, dim)
    return LinearInput(features, dim, activation=activation)
