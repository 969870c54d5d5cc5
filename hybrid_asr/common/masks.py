"""The one mask convention: True marks real positions, padding is on the right.  Axes: B utterances, T positions."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def valid_mask(lengths: Int[Tensor, " batch"], size: int) -> Bool[Tensor, "batch {size}"]:
    """Mark real positions; `size` comes from the tensor, since lengths.max().item() would stop the GPU."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]
