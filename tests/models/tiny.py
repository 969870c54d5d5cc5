"""Tiny members of the unions of encoders and decoders: a new member is tested as soon as it stands in its union."""

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from hybrid_asr.audio.features import Features
from hybrid_asr.losses import JointLoss, attention_loss, ctc_feasible, ctc_loss, joint_loss
from hybrid_asr.models.conformer import ConformerConfig
from hybrid_asr.models.decoder import DecoderConfig
from hybrid_asr.models.encoder import EncoderConfig
from hybrid_asr.models.hybrid import HybridModel, ModelConfig, Outputs, build_model
from hybrid_asr.models.lstm_decoder import LstmDecoderConfig
from hybrid_asr.models.patch_transformer import PatchTransformerConfig
from hybrid_asr.models.plugin import PluginConfig
from hybrid_asr.models.transformer import TransformerConfig
from hybrid_asr.nn.rnn_attention import AdditiveConfig, DotConfig, FixedConfig, LocationConfig, MultiheadConfig

FEATURES, VOCAB_SIZE = 11, 9
SOS = EOS = VOCAB_SIZE - 1
SIZES = {
    "dim": 12,
    "layers": 2,
    "heads": 2,
    "feed_forward": 10,
    "kernel": 5,
    "channels": 3,
    "cells": 5,
    "joins": (1, 2),
}
SIZES |= {"embedding": 6, "attention": LocationConfig(dim=8, kernel=5, channels=3)}
SIZES |= {"patch_frames": 7, "stride_frames": 4, "patch_bins": 4, "stride_bins": 3}
"""Sizes by the name of the field; a new encoder with other sizes adds them here."""


def members(union: Any) -> Iterator[type]:
    """The classes of a tagged union, or of a union of one."""
    if dataclasses.is_dataclass(union):
        yield typing.cast(type, union)
    for inner in typing.get_args(union):
        yield from members(inner)


def tiny(cls: type, **changes: Any) -> Any:
    """The smallest configuration of a class; without dropout, so that training computes what evaluation does."""
    names = {field.name: field for field in dataclasses.fields(cls)}
    needed = {name for name, field in names.items() if field.default is dataclasses.MISSING}
    off = {name: 0.0 for name in names if "dropout" in name}
    return cls(**{name: SIZES[name] for name in needed} | off | changes)


def kind(cfg: Any) -> str:
    """The name of a case."""
    attention = [cfg.attention.kind] if isinstance(cfg, LstmDecoderConfig) else []
    return "-".join([cfg.kind, *attention, *(name for name, other in VARIANTS.items() if cfg == other)])


EXAMPLE = PluginConfig(name="example", options={"dim": 12})
"""The encoder and the decoder of docs/plugin_example; tests/models/test_plugin.py holds them to the laws."""
VARIANTS = {
    "relative": tiny(ConformerConfig, positions="relative"),
    "rotary": tiny(TransformerConfig, positions="rotary"),
    "sinusoidal": tiny(PatchTransformerConfig, positions="sinusoidal"),
    "neighbours": tiny(PatchTransformerConfig, neighbours=3),
}
ENCODERS = [*(tiny(cls) for cls in members(EncoderConfig) if cls is not PluginConfig), *VARIANTS.values()]
OTHERS = (AdditiveConfig(dim=8), DotConfig(dim=8), MultiheadConfig(dim=8, heads=2), FixedConfig())
DECODERS = [tiny(cls) for cls in members(DecoderConfig) if cls is not PluginConfig]
DECODERS += [tiny(LstmDecoderConfig, attention=attention, layers=2) for attention in OTHERS]
each_encoder = pytest.mark.parametrize("encoder", ENCODERS, ids=kind)
PAIRS = [(cfg, DECODERS[0]) for cfg in ENCODERS] + [(ENCODERS[0], cfg) for cfg in DECODERS[1:]]
PAIRS += [(cfg, DECODERS[1]) for cfg in ENCODERS if cfg.kind == "listener"]  # and its speller
each_pair = pytest.mark.parametrize(("encoder", "decoder"), PAIRS, ids=kind)
each_decoder = pytest.mark.parametrize("decoder", DECODERS, ids=kind)


def build(encoder: Any = ENCODERS[0], decoder: Any = DECODERS[0], *, ctc_weight: float = 0.3) -> HybridModel:
    """A model with weights from a fixed seed, in training mode and float64."""
    torch.manual_seed(0)
    cfg = ModelConfig(encoder=encoder, decoder=decoder)
    return build_model(cfg, features=FEATURES, vocab_size=VOCAB_SIZE, sos=SOS, ctc_weight=ctc_weight).double()


class Speech(NamedTuple):
    """A batch as models see it."""

    features: Features
    labels: Tensor
    label_lengths: Tensor

    def rows(self, *rows: int) -> "Speech":
        """These utterances as a batch of their own, with no more padding than it needs."""
        pick = torch.tensor(rows)
        frames, lengths = self.features.frames[pick], self.label_lengths[pick]
        features = Features(self.features.values[pick, : int(frames.max())], frames)
        return Speech(features, self.labels[pick, : int(lengths.max())], lengths)


def speech(frames: list[int], labels: list[int], *, dtype: torch.dtype = torch.float64, seed: int = 1) -> Speech:
    """Random features of `frames` frames and random texts of `labels` labels."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(frames), max(frames), FEATURES, generator=generator, dtype=torch.float64)
    texts = torch.randint(1, VOCAB_SIZE - 1, (len(labels), max(labels)), generator=generator)
    for row, (length, count) in enumerate(zip(frames, labels, strict=True)):
        values[row, length:] = 0  # what `Features` promises
        texts[row, count:] = 0
    return Speech(Features(values.to(dtype), torch.tensor(frames)), texts, torch.tensor(labels))


def joint(outputs: Outputs, batch: Speech, *, ctc_weight: float = 0.3) -> JointLoss:
    """The joint loss of each utterance."""
    labels, lengths = batch.labels, batch.label_lengths
    ctc = attention = None
    if outputs.ctc_log_probs is not None:
        ctc = ctc_loss(outputs.ctc_log_probs, outputs.frames, labels, lengths, blank=0)
    if outputs.logits is not None:
        attention = attention_loss(outputs.logits, labels, lengths, eos=EOS, smoothing=0.1)
    return joint_loss(ctc, attention, ctc_feasible(outputs.frames, labels, lengths), ctc_weight=ctc_weight)


def close(ours: Tensor, theirs: Tensor, *, atol: float = 1e-9) -> None:
    """Equal to an absolute tolerance, in shape and type too."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=atol)
