"""The Transformer encoder.  Axes: B utterances, T' encoder frames, D width."""

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
from hybrid_asr.nn.cpu import Dropout
from hybrid_asr.nn.feed_forward import FeedForward
from hybrid_asr.nn.positions import Rotation, sinusoids
from hybrid_asr.nn.subsampling import build_subsampling


@config
class TransformerSizes(EncoderSettings):
    """The sizes that every encoder of Transformer layers has."""

    # as in TransformerDecoderConfig: a shared base would move its `kind` behind the other keys in saved configurations
    dim: Annotated[int, Field(gt=0)]
    layers: Annotated[int, Field(gt=0, le=1000)]
    heads: Annotated[int, Field(gt=0)]
    feed_forward: Annotated[int, Field(gt=0)]
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    attention_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    norm_eps: Annotated[float, Field(gt=0, le=1e-3)] = 1e-5

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.dim % 2:
            raise ValueError(
                f"dim {self.dim} must be a multiple of heads {self.heads}, and even: sine and cosine make pairs"
            )

    def check_turns(self) -> None:
        """Raise ValueError where rotary positions have no pairs to turn."""
        if self.dim % (2 * self.heads):
            raise ValueError(
                f"dim {self.dim} must be a multiple of 2 x heads = {2 * self.heads}: rotary positions turn pairs"
            )


@config
class TransformerConfig(TransformerSizes):
    """Sizes of a Transformer encoder; `channels` are those of the convolutional front end.

    `input`: `conv` subsamples by 4, `linear` keeps every frame. `norm_eps: 1e-12` is ESPnet's. `positions`:
    `sinusoidal`, added to the inputs, or `rotary`, applied to queries and keys.
    """

    kind: Literal["transformer"] = "transformer"
    channels: Annotated[int, Field(gt=0)]
    input: Literal["conv", "linear"] = "conv"
    positions: Literal["sinusoidal", "rotary"] = "sinusoidal"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.positions == "rotary":
            self.check_turns()


class TransformerLayer(nn.Module):
    """Self-attention and a feed-forward, each behind a norm (Vaswani et al., 2017; Xiong et al., 2020)."""

    def __init__(self, cfg: TransformerSizes) -> None:
        super().__init__()
        self.attention = SelfAttention(cfg.dim, cfg.heads, dropout=cfg.attention_dropout)
        self.feed_forward = FeedForward(cfg.dim, cfg.feed_forward, dropout=cfg.dropout, activation="relu")
        self.norms = nn.ModuleList(nn.LayerNorm(cfg.dim, eps=cfg.norm_eps) for _ in range(2))
        self.dropout = Dropout(cfg.dropout)

    def forward(
        self,
        x: Float[Tensor, "batch time dim"],
        mask: Bool[Tensor, "batch 1 1 time"],
        *,
        rotation: Rotation | None = None,
        table: Tensor | None = None,
    ) -> Float[Tensor, "batch time dim"]:
        """Apply the layer; `mask` is True at real frames, `table` belongs to `rotation`."""
        x = x + self.dropout(self.attention(self.norms[0](x), mask, rotation=rotation, table=table))
        return x + self.dropout(self.feed_forward(self.norms[1](x)))


class Transformer(nn.Module):
    """Subsampling by 4 or a linear layer, positions, pre-norm Transformer layers (Dong et al., 2018)."""

    def __init__(self, cfg: TransformerConfig, features: int) -> None:
        super().__init__()
        self.width = cfg.dim
        self.subsampling = build_subsampling(cfg.input, features, cfg.dim, channels=cfg.channels, activation="relu")
        self.stride = self.subsampling.stride
        self.dropout = Dropout(cfg.dropout)
        self.rotation = Rotation(cfg.dim // cfg.heads) if cfg.positions == "rotary" else None
        self.layers = nn.ModuleList(TransformerLayer(cfg) for _ in range(cfg.layers))
        self.norm = nn.LayerNorm(cfg.dim, eps=cfg.norm_eps)

    def output_length(self, frames: int) -> int:
        """Encoder frames for a number of feature frames."""
        return self.subsampling.output_length(frames)

    def forward(self, features: Features) -> Encoded:
        """Encode features; padding has no effect on real frames."""
        x, frames = self.subsampling(features.values, features.frames)
        x = x * self.width**0.5
        table = None if self.rotation is None else self.rotation.table(x.shape[1], x)
        x = self.dropout(x if table is not None else x + sinusoids(x.shape[1], self.width, x))
        mask = valid_mask(frames, x.shape[1])[:, None, None]
        for layer in self.layers:
            x = layer(x, mask, rotation=self.rotation, table=table)
        return Encoded(self.norm(x), frames)
