"""The CTC head.  Axes: B utterances, T' encoder frames, D width, V vocabulary."""

from jaxtyping import Float
from torch import Tensor, nn

from hybrid_asr.models.decoder_step import log_softmax
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.nn.cpu import Linear


class CtcHead(nn.Module):
    """A linear layer and a log-softmax over the vocabulary, blank included (Graves et al., 2006)."""

    def __init__(self, width: int, vocab_size: int) -> None:
        super().__init__()
        self.project = Linear(width, vocab_size)

    def forward(self, encoded: Encoded) -> Float[Tensor, "batch time vocab"]:
        """Log probabilities of every frame, in float32 at least."""
        return log_softmax(self.project(encoded.states))
