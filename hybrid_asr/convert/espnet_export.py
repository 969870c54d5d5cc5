"""Export a model to ESPnet2's `config.yaml` and `model.pth`, which its `Speech2Text` loads."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor

from hybrid_asr.audio.espnet_logmel import EspnetLogMel
from hybrid_asr.common.files import atomic_path, write_text
from hybrid_asr.config.schema import parse
from hybrid_asr.convert.espnet_config import ACTIVATIONS, EPS, INPUTS, JOINS
from hybrid_asr.convert.espnet_weights import EspnetModel, espnet_parts, theirs_from_ours, weight_map
from hybrid_asr.convert.section import ConvertError, shown
from hybrid_asr.models.bundle import Bundle, save_torch
from hybrid_asr.models.conformer import ConformerConfig
from hybrid_asr.models.hybrid import ModelConfig
from hybrid_asr.models.transformer_decoder import TransformerDecoderConfig
from hybrid_asr.text.bpe import BpeTokenizer
from hybrid_asr.text.characters import CharTokenizer
from hybrid_asr.text.token_list import SPACE, TokenListTokenizer

_PRESETS = "train with presets.features=espnet_logmel and presets.model=conformer_s_espnet, or such settings"
_NORMALIZERS = {"global": "global_mvn", "utterance": "utterance_mvn", "none": None}


def export_bundle(bundle: Bundle, to: Path, *, version: str) -> None:
    """Write the model to the folder `to`; `config.yaml`, which holds absolute paths of the others, is written last.

    Raises ConvertError that names each setting that ESPnet cannot express, with a remedy.
    """
    cfg = parse(ModelConfig, bundle.config["model"], where="model")
    refuse_inexpressible(bundle, cfg)
    tree = {"version": version, **_sections(bundle, espnet_parts(cfg))}
    to.mkdir(parents=True, exist_ok=True)
    if isinstance(bundle.frontend, EspnetLogMel) and bundle.frontend.cmvn.kind == "global":
        tree["normalize_conf"]["stats_file"] = str(_write_statistics(bundle.frontend, to.resolve()))
    if (model := _sentencepiece(bundle)) is not None:
        tree["bpemodel"] = str(to.resolve() / "bpe.model")
        with atomic_path(tree["bpemodel"]) as temporary:
            temporary.write_bytes(model)
    save_torch(espnet_weights(bundle, cfg), to / "model.pth")
    write_text(to / "config.yaml", yaml.safe_dump(tree, allow_unicode=True, sort_keys=False))


def refuse_inexpressible(bundle: Bundle, cfg: ModelConfig) -> None:
    """Raise ConvertError for settings that ESPnet's classes do not support."""
    encoder, decoder = espnet_parts(cfg)
    wanted: list[tuple[str, Any, Any]] = [
        ("features.kind", bundle.config["features"]["kind"], "espnet_logmel"),
        ("model.encoder.norm_eps", encoder.norm_eps, EPS),
    ]
    if encoder.input == "conv":
        wanted.append(("model.encoder.channels", encoder.channels, encoder.dim))
    if isinstance(encoder, ConformerConfig):
        wanted.append(("model.encoder.positions", encoder.positions, "relative"))
        wanted.append(("model.encoder.norm", encoder.norm, "batch"))
        wanted.append(("model.encoder.final_norm", encoder.final_norm, "layer"))
    else:
        wanted.append(("model.encoder.positions", encoder.positions, "sinusoidal"))
    if bundle.model.decoder is not None:
        wanted.append(("model.decoder.dim", decoder.dim, encoder.dim))
        wanted.append(("model.decoder.norm_eps", decoder.norm_eps, EPS))
    wrong = [
        f"{key} is {shown(value)}: ESPnet knows only {shown(only)}" for key, value, only in wanted if value != only
    ]
    if wrong:
        raise ConvertError("\n  ".join(["ESPnet cannot express this model:", *wrong, _PRESETS]))


def espnet_weights(bundle: Bundle, cfg: ModelConfig) -> dict[str, Tensor]:
    """All weights of `ESPnetASRModel.state_dict()`.

    The standard deviations are in float64, so that importing them again gives the same reciprocals bit for bit.
    """
    heads = [name for name in ("ctc", "decoder") if getattr(bundle.model, name) is not None]
    weights = theirs_from_ours(weight_map(cfg, heads), bundle.model.state_dict())
    assert isinstance(bundle.frontend, EspnetLogMel)
    weights["frontend.logmel.melmat"] = bundle.frontend.mel.float().cpu().clone()
    if bundle.frontend.cmvn.kind == "global":
        weights["normalize.mean"] = bundle.frontend.cmvn.mean.double().cpu()
        weights["normalize.std"] = 1.0 / bundle.frontend.cmvn.inverse_std.double().cpu()
    return weights


def _sections(bundle: Bundle, cfg: EspnetModel) -> dict[str, Any]:
    """The content of `config.yaml`."""
    tokens, joins = tokens_of(bundle)
    features = bundle.config["features"]
    return {
        "token_list": tokens,
        "token_type": next(name for name, ours in JOINS.items() if ours == joins),
        "bpemodel": None,
        "init": None,
        "input_size": None,
        "use_preprocessor": True,
        "cleaner": None,
        "g2p": None,
        "frontend": "default",
        "frontend_conf": _front_end(features),
        "specaug": None,
        "specaug_conf": {},
        "normalize": _NORMALIZERS[features["cmvn"]],
        "normalize_conf": _normalization(features),
        "model": "espnet",
        "model_conf": {"ctc_weight": bundle.config["loss"]["ctc_weight"]},
        "preencoder": None,
        "preencoder_conf": {},
        "encoder": cfg.encoder.kind,
        "encoder_conf": _encoder(cfg),
        "postencoder": None,
        "postencoder_conf": {},
        "decoder": "transformer",
        "decoder_conf": _decoder(cfg.decoder),
        "ctc_conf": {},
        "joint_net_conf": None,
        "preprocessor": "default",
        "preprocessor_conf": {},
    }


def _front_end(features: dict[str, Any]) -> dict[str, Any]:
    return {
        "fs": features["rate"],
        "n_fft": features["fft"],
        "win_length": features["window"] or None,
        "hop_length": features["hop"],
        "window": features["window_shape"],
        "center": features["edges"] == "mirrored",
        "n_mels": features["bins"],
        "fmin": features["low_hz"] or None,
        "fmax": features["high_hz"] or None,
        "htk": features["mel_scale"] == "htk",
    }


def _normalization(features: dict[str, Any]) -> dict[str, Any]:
    if features["cmvn"] == "none":
        return {}
    return {"norm_means": True, "norm_vars": features["cmvn_scale"] == "mean_and_variance"}


def _encoder(cfg: EspnetModel) -> dict[str, Any]:
    encoder = cfg.encoder
    settings = {
        "output_size": encoder.dim,
        "attention_heads": encoder.heads,
        "linear_units": encoder.feed_forward,
        "num_blocks": encoder.layers,
        "dropout_rate": encoder.dropout,
        "positional_dropout_rate": encoder.dropout,
        "attention_dropout_rate": encoder.attention_dropout,
        "input_layer": next(theirs for theirs, ours in INPUTS.items() if ours == encoder.input),
        "normalize_before": True,
    }
    if not isinstance(encoder, ConformerConfig):
        return settings | {"pos_enc_layer_type": "abs_pos"}
    return settings | {
        "macaron_style": True,
        "rel_pos_type": "latest",
        "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn",
        "activation_type": next(theirs for theirs, ours in ACTIVATIONS.items() if ours == encoder.activation),
        "use_cnn_module": True,
        "cnn_module_kernel": encoder.kernel,
    }


def _decoder(decoder: TransformerDecoderConfig) -> dict[str, Any]:
    return {
        "attention_heads": decoder.heads,
        "linear_units": decoder.feed_forward,
        "num_blocks": decoder.layers,
        "dropout_rate": decoder.dropout,
        "positional_dropout_rate": decoder.dropout,
        "self_attention_dropout_rate": decoder.attention_dropout,
        "src_attention_dropout_rate": decoder.attention_dropout,
    }


def tokens_of(bundle: Bundle) -> tuple[list[str], str]:
    """The tokens in the order of their labels, and how they are joined."""
    tokenizer = bundle.tokenizer
    match tokenizer:
        case TokenListTokenizer():
            return list(tokenizer.tokens), tokenizer.joins
        case CharTokenizer():
            units = [SPACE if character == " " else character for character in tokenizer.characters]
            return ["<blank>", "<unk>", *units, "<sos/eos>"], "characters"
        case BpeTokenizer():
            return ["<blank>", "<unk>", *tokenizer.units(), "<sos/eos>"], "pieces"
        case _:
            raise ConvertError(f"ESPnet has no tokenizer such as {type(tokenizer).__name__}")


def _sentencepiece(bundle: Bundle) -> bytes | None:
    tokenizer = bundle.tokenizer
    return tokenizer.model if isinstance(tokenizer, TokenListTokenizer | BpeTokenizer) else None


def _write_statistics(frontend: EspnetLogMel, folder: Path) -> Path:
    """The sums that ESPnet expects, of a single frame: it reads them first, and then replaces them from model.pth."""
    mean, std = frontend.cmvn.mean.double().cpu(), 1.0 / frontend.cmvn.inverse_std.double().cpu()
    path = folder / "feats_stats.npz"
    np.savez(path, count=np.array(1.0), sum=mean.numpy(), sum_square=(mean**2 + std**2).numpy())
    return path
