"""Translate weights between the names of ESPnet2 and those of hybrid-asr."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from hybrid_asr.convert.section import ConvertError
from hybrid_asr.models.conformer import ConformerConfig
from hybrid_asr.models.hybrid import ModelConfig
from hybrid_asr.models.transformer import TransformerConfig
from hybrid_asr.models.transformer_decoder import TransformerDecoderConfig

_NORM = ("weight", "bias")
_CONFORMER_NORMS = ("norm_ff_macaron", "norm_mha", "norm_conv", "norm_ff", "norm_final")
_CONFORMER_LAYERS = {
    "feed_forward_in.expand": "feed_forward_macaron.w_1",
    "feed_forward_in.contract": "feed_forward_macaron.w_2",
    "feed_forward_out.expand": "feed_forward.w_1",
    "feed_forward_out.contract": "feed_forward.w_2",
    "attention.output": "self_attn.linear_out",
    "convolution.depthwise": "conv_module.depthwise_conv",
}
_FEED_FORWARD = {"feed_forward.expand": "feed_forward.w_1", "feed_forward.contract": "feed_forward.w_2"}


class EspnetModel(NamedTuple):
    """The parts of a model of a kind that both toolkits have."""

    encoder: ConformerConfig | TransformerConfig
    decoder: TransformerDecoderConfig


class Entry(NamedTuple):
    """One of our weights and the ESPnet weights whose rows form it; `kernel`: ESPnet's is a convolution of width 1."""

    ours: str
    theirs: tuple[str, ...]
    shape: Literal["same", "kernel"] = "same"


def espnet_parts(cfg: ModelConfig) -> EspnetModel:
    """Encoder and decoder, if they are of a kind that ESPnet has too. Raises ConvertError that names another kind."""
    encoder, decoder = cfg.encoder, cfg.decoder
    if not isinstance(encoder, ConformerConfig | TransformerConfig):
        raise ConvertError(
            f"model.encoder.kind is {encoder.kind}: ESPnet has no such encoder, so its weights cannot be exported"
        )
    if not isinstance(decoder, TransformerDecoderConfig):
        raise ConvertError(
            f"model.decoder.kind is {decoder.kind}: ESPnet has no such decoder, so its weights cannot be exported"
        )
    return EspnetModel(encoder, decoder)


def weight_map(cfg: ModelConfig, heads: Iterable[str] = ("ctc", "decoder")) -> list[Entry]:
    """All weights of a model that `cfg` describes, with those of its `heads`."""
    parts = espnet_parts(cfg)
    entries = [*_input(parts), *_both("encoder.norm", "encoder.after_norm")]
    for layer in range(parts.encoder.layers):
        ours, theirs = f"encoder.layers.{layer}", f"encoder.encoders.{layer}"
        entries += _conformer(ours, theirs) if parts.encoder.kind == "conformer" else _transformer(ours, theirs)
    if "ctc" in heads:
        entries += _both("ctc.project", "ctc.ctc_lo")
    if "decoder" in heads:
        entries += [Entry("decoder.embedding.weight", ("decoder.embed.0.weight",))]
        entries += [*_both("decoder.norm", "decoder.after_norm"), *_both("decoder.output", "decoder.output_layer")]
        for layer in range(parts.decoder.layers):
            entries += _decoder(f"decoder.layers.{layer}", f"decoder.decoders.{layer}")
    return entries


def ours_from_theirs(entries: Iterable[Entry], theirs: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict:
    """Our weights, shaped as in `like`. Raises ConvertError that names what is missing or of another size."""
    ours = {}
    for entry in entries:
        missing = [name for name in entry.theirs if name not in theirs]
        if missing:
            raise ConvertError(f"the weight '{missing[0]}' is missing: another model's weights, or not ESPnet's")
        wanted = like[entry.ours]
        for name in entry.theirs:
            shape = _their_shape(entry, wanted.shape)
            if theirs[name].shape != shape:
                raise ConvertError(
                    f"the weight '{name}' is {tuple(theirs[name].shape)}, by the configuration {tuple(shape)}: "
                    "the file belongs to another config.yaml"
                )
        ours[entry.ours] = torch.cat([theirs[name].reshape(-1, *wanted.shape[1:]) for name in entry.theirs])
        ours[entry.ours] = ours[entry.ours].reshape(wanted.shape)
    return ours


def theirs_from_ours(entries: Iterable[Entry], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """ESPnet's weights from ours."""
    theirs = {}
    for entry in entries:
        value = ours[entry.ours].detach().cpu()
        shape = _their_shape(entry, value.shape)
        parts = value.chunk(len(entry.theirs)) if len(entry.theirs) > 1 else [value]
        theirs |= {name: part.reshape(shape).clone() for name, part in zip(entry.theirs, parts, strict=True)}
    return theirs


def _their_shape(entry: Entry, ours: torch.Size) -> torch.Size:
    if not ours:
        return ours
    return torch.Size([ours[0] // len(entry.theirs), *ours[1:], *([1] if entry.shape == "kernel" else [])])


def _input(cfg: EspnetModel) -> list[Entry]:
    ours = "encoder.subsampling"
    if cfg.encoder.input == "linear":
        return [*_both(f"{ours}.project", "encoder.embed.0"), *_both(f"{ours}.norm", "encoder.embed.1")]
    convolutions = _both(f"{ours}.first", "encoder.embed.conv.0") + _both(f"{ours}.second", "encoder.embed.conv.2")
    return [*convolutions, *_both(f"{ours}.project", "encoder.embed.out.0")]


def _conformer(ours: str, theirs: str) -> list[Entry]:
    entries = _joined(f"{ours}.attention.project", f"{theirs}.self_attn", "qkv")
    entries.append(Entry(f"{ours}.attention.distance.weight", (f"{theirs}.self_attn.linear_pos.weight",)))
    entries.append(Entry(f"{ours}.attention.content_bias", (f"{theirs}.self_attn.pos_bias_u",)))
    entries.append(Entry(f"{ours}.attention.distance_bias", (f"{theirs}.self_attn.pos_bias_v",)))
    for name, other in _CONFORMER_LAYERS.items():
        entries += _both(f"{ours}.{name}", f"{theirs}.{other}")
    for name, other in {"gate": "pointwise_conv1", "output": "pointwise_conv2"}.items():
        our_name, their_name = f"{ours}.convolution.{name}", f"{theirs}.conv_module.{other}"
        entries += [
            Entry(f"{our_name}.weight", (f"{their_name}.weight",), "kernel"),
            Entry(f"{our_name}.bias", (f"{their_name}.bias",)),
        ]
    for name in (*_NORM, "running_mean", "running_var", "num_batches_tracked"):
        entries.append(Entry(f"{ours}.convolution.norm.{name}", (f"{theirs}.conv_module.norm.{name}",)))
    return entries + _norms(ours, theirs, _CONFORMER_NORMS)


def _transformer(ours: str, theirs: str) -> list[Entry]:
    entries = _joined(f"{ours}.attention.project", f"{theirs}.self_attn", "qkv")
    for name, other in {"attention.output": "self_attn.linear_out", **_FEED_FORWARD}.items():
        entries += _both(f"{ours}.{name}", f"{theirs}.{other}")
    return entries + _norms(ours, theirs, ("norm1", "norm2"))


def _decoder(ours: str, theirs: str) -> list[Entry]:
    entries = _joined(f"{ours}.self_attention.project", f"{theirs}.self_attn", "qkv")
    entries += _joined(f"{ours}.cross_attention.query", f"{theirs}.src_attn", "q")
    entries += _joined(f"{ours}.cross_attention.key_value", f"{theirs}.src_attn", "kv")
    outputs = {"self_attention.output": "self_attn.linear_out", "cross_attention.output": "src_attn.linear_out"}
    for name, other in (outputs | _FEED_FORWARD).items():
        entries += _both(f"{ours}.{name}", f"{theirs}.{other}")
    return entries + _norms(ours, theirs, ("norm1", "norm2", "norm3"))


def _both(ours: str, theirs: str) -> list[Entry]:
    return [Entry(f"{ours}.{last}", (f"{theirs}.{last}",)) for last in ("weight", "bias")]


def _joined(ours: str, theirs: str, roles: str) -> list[Entry]:
    """The projections of `roles` (q, k, v), which are a single matrix in our models."""
    return [
        Entry(f"{ours}.{last}", tuple(f"{theirs}.linear_{role}.{last}" for role in roles))
        for last in ("weight", "bias")
    ]


def _norms(ours: str, theirs: str, names: Iterable[str]) -> list[Entry]:
    return [entry for index, name in enumerate(names) for entry in _both(f"{ours}.norms.{index}", f"{theirs}.{name}")]


def refuse_strange(weights: Any) -> dict[str, Tensor]:
    """The weights, checked to be names and dense real tensors. Raises ConvertError that names what is not."""
    if not isinstance(weights, dict) or not weights:
        raise ConvertError("expected names and weights")
    for name, value in weights.items():
        dense = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
        if not isinstance(name, str) or not dense or value.is_complex():
            hint = "; of a training's checkpoint.pth take model.pth beside it" if name in ("model", "module") else ""
            raise ConvertError(f"{name!r} should be a dense tensor of real numbers{hint}")
    return weights
