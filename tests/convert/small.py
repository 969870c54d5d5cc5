"""Small models with random weights that ESPnet could have trained, and their files as ESPnet writes them."""

from pathlib import Path
from typing import Any

import torch
import yaml

from hybrid_asr.audio.build import FeaturesConfig
from hybrid_asr.commands.convert import export_espnet
from hybrid_asr.config.schema import parse, plain
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.hybrid import ModelConfig
from hybrid_asr.text.tokenizer import BpeTokenizerConfig, CharTokenizerConfig, Tokenizer, train_tokenizer

TEXTS = ["abc fed", "a bad cab", "deaf decade", "faded facade", "cab bed fab"]
FEATURES = {"kind": "espnet_logmel", "rate": 8000, "bins": 20, "fft": 256, "hop": 80}
DECODER = {"kind": "transformer", "dim": 16, "layers": 2, "heads": 4, "feed_forward": 24, "norm_eps": 1e-12}
TRANSFORMER = {
    **{"kind": "transformer", "dim": 16, "layers": 2, "heads": 4, "feed_forward": 24, "channels": 16},
    **{"norm_eps": 1e-12, "input": "conv"},
}
CONFORMER = TRANSFORMER | {
    **{"kind": "conformer", "kernel": 7, "positions": "relative", "norm": "batch", "final_norm": "layer"},
    **{"activation": "silu"},
}


def tokenizer(kind: str = "char") -> Tokenizer:
    return train_tokenizer(CharTokenizerConfig() if kind == "char" else BpeTokenizerConfig(size=16), TEXTS)


def bundle(
    encoder: dict[str, Any] = CONFORMER,
    decoder: dict[str, Any] = DECODER,
    *,
    ctc_weight: float = 0.3,
    units: str = "char",
    front_end: dict[str, Any] = FEATURES,
    **features: Any,
) -> Bundle:
    """A model whose weights, running statistics and feature statistics are all random numbers."""
    config = {
        "features": plain(parse(FeaturesConfig, front_end | features)),
        "model": plain(parse(ModelConfig, {"encoder": encoder, "decoder": decoder})),
        "loss": {"ctc_weight": ctc_weight},
        "text": {"rules": "none@1"},
    }
    torch.manual_seed(3)
    made = Bundle.build(config, tokenizer(units), 1.0)
    for name, value in made.weights().items():
        if value.dtype.is_floating_point:
            noise = torch.randn(value.shape) * (0.3 if value.dim() > 1 else 0.1)
            positive = name.endswith(("running_var", "inverse_std", "norm.weight")) or ".norms." in name
            value.copy_(1.0 + noise.abs() if positive else noise)
    return made.eval()


def write(folder: Path, made: Bundle | None = None) -> Path:
    """Write what ESPnet leaves behind after training; returns the folder."""
    path = folder.with_name(f"{folder.name}.pt")
    (made or bundle()).save(path)
    export_espnet(path, folder)
    return folder


def change(folder: Path, **keys: Any) -> None:
    """Set keys of `config.yaml`, `section__key` within a section; None stands for null, `...` for no such key."""
    path = folder / "config.yaml"
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key, value in keys.items():
        section, _, inner = key.rpartition("__")
        place = tree[section] if section else tree
        place[inner] = value
        if value is ...:
            del place[inner]
    path.write_text(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False), encoding="utf-8")


def outputs(made: Bundle, seconds: float = 0.5) -> list[torch.Tensor]:
    """What a model says of a noise: features, encoder states, CTC posteriors, logits of some labels."""
    audio = torch.randn(1, round(8000 * seconds), generator=torch.Generator().manual_seed(5)) * 0.1
    labels = torch.tensor([[3, 4, 2, 5]])
    with torch.no_grad():
        features = made.frontend(audio, torch.tensor([audio.shape[1]]))
        found = made.model(features, labels)
    return [part for part in (features.values, *found) if part is not None]
