"""The encoders one can choose from, and how one is built."""

from typing import Annotated, Protocol, assert_never, runtime_checkable

from pydantic import Field

from hybrid_asr.audio.features import Features
from hybrid_asr.models.conformer import Conformer, ConformerConfig
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.patch_transformer import PatchTransformer, PatchTransformerConfig
from hybrid_asr.models.plugin import EncoderPlugin, PluginConfig, build_plugin
from hybrid_asr.models.plugin_checks import check_encoder
from hybrid_asr.models.pyramidal_lstm import PyramidalLstm, PyramidalLstmConfig
from hybrid_asr.models.transformer import Transformer, TransformerConfig

__all__ = ["Encoded", "Encoder", "EncoderConfig", "build_encoder"]

EncoderConfig = Annotated[
    ConformerConfig | TransformerConfig | PyramidalLstmConfig | PatchTransformerConfig | PluginConfig,
    Field(discriminator="kind"),
]


@runtime_checkable
class Encoder(Protocol):
    """Turns features into fewer, wider frames; `output_length` gives their number before anything is computed."""

    width: int
    stride: int  # feature frames from one encoder frame to the next

    def output_length(self, frames: int) -> int:
        """Encoder frames for a number of feature frames, exactly."""
        ...

    def __call__(self, features: Features) -> Encoded: ...


def build_encoder(cfg: EncoderConfig, features: int) -> Encoder:
    """Build the encoder for a feature width; a plugin's is tried (`plugin_checks`). Raises PluginError, ConfigError."""
    match cfg:
        case ConformerConfig():
            return Conformer(cfg, features)
        case TransformerConfig():
            return Transformer(cfg, features)
        case PyramidalLstmConfig():
            return PyramidalLstm(cfg, features)
        case PatchTransformerConfig():
            return PatchTransformer(cfg, features)
        case PluginConfig():
            encoder, label = build_plugin(EncoderPlugin, cfg, features=features)
            check_encoder(encoder, features, label)
            return encoder
        case _:
            assert_never(cfg)
