"""Self-attention with relative positions.  Axes: B utterances, T positions, P = 2T - 1 distances, H heads, D width."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hybrid_asr.nn.attention import (
    Heads,
    KeysValues,
    ScaledDotProduct,
    attention_weights,
    join_heads,
    split_heads,
)
from hybrid_asr.nn.cpu import Dropout, Linear
from hybrid_asr.nn.positions import sinusoids_at


def distances(size: int, dim: int, like: Tensor) -> Float[Tensor, "distances {dim}"]:
    """Sinusoids of the distances size - 1 … 1 - size of a query from a key, the farthest past first."""
    return sinusoids_at(torch.arange(size - 1, -size, -1, device=like.device, dtype=torch.float64), dim).to(like.dtype)


class BiasedDotProduct(ScaledDotProduct):
    """The same with a number added to the product of each query and key, before it is scaled."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.drop = Dropout(dropout)

    def forward(self, queries: Heads, memory: KeysValues, mask: Tensor, *, bias: Tensor) -> Heads:  # type: ignore[override]
        """Mix the values for each query; `mask` is True where it may look."""
        scores = (queries @ memory.keys.transpose(-2, -1) + bias) * queries.shape[-1] ** -0.5
        weights = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).softmax(-1)  # no NaN for an empty utterance
        return self.drop(weights) @ memory.values

    def weights(self, queries: Heads, memory: KeysValues, mask: Tensor, *, bias: Tensor) -> Tensor:  # type: ignore[override]
        """The weights by which `forward` mixes, before any dropout; zero where there is no real key at all."""
        return attention_weights(queries, memory.keys, mask, bias=bias)


class RelativeSelfAttention(nn.Module):
    """Attention whose scores add content and distance, each with a learned bias (Transformer-XL; Dai et al., 2019).

    score(i, k) = ((q_i + u) · k_k + (q_i + v) · W p_{i-k}) / sqrt(D/H)
    """

    def __init__(self, dim: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.project = Linear(dim, 3 * dim)  # queries, keys and values in one product
        self.distance = Linear(dim, dim, bias=False)
        self.content_bias = nn.Parameter(torch.empty(heads, dim // heads))
        self.distance_bias = nn.Parameter(torch.empty(heads, dim // heads))
        nn.init.xavier_uniform_(self.content_bias)
        nn.init.xavier_uniform_(self.distance_bias)
        self.output = Linear(dim, dim)
        self.kernel = BiasedDotProduct(dropout)

    def forward(
        self,
        values: Float[Tensor, "batch time dim"],
        mask: Bool[Tensor, "batch 1 1 time"],
        table: Float[Tensor, "distances dim"],
    ) -> Float[Tensor, "batch time dim"]:
        """Mix `values`; `mask` is True where a position may look, `table` comes from `distances`."""
        queries, keys, values = (split_heads(part, self.heads) for part in self.project(values).chunk(3, dim=-1))
        distance_keys = split_heads(self.distance(table)[None], self.heads)  # (1, H, P, D/H)
        distance_scores = (queries + self.distance_bias[:, None]) @ distance_keys.transpose(-2, -1)
        content_queries = queries + self.content_bias[:, None]
        mixed = self.kernel(content_queries, KeysValues(keys, values), mask, bias=to_keys(distance_scores))
        return self.output(join_heads(mixed))


def to_keys(
    scores: Float[Tensor, "batch heads queries distances"],
) -> Float[Tensor, "batch heads queries keys"]:
    """Pick for query i and key k the score of distance i - k: row i begins at column T - 1 - i."""
    return _ToKeys.apply(scores.contiguous())  # type: ignore[no-any-return]


class _ToKeys(torch.autograd.Function):
    """A view: each row of the result begins one number earlier, so its stride is one number shorter."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        ctx.shape = scores.shape
        return _shifted(scores)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].new_zeros(ctx.shape)
        _shifted(gradient).copy_(gradients[0])
        return gradient


def _shifted(scores: Tensor) -> Tensor:
    batch, heads, size, width = scores.shape
    strides = (heads * size * width, size * width, width - 1, 1)
    return scores.as_strided((batch, heads, size, size), strides, scores.storage_offset() + size - 1)
