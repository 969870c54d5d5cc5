"""How a recurrent decoder attends: one query for each hypothesis and step.

Axes: U utterances, K hypotheses of each, H heads, T frames, M width of the frames, A width of the comparison.
"""

import abc
from typing import Annotated, Literal, NamedTuple, assert_never

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config
from hybrid_asr.nn.attention import join_heads, split_heads
from hybrid_asr.nn.cpu import Linear

Positive = Annotated[int, Field(gt=0)]


class AttentionKindSettings:
    """What a decoder asks of the settings of each kind of attention."""

    @property
    def is_learned(self) -> bool:
        """Whether training decides where it goes."""
        return True


@config
class AdditiveConfig(AttentionKindSettings):
    """e_j = vᵀ tanh(W s + U h_j + b) (Bahdanau et al., 2015), compared in `dim` dimensions."""

    kind: Literal["additive"] = "additive"
    dim: Positive


@config
class LocationConfig(AttentionKindSettings):
    """Additive, with a convolution of the previous step's weights as another input (Chorowski et al., 2015).

    `kernel` is in encoder frames, `channels` are the filters.
    """

    kind: Literal["location"] = "location"
    dim: Positive
    kernel: Positive = 31
    channels: Positive = 10

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd, so that a frame has as many neighbors on each side")


@config
class DotConfig(AttentionKindSettings):
    """e_j = (W s)ᵀ (U h_j), compared in `dim` dimensions (Chan et al., 2016)."""

    kind: Literal["dot"] = "dot"
    dim: Positive


@config
class MultiheadConfig(AttentionKindSettings):
    """Scaled dot products in `heads` parts of `dim` dimensions, side by side (Vaswani et al., 2017)."""

    kind: Literal["multihead"] = "multihead"
    dim: Positive
    heads: Positive = 4

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} must be a multiple of heads {self.heads}")


@config
class FixedConfig(AttentionKindSettings):
    """The last real frame at every step, as before attention was introduced (Sutskever et al., 2014)."""

    kind: Literal["fixed"] = "fixed"

    @property
    def is_learned(self) -> bool:
        """It is the same frame whatever was learned."""
        return False


AttentionConfig = Annotated[
    AdditiveConfig | LocationConfig | DotConfig | MultiheadConfig | FixedConfig, Field(discriminator="kind")
]


class Memory(NamedTuple):
    """The frames of each utterance, projected once for all its hypotheses and steps."""

    keys: Float[Tensor, "utterances heads time dim"]  # what queries are compared with
    values: Float[Tensor, "utterances heads time width"]  # what is mixed
    padding: Bool[Tensor, "utterances 1 1 time"]

    def keep(self, utterances: Int[Tensor, " live"]) -> "Memory":
        """Drop all utterances but `utterances`."""
        return Memory(*(part[utterances] for part in self))


Queries = Float[Tensor, "utterances hyps dim"]
Weights = Float[Tensor, "utterances heads hyps time"]


class Attention(nn.Module, abc.ABC):
    """What every kind of attention provides to a decoder. `width` is the mixture's.

    Weights sum to one over the real frames and are zero elsewhere; an utterance without real frames has none, and a
    mixture of zeros.
    """

    heads: int
    width: int

    @abc.abstractmethod
    def memory(self, states: Float[Tensor, "utterances time width"], frames: Int[Tensor, " utterances"]) -> Memory:
        """What queries attend to, computed once per utterance."""

    @abc.abstractmethod
    def forward(self, queries: Queries, memory: Memory, previous: Weights) -> tuple[Tensor, Weights]:
        """The mixture (U, K, `width`) and the weights of one step; `previous` are those of the step before."""

    def first(self, memory: Memory, hyps: int) -> Weights:
        """The weights before the first step: all on the first frame, where speech begins."""
        utterances, _, _, time = memory.padding.shape
        weights = memory.values.new_zeros(utterances, self.heads, hyps, time)
        weights[..., :1] = 1
        return weights.masked_fill(memory.padding, 0.0)


class ComparingAttention(Attention):
    """Compares each query with every frame."""

    @abc.abstractmethod
    def project(self, states: Float[Tensor, "utterances time width"]) -> tuple[Tensor, Tensor]:
        """Keys and values of all frames."""

    @abc.abstractmethod
    def scores(self, queries: Queries, memory: Memory, previous: Weights) -> Weights:
        """How well each frame matches each query."""

    def memory(self, states: Float[Tensor, "utterances time width"], frames: Int[Tensor, " utterances"]) -> Memory:
        """Project the frames of each utterance to keys and values."""
        return Memory(*self.project(states), ~valid_mask(frames, states.shape[1])[:, None, None])

    def forward(self, queries: Queries, memory: Memory, previous: Weights) -> tuple[Tensor, Weights]:
        """Softmax is taken in float32 at least."""
        scores = self.scores(queries, memory, previous)
        exact = scores if scores.dtype == torch.float64 else scores.float()
        weights = exact.masked_fill(memory.padding, -torch.inf).softmax(-1).masked_fill(memory.padding, 0.0)
        weights = weights.to(memory.values.dtype)
        return join_heads(weights @ memory.values), weights


class AdditiveAttention(ComparingAttention):
    """vᵀ tanh(W s + U h_j + b)."""

    heads = 1

    def __init__(self, dim: int, query_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.width = memory_dim
        self.query = Linear(query_dim, dim, bias=False)
        self.key = Linear(memory_dim, dim)
        self.direction = Linear(dim, 1, bias=False)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Projected keys; the frames themselves are the values."""
        return self.key(states)[:, None], states[:, None]

    def scores(self, queries: Queries, memory: Memory, previous: Weights) -> Weights:
        """vᵀ tanh(W s + U h_j + b) of each frame."""
        sums = self.query(queries)[:, None, :, None] + memory.keys[:, :, None]  # (U, 1, K, T, A)
        return self.direction(sums.tanh())[..., 0]


class LocationAttention(AdditiveAttention):
    """vᵀ tanh(W s + U h_j + V (F * α)_j + b), α being the weights of the step before."""

    def __init__(self, cfg: LocationConfig, query_dim: int, memory_dim: int) -> None:
        super().__init__(cfg.dim, query_dim, memory_dim)
        self.reach = cfg.kernel // 2
        self.filters = nn.Parameter(torch.empty(cfg.kernel, cfg.channels).uniform_(-1, 1) * cfg.kernel**-0.5)
        self.place = Linear(cfg.channels, cfg.dim, bias=False)

    def scores(self, queries: Queries, memory: Memory, previous: Weights) -> Weights:
        """The additive scores with the previous weights' convolution in the sum."""
        around = F.pad(previous, (self.reach, self.reach)).unfold(-1, 2 * self.reach + 1, 1)  # (U, 1, K, T, kernel)
        location = around @ (self.filters @ self.place.weight.T)
        sums = self.query(queries)[:, None, :, None] + memory.keys[:, :, None] + location
        return self.direction(sums.tanh())[..., 0]


class DotAttention(ComparingAttention):
    """(W s)ᵀ (U h_j)."""

    heads = 1

    def __init__(self, dim: int, query_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.width = memory_dim
        self.query = Linear(query_dim, dim)
        self.key = Linear(memory_dim, dim)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Projected keys; the frames themselves are the values."""
        return self.key(states)[:, None], states[:, None]

    def scores(self, queries: Queries, memory: Memory, previous: Weights) -> Weights:
        """The dot product of each query and key."""
        return self.query(queries)[:, None] @ memory.keys.transpose(-2, -1)


class MultiheadAttention(ComparingAttention):
    """Scaled dot products, several side by side."""

    def __init__(self, cfg: MultiheadConfig, query_dim: int, memory_dim: int) -> None:
        super().__init__()
        self.width, self.heads = cfg.dim, cfg.heads
        self.query = Linear(query_dim, cfg.dim)
        self.key_value = Linear(memory_dim, 2 * cfg.dim)

    def project(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, split into heads."""
        keys, values = self.key_value(states).chunk(2, dim=-1)
        return split_heads(keys, self.heads), split_heads(values, self.heads)

    def scores(self, queries: Queries, memory: Memory, previous: Weights) -> Weights:
        """Dot products by sqrt(width) of a head."""
        heads = split_heads(self.query(queries), self.heads)
        return heads @ memory.keys.transpose(-2, -1) / heads.shape[-1] ** 0.5


class FixedAttention(Attention):
    """The last real frame, whatever the query; its keys are the weights."""

    heads = 1

    def __init__(self, memory_dim: int) -> None:
        super().__init__()
        self.width = memory_dim

    def memory(self, states: Float[Tensor, "utterances time width"], frames: Int[Tensor, " utterances"]) -> Memory:
        """The last real frame of each utterance, and a weight of 1 for it."""
        valid = valid_mask(frames, states.shape[1])
        last = (valid & ~valid_mask(frames - 1, states.shape[1])).to(states.dtype)[:, None, None]  # (U, 1, 1, T)
        return Memory(last, last @ states[:, None], ~valid[:, None, None])

    def forward(self, queries: Queries, memory: Memory, previous: Weights) -> tuple[Tensor, Weights]:
        """The same frame and weights for every query."""
        hyps = queries.shape[1]
        return memory.values[:, 0].expand(-1, hyps, -1), memory.keys.expand(-1, -1, hyps, -1)


def build_attention(cfg: AttentionConfig, *, query_dim: int, memory_dim: int) -> Attention:
    """Build a kind for a decoder's state and an encoder's width."""
    match cfg:
        case AdditiveConfig():
            return AdditiveAttention(cfg.dim, query_dim, memory_dim)
        case LocationConfig():
            return LocationAttention(cfg, query_dim, memory_dim)
        case DotConfig():
            return DotAttention(cfg.dim, query_dim, memory_dim)
        case MultiheadConfig():
            return MultiheadAttention(cfg, query_dim, memory_dim)
        case FixedConfig():
            return FixedAttention(memory_dim)
        case _:
            assert_never(cfg)
