"""What an encoder gives.  Axes: B utterances, T' encoder frames, D width."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Encoded(NamedTuple):
    """Encoder states and how many of them are real; nothing else leaves an encoder."""

    states: Float[Tensor, "batch time dim"]
    frames: Int[Tensor, " batch"]
