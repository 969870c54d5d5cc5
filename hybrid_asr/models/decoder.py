"""The attention decoders one can choose from, and how one is built.  Axes: N hypotheses, V units."""

from typing import Literal, Protocol, TypeVar, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import StepOutput, TransformerDecoder, TransformerDecoderConfig

__all__ = ["Decoder", "DecoderConfig", "StepOutput", "build_decoder"]

DecoderConfig = TransformerDecoderConfig

State = TypeVar("State")


@runtime_checkable
class Decoder(Protocol[State]):
    """Predicts label after label: all at once for known labels, step by step in a search; its state is a value."""

    def __call__(self, encoded: Encoded, labels: Tensor) -> Tensor: ...

    def start(self, encoded: Encoded, beams: int) -> State: ...

    def step(self, state: State, last: Tensor, *, weights: Literal["none", "all"] = "none") -> StepOutput: ...

    def reorder(self, state: State, parents: Int[Tensor, " kept"]) -> State: ...

    def keep(self, state: State, utterances: Int[Tensor, " live"]) -> State: ...


def build_decoder(cfg: DecoderConfig, *, memory_dim: int, units: int, sos: int) -> TransformerDecoder:
    """Build the decoder for an encoder's width and a tokenizer's units."""
    return TransformerDecoder(cfg, memory_dim, units, sos)
