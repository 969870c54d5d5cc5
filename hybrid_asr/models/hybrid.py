"""One encoder, a CTC head and an attention decoder.  Axes: B utterances, T' encoder frames, L labels, V vocabulary."""

from typing import Any, Literal, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from hybrid_asr.audio.features import Features
from hybrid_asr.config.schema import config
from hybrid_asr.models.ctc import CtcHead
from hybrid_asr.models.decoder import AttendingDecoder, Decoder, DecoderConfig, build_decoder
from hybrid_asr.models.encoder import Encoded, Encoder, EncoderConfig, build_encoder


@config
class ModelConfig:
    """An encoder and a decoder; `loss.ctc_weight` decides which heads are built."""

    encoder: EncoderConfig
    decoder: DecoderConfig


class Outputs(NamedTuple):
    """What training needs; a part that the model lacks is None."""

    ctc_log_probs: Float[Tensor, "batch time vocab"] | None
    logits: Float[Tensor, "batch steps vocab"] | None
    frames: Int[Tensor, " batch"]
    attention: Float[Tensor, "batch heads steps time"] | None = None  # where it was asked for


class HybridModel(nn.Module):
    """Hybrid CTC/attention model (Watanabe et al., 2017): CTC or attention alone is the same class without a part."""

    def __init__(self, encoder: Encoder, ctc: CtcHead | None, decoder: Decoder[Any] | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.ctc = ctc
        self.decoder = decoder

    def encode(self, features: Features) -> Encoded:
        """Run the encoder."""
        return self.encoder(features)

    def output_length(self, frames: int) -> int:
        """Encoder frames for a number of feature frames."""
        return self.encoder.output_length(frames)

    def forward(
        self, features: Features, labels: Int[Tensor, "batch labels"], *, weights: Literal["none", "all"] = "none"
    ) -> Outputs:
        """All outputs for known labels; padded positions hold numbers that mean nothing.

        `weights` asks for those of attention, which the decoder must be able to show in training.
        """
        encoded = self.encoder(features)
        ctc = self.ctc(encoded) if self.ctc is not None else None
        if weights == "all":
            assert isinstance(self.decoder, AttendingDecoder)
            logits, attention = self.decoder.attended(encoded, labels)
            return Outputs(ctc, logits, encoded.frames, attention)
        logits = self.decoder(encoded, labels) if self.decoder is not None else None
        return Outputs(ctc, logits, encoded.frames)


def build_model(cfg: ModelConfig, *, features: int, vocab_size: int, sos: int, ctc_weight: float) -> HybridModel:
    """Build a model for a feature width and a tokenizer: no decoder at `ctc_weight` 1, no CTC head at 0."""
    encoder = build_encoder(cfg.encoder, features)
    ctc = CtcHead(encoder.width, vocab_size) if ctc_weight > 0 else None
    decoder = (
        build_decoder(cfg.decoder, memory_dim=encoder.width, vocab_size=vocab_size, sos=sos) if ctc_weight < 1 else None
    )
    return HybridModel(encoder, ctc, decoder)
