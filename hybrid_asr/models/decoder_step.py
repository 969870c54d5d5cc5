"""What a decoder's step returns.  Axes: N hypotheses, L layers, H heads, T' encoder frames, V vocabulary."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class StepOutput(NamedTuple):
    """One step for all hypotheses; `attention` holds the weights over the encoder states if they were requested."""

    log_probs: Float[Tensor, "hyps vocab"]
    state: Any  # private to the decoder
    attention: Float[Tensor, "layers hyps heads time"] | None


def log_softmax(logits: Float[Tensor, "*rows vocab"]) -> Float[Tensor, "*rows vocab"]:
    """Log probabilities, in float32 at least."""
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)
