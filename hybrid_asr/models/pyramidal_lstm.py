"""The pyramidal recurrent encoder of Listen, Attend and Spell.  Axes: B utterances, T frames, D width."""

from typing import Annotated, Literal

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from hybrid_asr.audio.features import Features
from hybrid_asr.config.schema import config
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.settings import EncoderSettings
from hybrid_asr.nn.cpu import Dropout, Linear
from hybrid_asr.nn.recurrent import BidirectionalLstm
from hybrid_asr.nn.subsampling import ConvSubsampling, JoinedInput, join_frames, joined_length

Positive = Annotated[int, Field(gt=0)]


@config
class PyramidalLstmConfig(EncoderSettings):
    """Sizes of a pyramidal LSTM, the "listener" of Chan et al. (2016).

    `dim` is the width of its states, `cells` that of one direction of a layer. Layer i first joins `joins[i]`
    neighboring frames: (1, 2, 2) leaves a quarter of the frames. A group that the end of the utterance leaves
    incomplete is filled with zeros. `input`: `conv` subsamples by 4 (`channels`), `joined` joins `join` feature frames.
    """

    kind: Literal["listener"] = "listener"
    dim: Positive
    cells: Positive
    joins: Annotated[tuple[Annotated[int, Field(gt=0, le=100)], ...], Field(min_length=1, max_length=100)]
    channels: Positive = 32
    input: Literal["conv", "joined"] = "conv"
    join: Annotated[int, Field(gt=0, le=100)] = 3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1


class PyramidalLstmLayer(nn.Module):
    """Joined neighbors, a bidirectional LSTM, a norm."""

    def __init__(self, inputs: int, cells: int, join: int, dropout: float) -> None:
        super().__init__()
        self.join = join
        self.lstm = BidirectionalLstm(inputs * join, cells)
        self.norm = nn.LayerNorm(2 * cells)
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Float[Tensor, "batch time dim"], frames: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch shorter both"], Int[Tensor, " batch"]]:
        """Return the shorter sequence and its lengths."""
        x, frames = join_frames(x, frames, self.join)
        return self.dropout(self.norm(self.lstm(x, frames))), frames


class PyramidalLstm(nn.Module):
    """Pyramidal bidirectional LSTM (Chan et al., 2016) behind convolutions (Zhang et al., 2017) or joined frames."""

    def __init__(self, cfg: PyramidalLstmConfig, features: int) -> None:
        super().__init__()
        self.width = cfg.dim
        conv = cfg.input == "conv"
        self.subsampling = (
            ConvSubsampling(features, cfg.channels, cfg.dim) if conv else JoinedInput(features, cfg.join, cfg.dim)
        )
        self.norm = nn.LayerNorm(cfg.dim)  # else the first layer's biases dominate the input, and learning stalls
        self.dropout = Dropout(cfg.dropout)
        widths = [cfg.dim] + [2 * cfg.cells] * len(cfg.joins)
        self.layers = nn.ModuleList(
            PyramidalLstmLayer(width, cfg.cells, join, cfg.dropout)
            for width, join in zip(widths[:-1], cfg.joins, strict=True)
        )
        self.project = Linear(widths[-1], cfg.dim)
        self.joins = cfg.joins
        self.stride = self.subsampling.stride
        for join in cfg.joins:
            self.stride *= join

    def output_length(self, frames: int) -> int:
        """Encoder frames for a number of feature frames."""
        length = self.subsampling.output_length(frames)
        for join in self.joins:
            length = joined_length(length, join)
        return length

    def forward(self, features: Features) -> Encoded:
        """Encode features; padding has no effect on real frames."""
        x, frames = self.subsampling(features.values, features.frames)
        x = self.dropout(self.norm(x))
        for layer in self.layers:
            x, frames = layer(x, frames)
        return Encoded(self.project(x), frames)
