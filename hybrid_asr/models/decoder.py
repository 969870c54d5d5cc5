"""The attention decoders one can choose from, and how one is built.  Axes: N hypotheses, V vocabulary."""

from typing import Annotated, Any, Literal, Protocol, TypeVar, assert_never, runtime_checkable

from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from hybrid_asr.models.decoder_step import StepOutput
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.lstm_decoder import LstmDecoder, LstmDecoderConfig
from hybrid_asr.models.plugin import DecoderPlugin, PluginConfig, build_plugin
from hybrid_asr.models.plugin_checks import check_decoder
from hybrid_asr.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig

__all__ = ["AttendingDecoder", "Decoder", "DecoderConfig", "StepOutput", "build_decoder"]

DecoderConfig = Annotated[TransformerDecoderConfig | LstmDecoderConfig | PluginConfig, Field(discriminator="kind")]

State = TypeVar("State")


@runtime_checkable
class Decoder(Protocol[State]):
    """Predicts label after label: all at once for known labels, step by step in a search; its state is a value."""

    def __call__(self, encoded: Encoded, labels: Tensor) -> Tensor: ...

    def start(self, encoded: Encoded, beams: int) -> State:
        """The state without labels: `beams` hypotheses for each utterance, side by side."""
        ...

    def step(self, state: State, last: Tensor, *, weights: Literal["none", "all"] = "none") -> StepOutput:
        """Log probabilities of the next label of every hypothesis, and the state after it; `last` is sos at first."""
        ...

    def reorder(self, state: State, parents: Int[Tensor, " kept"]) -> State:
        """Continue with the hypotheses `parents`, equally many of each utterance."""
        ...

    def keep(self, state: State, utterances: Int[Tensor, " live"]) -> State:
        """Drop all utterances but `utterances`, with their hypotheses."""
        ...


@runtime_checkable
class AttendingDecoder(Decoder[Any], Protocol):
    """A decoder that can also show in training where it looks, of each labeling: (rows, heads, L + 1, T')."""

    def attended(self, encoded: Encoded, labels: Tensor) -> tuple[Tensor, Float[Tensor, "rows heads steps time"]]:
        """Logits as of the call, and the attention weights of every step."""
        ...


def build_decoder(cfg: DecoderConfig, *, memory_dim: int, vocab_size: int, sos: int) -> Decoder[Any]:
    """Build the decoder for an encoder's width and a tokenizer's vocabulary; a plugin's decoder is tried out.

    Raises PluginError and ConfigError.
    """
    match cfg:
        case TransformerDecoderConfig():
            return TransformerDecoder(cfg, memory_dim, vocab_size, sos)
        case LstmDecoderConfig():
            return LstmDecoder(cfg, memory_dim, vocab_size, sos)
        case PluginConfig():
            decoder, label = build_plugin(DecoderPlugin, cfg, memory_dim=memory_dim, vocab_size=vocab_size, sos=sos)
            check_decoder(decoder, memory_dim=memory_dim, vocab_size=vocab_size, sos=sos, label=label)
            return decoder
        case _:
            assert_never(cfg)
