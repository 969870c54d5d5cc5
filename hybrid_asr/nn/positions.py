"""Positions: sinusoids that are added, rotations that are applied to queries and keys.  Axes: T positions, D width."""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn


def sinusoids(size: int, dim: int, like: Tensor) -> Float[Tensor, "{size} {dim}"]:
    """The absolute position table of Vaswani et al. (2017): even columns sine, odd columns cosine."""
    return sinusoids_at(torch.arange(size, device=like.device, dtype=torch.float64), dim).to(like.dtype)


def sinusoids_at(positions: Float64[Tensor, " positions"], dim: int) -> Float64[Tensor, "positions {dim}"]:
    """The same for any positions, also negative ones."""
    columns = torch.arange(0, dim, 2, device=positions.device, dtype=torch.float64)
    angles = positions[:, None] * torch.exp(columns * (-math.log(10000.0) / dim))
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class Rotation(nn.Module):
    """Rotary position embedding (Su et al., 2021): each pair of a head's dimensions turns with the position.

    The score of a query and a key then depends on their distance alone, and scaled_dot_product_attention can be used.
    """

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"rotary positions need an even width per head, got {head_dim}; change dim or heads")
        self.head_dim = head_dim

    def table(self, size: int, like: Tensor) -> Float[Tensor, "2 {size} half"]:
        """Cosines and sines for positions 0 … size - 1, computed in float64 so that far positions stay exact."""
        half = self.head_dim // 2
        steps = torch.arange(half, device=like.device, dtype=torch.float64) / half
        angles = torch.arange(size, device=like.device, dtype=torch.float64)[:, None] * 10000.0**-steps
        return torch.stack([angles.cos(), angles.sin()]).to(like.dtype)

    def forward(
        self, heads: Float[Tensor, "batch heads time width"], table: Float[Tensor, "2 time half"]
    ) -> Float[Tensor, "batch heads time width"]:
        """Turn the pairs (i, i + half) of every head by their position's angle."""
        cos, sin = table.to(heads.dtype)
        first, second = heads.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
