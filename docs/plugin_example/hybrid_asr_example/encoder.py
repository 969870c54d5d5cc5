"""A GRU over groups of four frames.  Axes: B utterances, T frames, T' groups, F features, D width."""

from typing import Annotated

from pydantic import Field
from torch import nn
from torch.nn import functional as F

from hybrid_asr.audio.features import Features
from hybrid_asr.config.schema import config
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.plugin import EncoderPlugin

GROUP = 4


@config
class GruEncoderConfig:
    """What `model.encoder.options` may hold: unknown keys and numbers out of range are refused by their path."""

    dim: Annotated[int, Field(gt=0)]
    layers: Annotated[int, Field(gt=0, le=100)] = 2


class GruEncoder(nn.Module):
    """Stacks groups of four frames; a linear layer and a causal GRU, so that padding on the right cannot matter."""

    def __init__(self, cfg: GruEncoderConfig, features: int):
        super().__init__()
        self.width, self.stride = cfg.dim, GROUP
        self.project = nn.Linear(GROUP * features, cfg.dim)
        self.gru = nn.GRU(cfg.dim, cfg.dim, cfg.layers, batch_first=True)

    def output_length(self, frames: int) -> int:
        """Whole groups; the frames left at the end are dropped."""
        return frames // GROUP

    def forward(self, features: Features) -> Encoded:
        """States (B, T', D) of features (B, T, F)."""
        size = max(1, features.values.shape[1] // GROUP) * GROUP  # one group at least, if only of padding
        values = F.pad(features.values, (0, 0, 0, size - features.values.shape[1]))  # or cut, where that is negative
        groups = values.unflatten(1, (-1, GROUP)).flatten(2)  # (B, T', 4 F)
        states, _ = self.gru(self.project(groups).relu())
        return Encoded(states, features.frames // GROUP)


plugin = EncoderPlugin(config=GruEncoderConfig, build=GruEncoder)
