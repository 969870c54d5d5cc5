"""The front ends one can choose from, and how one is built."""

from typing import Annotated, assert_never

from pydantic import Field

from hybrid_asr.audio.espnet_logmel import EspnetLogMel, EspnetLogMelConfig
from hybrid_asr.audio.fbank import Fbank, FbankConfig
from hybrid_asr.audio.features import FrontEnd
from hybrid_asr.audio.torchaudio_fbank import TorchaudioConfig, TorchaudioFbank

FeaturesConfig = Annotated[FbankConfig | TorchaudioConfig | EspnetLogMelConfig, Field(discriminator="kind")]


def build_features(cfg: FeaturesConfig) -> FrontEnd:
    """The front end that `cfg` describes. Raises FrontEndUnavailable where its package cannot be imported."""
    match cfg:
        case FbankConfig():
            return Fbank(cfg)
        case TorchaudioConfig():
            return TorchaudioFbank(cfg)
        case EspnetLogMelConfig():
            return EspnetLogMel(cfg)
        case _:
            assert_never(cfg)
