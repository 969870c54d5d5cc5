"""The position-wise feed-forward layer.  Axes: B utterances, T positions, D width."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from hybrid_asr.nn.cpu import Dropout, Linear

Activation = Literal["relu", "silu", "tanh", "hardtanh", "selu"]
ACTIVATIONS = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "hardtanh": nn.Hardtanh, "selu": nn.SELU}


class FeedForward(nn.Module):
    """Two linear layers with an activation and dropout between them (Vaswani et al., 2017)."""

    def __init__(self, dim: int, hidden: int, *, dropout: float, activation: Activation) -> None:
        super().__init__()
        self.expand = Linear(dim, hidden)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout)
        self.contract = Linear(hidden, dim)

    def forward(self, values: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        """Apply both layers to each position."""
        return self.contract(self.dropout(self.activation(self.expand(values))))
