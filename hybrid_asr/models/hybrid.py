"""One encoder, a CTC head and an attention decoder.  Axes: B utterances, T' encoder frames, L labels, V units."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor, nn

from hybrid_asr.audio.features import Features
from hybrid_asr.config.schema import config
from hybrid_asr.models.conformer import Conformer
from hybrid_asr.models.ctc import CtcHead
from hybrid_asr.models.decoder import DecoderConfig, build_decoder
from hybrid_asr.models.encoder import Encoded, EncoderConfig, build_encoder
from hybrid_asr.models.transformer import Transformer
from hybrid_asr.models.transformer_decoder import TransformerDecoder


@config
class ModelConfig:
    """An encoder and a decoder; `loss.ctc_weight` decides which heads are built."""

    encoder: EncoderConfig
    decoder: DecoderConfig


class Outputs(NamedTuple):
    """What training needs; a part that the model lacks is None."""

    ctc_log_probs: Float[Tensor, "batch time units"] | None
    logits: Float[Tensor, "batch steps units"] | None
    frames: Int[Tensor, " batch"]


class HybridModel(nn.Module):
    """Hybrid CTC/attention model (Watanabe et al., 2017): CTC or attention alone is the same class without a part."""

    def __init__(self, encoder: Conformer | Transformer, ctc: CtcHead | None, decoder: TransformerDecoder | None):
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

    def forward(self, features: Features, labels: Int[Tensor, "batch labels"]) -> Outputs:
        """All outputs for known labels; padded positions hold numbers that mean nothing."""
        encoded = self.encoder(features)
        ctc = self.ctc(encoded) if self.ctc is not None else None
        logits = self.decoder(encoded, labels) if self.decoder is not None else None
        return Outputs(ctc, logits, encoded.frames)


def build_model(cfg: ModelConfig, *, features: int, units: int, sos: int, ctc_weight: float) -> HybridModel:
    """Build a model for a feature width and a tokenizer: no decoder at `ctc_weight` 1, no CTC head at 0."""
    encoder = build_encoder(cfg.encoder, features)
    ctc = CtcHead(encoder.width, units) if ctc_weight > 0 else None
    decoder = build_decoder(cfg.decoder, memory_dim=encoder.width, units=units, sos=sos) if ctc_weight < 1 else None
    return HybridModel(encoder, ctc, decoder)
