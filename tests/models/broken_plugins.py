"""Plugins that keep the contract, and such as break it in one way each."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from hybrid_asr.audio.features import Features
from hybrid_asr.config.schema import config
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.plugin import DecoderPlugin, EncoderPlugin
from hybrid_asr.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig


@config
class Options:
    dim: Annotated[int, Field(gt=0)] = 6
    stride: int = 3


@dataclass
class Loose:
    dim: int = 6


class Good(nn.Module):
    """Every third frame, widened."""

    def __init__(self, cfg: Options, features: int):
        super().__init__()
        self.width, self.stride = cfg.dim, cfg.stride
        self.project = nn.Linear(features, cfg.dim)

    def output_length(self, frames: int) -> int:
        return -(-frames // self.stride)

    def forward(self, features: Features) -> Encoded:
        values = nn.functional.pad(features.values, (0, 0, 0, max(0, 1 - features.values.shape[1])))
        return Encoded(self.project(values)[:, :: self.stride], -(-features.frames // self.stride))


class NoWidth(Good):
    def __init__(self, cfg: Options, features: int):
        super().__init__(cfg, features)
        del self.width


class WidthIsText(Good):
    def __init__(self, cfg: Options, features: int):
        super().__init__(cfg, features)
        self.width = "six"


class TooLong(Good):
    def output_length(self, frames: int) -> int:
        return (frames + 3) // self.stride


class Floating(Good):
    def output_length(self, frames: int) -> int:
        return frames / self.stride  # type: ignore[return-value]


class Capped(Good):
    def output_length(self, frames: int) -> int:
        return min(50, super().output_length(frames))


class OtherStride(Good):
    def __init__(self, cfg: Options, features: int):
        super().__init__(cfg, features)
        self.stride = 3

    def output_length(self, frames: int) -> int:
        return -(-frames // 4)

    def forward(self, features: Features) -> Encoded:
        return Encoded(self.project(features.values)[:, ::4], -(-features.frames // 4))


class Leaky(Good):
    """The mean over time, padding included."""

    def forward(self, features: Features) -> Encoded:
        states, frames = super().forward(features)
        return Encoded(states + states.mean(1, keepdim=True), frames)


class Narrow(Good):
    def forward(self, features: Features) -> Encoded:
        states, frames = super().forward(features)
        return Encoded(states[..., 1:], frames)


class Bare(Good):
    def forward(self, features: Features):
        return super().forward(features).states


class Raising(Good):
    def forward(self, features: Features) -> Encoded:
        raise IndexError("a mistake of its own")


class Short(Good):
    """No more than 50 frames, whatever it was given."""

    def forward(self, features: Features) -> Encoded:
        states, frames = super().forward(features)
        return Encoded(states, frames.clamp(max=50))


class NotANumber(Good):
    def forward(self, features: Features) -> Encoded:
        states, frames = super().forward(features)
        return Encoded(states / 0, frames)


class Unbuildable(Good):
    def __init__(self, cfg: Options, features: int):
        raise ZeroDivisionError("nothing by nothing")


SIZES = TransformerDecoderConfig(dim=8, layers=1, heads=2, feed_forward=8, dropout=0.1)


class GoodDecoder(TransformerDecoder):
    def __init__(self, cfg: Options, *, memory_dim: int, vocab_size: int, sos: int):
        super().__init__(SIZES, memory_dim, vocab_size, sos)


class NoSteps(nn.Module):
    def __init__(self, cfg: Options, *, memory_dim: int, vocab_size: int, sos: int):
        super().__init__()

    def start(self, encoded, beams):
        return None


class StepsAtPlaceZero(GoodDecoder):
    def step(self, state, last, *, weights="none"):
        return super().step(state._replace(steps=0), last, weights=weights)


class NotReordered(GoodDecoder):
    def reorder(self, state, parents):
        return state


class NoWeights(GoodDecoder):
    def step(self, state, last, *, weights="none"):
        return super().step(state, last)


class SumsToSeven(GoodDecoder):
    def step(self, state, last, *, weights="none"):
        found = super().step(state, last, weights=weights)
        return found if found.attention is None else found._replace(attention=7 * found.attention)


class NoEnd(GoodDecoder):
    def forward(self, encoded, labels):
        return super().forward(encoded, labels)[:, 1:]


class LooksAtPadding(GoodDecoder):
    def forward(self, encoded, labels):
        return super().forward(
            Encoded(encoded.states, torch.full_like(encoded.frames, encoded.states.shape[1])), labels
        )


short, not_a_number = (EncoderPlugin(config=Options, build=build) for build in (Short, NotANumber))
sums_to_seven = DecoderPlugin(config=Options, build=SumsToSeven)
good, no_width, width_is_text, too_long, floating, capped, other_stride, leaky, narrow, bare, raising, unbuildable = (
    EncoderPlugin(config=Options, build=build)
    for build in (
        *(Good, NoWidth, WidthIsText, TooLong, Floating, Capped, OtherStride, Leaky, Narrow, Bare, Raising),
        Unbuildable,
    )
)
good_decoder, no_steps, steps_at_place_zero, not_reordered, no_weights, no_end, looks_at_padding = (
    DecoderPlugin(config=Options, build=build)
    for build in (GoodDecoder, NoSteps, StepsAtPlaceZero, NotReordered, NoWeights, NoEnd, LooksAtPadding)
)
loose = EncoderPlugin(config=Loose, build=Good)
no_module = EncoderPlugin(config=Options, build=lambda cfg, features: "no module")
