"""The Conformer encoder.  Axes: B utterances, T' encoder frames, D width."""

from typing import Annotated, Literal

from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from hybrid_asr.audio.features import Features
from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.settings import EncoderSettings
from hybrid_asr.nn.attention import SelfAttention
from hybrid_asr.nn.convolution import ConvolutionModule
from hybrid_asr.nn.cpu import Dropout
from hybrid_asr.nn.feed_forward import Activation, FeedForward
from hybrid_asr.nn.positions import Rotation
from hybrid_asr.nn.relative_attention import RelativeSelfAttention, distances
from hybrid_asr.nn.subsampling import build_subsampling


@config
class ConformerConfig(EncoderSettings):
    """Sizes of a Conformer; `channels` are those of the convolutional front end, `kernel` is in frames of 40 ms.

    `positions`: `rotary` (fast) or `relative`, as in the original. `norm`, of the convolution module: `layer`, or
    `batch` as in the original, with which an utterance depends on its neighbors in training. `input`: `conv`
    subsamples by 4, `linear` keeps every frame. `final_norm: layer`, another norm behind the last layer's own, and
    `norm_eps: 1e-12` are ESPnet's.
    """

    kind: Literal["conformer"] = "conformer"
    dim: Annotated[int, Field(gt=0)]
    layers: Annotated[int, Field(gt=0, le=1000)]
    heads: Annotated[int, Field(gt=0)]
    feed_forward: Annotated[int, Field(gt=0)]
    kernel: Annotated[int, Field(gt=0)]
    channels: Annotated[int, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    positions: Literal["rotary", "relative"] = "rotary"
    norm: Literal["layer", "batch"] = "layer"
    input: Literal["conv", "linear"] = "conv"
    activation: Activation = "silu"
    final_norm: Literal["none", "layer"] = "none"
    norm_eps: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5

    def __post_init__(self) -> None:
        if self.dim % (2 * self.heads):
            raise ValueError(
                f"dim {self.dim} must be a multiple of 2 x heads = {2 * self.heads}: rotary positions turn pairs"
            )
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd, so that a frame has as many neighbors on each side")


class ConformerLayer(nn.Module):
    """Half a feed-forward, self-attention, convolution, half a feed-forward, a norm (Gulati et al., 2020)."""

    def __init__(self, cfg: ConformerConfig) -> None:
        super().__init__()
        self.feed_forward_in = FeedForward(cfg.dim, cfg.feed_forward, dropout=cfg.dropout, activation=cfg.activation)
        kind = SelfAttention if cfg.positions == "rotary" else RelativeSelfAttention
        self.attention = kind(cfg.dim, cfg.heads, dropout=cfg.attention_dropout)
        self.convolution = ConvolutionModule(cfg.dim, cfg.kernel, cfg.norm, activation=cfg.activation)
        self.feed_forward_out = FeedForward(cfg.dim, cfg.feed_forward, dropout=cfg.dropout, activation=cfg.activation)
        self.norms = nn.ModuleList(nn.LayerNorm(cfg.dim, eps=cfg.norm_eps) for _ in range(5))
        self.dropout = Dropout(cfg.dropout)

    def forward(
        self, x: Float[Tensor, "batch time dim"], valid: Bool[Tensor, "batch time"], rotation: Rotation, table: Tensor
    ) -> Float[Tensor, "batch time dim"]:
        """Apply the layer; `valid` marks real frames, `table` belongs to the kind of positions."""
        x = x + 0.5 * self.dropout(self.feed_forward_in(self.norms[0](x)))
        x = x + self.dropout(self._attend(self.norms[1](x), valid[:, None, None], rotation, table))
        x = x + self.dropout(self.convolution(self.norms[2](x), valid))
        x = x + 0.5 * self.dropout(self.feed_forward_out(self.norms[3](x)))
        return self.norms[4](x)

    def _attend(self, x: Tensor, mask: Tensor, rotation: Rotation, table: Tensor) -> Tensor:
        if isinstance(self.attention, RelativeSelfAttention):
            return self.attention(x, mask, table)
        return self.attention(x, mask, rotation=rotation, table=table)


class Conformer(nn.Module):
    """Convolutional subsampling by 4, or a linear layer, then Conformer layers."""

    def __init__(self, cfg: ConformerConfig, features: int) -> None:
        super().__init__()
        self.width, self.positions = cfg.dim, cfg.positions
        self.subsampling = build_subsampling(cfg.input, features, cfg.dim, channels=cfg.channels, activation="none")
        self.stride = self.subsampling.stride
        self.dropout = Dropout(cfg.dropout)
        self.rotation = Rotation(cfg.dim // cfg.heads)
        self.layers = nn.ModuleList(ConformerLayer(cfg) for _ in range(cfg.layers))
        self.norm = nn.LayerNorm(cfg.dim, eps=cfg.norm_eps) if cfg.final_norm == "layer" else nn.Identity()

    def output_length(self, frames: int) -> int:
        """Encoder frames for a number of feature frames."""
        return self.subsampling.output_length(frames)

    def forward(self, features: Features) -> Encoded:
        """Encode features; padding has no effect on real frames."""
        x, frames = self.subsampling(features.values, features.frames)
        x = self.dropout(x * self.width**0.5)  # else the first layers' biases dominate the input, and learning stalls
        valid, table = valid_mask(frames, x.shape[1]), self._table(x)
        for layer in self.layers:
            x = layer(x, valid, self.rotation, table)
        return Encoded(self.norm(x), frames)

    def _table(self, x: Float[Tensor, "batch time dim"]) -> Tensor:
        """The table of positions that every layer's attention uses."""
        size = x.shape[1]
        return self.rotation.table(size, x) if self.positions == "rotary" else distances(size, self.width, x)
