"""Multi-head attention.  Axes: B utterances, Q queries, K keys, H heads, D model width."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from hybrid_asr.nn.cpu import Linear
from hybrid_asr.nn.positions import Rotation

Heads = Float[Tensor, "batch heads time width"]


class KeysValues(NamedTuple):
    """What queries attend to: keys and values, split into heads."""

    keys: Float[Tensor, "batch heads time width"]
    values: Float[Tensor, "batch heads time width"]


def split_heads(values: Float[Tensor, "batch time dim"], heads: int) -> Float[Tensor, "batch heads time width"]:
    """(B, T, D) to (B, H, T, D/H)."""
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(values: Float[Tensor, "batch heads time width"]) -> Float[Tensor, "batch time dim"]:
    """(B, H, T, D/H) to (B, T, D)."""
    return values.transpose(1, 2).flatten(2)


def attention_weights(
    queries: Float[Tensor, "batch heads queries width"],
    keys: Float[Tensor, "batch heads keys width"],
    mask: Bool[Tensor, "#batch #heads #queries keys"] | None,
    *,
    bias: Float[Tensor, "batch heads queries keys"] | None = None,
) -> Float[Tensor, "batch heads queries keys"]:
    """The weights that scaled_dot_product_attention uses and does not show: they sum to one over the real keys.

    Where there is no real key they are zero, as there. `bias` is added to the products before these are scaled.
    """
    products = queries @ keys.transpose(-2, -1)
    scores = (products if bias is None else products + bias) / queries.shape[-1] ** 0.5
    if mask is None:
        return scores.softmax(dim=-1)
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1).masked_fill(~mask, 0.0)


class ScaledDotProduct(nn.Module):
    """Mixes values by the softmax of queries · keys / sqrt(D/H) (Vaswani et al., 2017).

    It has no parameters. It is a module so that a forward hook sees what the weights are made from: `weights` takes the
    arguments of `forward`. So weights cost nothing where nobody asks for them
    (`hybrid_asr/attention/capture.py`).
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, queries: Heads, memory: KeysValues, mask: Tensor | None, *, causal: bool = False) -> Heads:
        """Mix the values for each query; `mask` is True where it may attend, `causal` hides later positions."""
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(queries, *memory, mask, dropout, causal)

    def weights(
        self, queries: Heads, memory: KeysValues, mask: Tensor | None, *, causal: bool = False
    ) -> Float[Tensor, "batch heads queries keys"]:
        """The weights by which `forward` mixes, before any dropout; they sum to one over the keys that are seen."""
        if causal:
            size = queries.shape[2], memory.keys.shape[2]
            past = torch.ones(size, dtype=torch.bool, device=queries.device).tril()[None, None]
            mask = past if mask is None else mask & past
        return attention_weights(queries, memory.keys, mask)


class SelfAttention(nn.Module):
    """Every position attends to every real position of its own sequence (Vaswani et al., 2017)."""

    def __init__(self, dim: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.project = Linear(dim, 3 * dim)  # queries, keys and values in one product
        self.output = Linear(dim, dim)
        self.kernel = ScaledDotProduct(dropout)

    def queries_keys_values(self, values: Float[Tensor, "batch time dim"]) -> tuple[Heads, KeysValues]:
        """Project `values` once for all three roles."""
        queries, keys, values = self.roles(values).unbind(0)
        return queries, KeysValues(keys, values)

    def roles(self, values: Float[Tensor, "batch time dim"]) -> Float[Tensor, "3 batch heads time width"]:
        """The same as one tensor: queries, then keys, then values."""
        return self.project(values).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def forward(
        self,
        values: Float[Tensor, "batch time dim"],
        mask: Bool[Tensor, "batch 1 1 time"] | None,
        *,
        rotation: Rotation | None = None,
        table: Tensor | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "batch time dim"]:
        """Mix `values`; `mask` is True where a position may attend; `causal` hides later positions."""
        queries, memory = self.queries_keys_values(values)
        if rotation is not None:
            queries, memory = rotation(queries, table), KeysValues(rotation(memory.keys, table), memory.values)
        return self.mix(queries, memory, mask, causal=causal)

    def mix(self, queries: Heads, memory: KeysValues, mask: Tensor | None, *, causal: bool = False) -> Tensor:
        """Attend with projected queries to projected keys and values."""
        return self.output(join_heads(self.kernel(queries, memory, mask, causal=causal)))


class CrossAttention(nn.Module):
    """Positions of one sequence attend to another one, whose keys and values are projected once."""

    def __init__(self, dim: int, memory_dim: int, heads: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(dim, dim)
        self.key_value = Linear(memory_dim, 2 * dim)
        self.output = Linear(dim, dim)
        self.kernel = ScaledDotProduct(dropout)

    def queries(self, values: Float[Tensor, "batch queries dim"]) -> Float[Tensor, "batch heads queries width"]:
        """Project and split the queries."""
        return split_heads(self.query(values), self.heads)

    def memory(self, states: Float[Tensor, "batch time memory_dim"]) -> KeysValues:
        """Project and split keys and values."""
        return KeysValues(*(split_heads(part, self.heads) for part in self.key_value(states).chunk(2, dim=-1)))

    def forward(
        self, values: Float[Tensor, "batch queries dim"], memory: KeysValues, mask: Bool[Tensor, "batch 1 1 time"]
    ) -> Float[Tensor, "batch queries dim"]:
        """Mix `memory` for each of `values`; `mask` is True where a query may attend."""
        return self.mix(self.queries(values), memory, mask)

    def mix(self, queries: Heads, memory: KeysValues, mask: Tensor | None) -> Float[Tensor, "batch queries dim"]:
        """Attend with projected queries to projected keys and values."""
        return self.output(join_heads(self.kernel(queries, memory, mask)))
