"""What a decoder's step returns.  Axes: N hypotheses, L layers, H heads, T' encoder frames, V vocabulary."""

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor


class StepOutput(NamedTuple):
    """One step for all hypotheses; `attention` holds the weights over the encoder states where they were asked for."""

    log_probs: Float[Tensor, "hyps vocab"]
    state: Any  # the decoder's own affair
    attention: Float[Tensor, "layers hyps heads time"] | None
