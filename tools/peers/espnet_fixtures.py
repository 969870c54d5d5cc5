"""ESPnet's own numbers, kept for tests that run without it.  In `.venv-peers`:

    .venv-peers/bin/python -m tools.peers.espnet_fixtures tests/audio/espnet_logmel.npz tests/convert/espnet_models.npz

The first file has its front end's features of a made sound; the second has small models with random weights, and what
ESPnet's model and `Speech2Text` make of the sound with them.
"""

import argparse
import contextlib
import io as text_io
import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from espnet2.asr.frontend.default import DefaultFrontend  # pyright: ignore[reportMissingImports]
from espnet2.bin.asr_inference import Speech2Text  # pyright: ignore[reportMissingImports]
from espnet2.layers.global_mvn import GlobalMVN  # pyright: ignore[reportMissingImports]
from espnet2.layers.utterance_mvn import UtteranceMVN  # pyright: ignore[reportMissingImports]
from espnet2.tasks.asr import ASRTask  # pyright: ignore[reportMissingImports]

SOUND_S = 0.4
FRONT_ENDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # our settings, ESPnet's arguments
    "default": ({}, {}),
    "telephone": (
        {"rate": 8000, "bins": 40, "fft": 256, "window": 200, "hop": 80},
        {"fs": "8k", "n_mels": 40, "n_fft": 256, "win_length": 200, "hop_length": 80},
    ),
    "htk": (
        {"mel_scale": "htk", "low_hz": 80.0, "high_hz": 7600.0, "bins": 30, "window_shape": "hamming"},
        {"htk": True, "fmin": 80, "fmax": 7600, "n_mels": 30, "window": "hamming"},
    ),
    "edges": (
        {"edges": "none", "fft": 1024, "hop": 256, "bins": 30, "window_shape": "blackman"},
        {"center": False, "n_fft": 1024, "hop_length": 256, "n_mels": 30, "window": "blackman"},
    ),
}
TOKENS = ["<blank>", "<unk>", "<space>", *"ABCDEFGH", "<sos/eos>"]
SPEECH = {"frontend": "default", "frontend_conf": {"fs": "8k", "n_mels": 20, "n_fft": 256, "hop_length": 80}}
DECODER = {
    "decoder": "transformer",
    "decoder_conf": {"attention_heads": 2, "linear_units": 12, "num_blocks": 2},
    "model_conf": {"ctc_weight": 0.3},
}
BLOCKS = {"output_size": 8, "attention_heads": 2, "linear_units": 12, "num_blocks": 2}
MODELS: dict[str, dict[str, Any]] = {
    "conformer": SPEECH
    | DECODER
    | {
        "normalize": "global_mvn",
        "encoder": "conformer",
        "encoder_conf": BLOCKS | {"rel_pos_type": "latest", "macaron_style": True, "cnn_module_kernel": 7},
    },
    "transformer": SPEECH
    | DECODER
    | {
        "normalize": "utterance_mvn",
        "normalize_conf": {"norm_vars": True},
        "encoder": "transformer",
        "encoder_conf": BLOCKS | {"input_layer": "linear"},
    },
}
BEAM, CTC_WEIGHT = 4, 0.3


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("features", type=Path)
    arguments.add_argument("models", type=Path)
    args = arguments.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    write_features(args.features)
    write_models(args.models)


def write_features(path: Path) -> None:
    """ESPnet's features of a sound, and what its normalizations make of the default ones."""
    samples = 0.6 * SOUND_S * np.arange(SOUND_S * 16000) / (SOUND_S * 16000)
    rng = np.random.default_rng(11)
    sound = np.sin(2 * np.pi * 900 * samples**2) * np.hanning(len(samples)) + rng.normal(0, 0.02, len(samples))
    audio = np.clip(sound * 12000, -32768, 32767).astype(np.int16)
    audio[3000:3600] = 0  # digital silence
    content: dict[str, Any] = {"audio": audio, "settings": json.dumps({n: ours for n, (ours, _) in FRONT_ENDS.items()})}
    speech, length = torch.from_numpy(audio.astype(np.float32) / 32768)[None], torch.tensor([len(audio)])
    for name, (_, theirs) in FRONT_ENDS.items():
        content[f"raw/{name}"] = DefaultFrontend(**theirs).eval()(speech, length)[0][0].numpy()
    raw = torch.from_numpy(content["raw/default"])[None]
    frames = torch.tensor([raw.shape[1]])
    mean, std = rng.normal(-5, 2, 80), rng.uniform(0.5, 3, 80)
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "stats.npz", count=10.0, sum=10 * mean, sum_square=10 * (std**2 + mean**2))
        layer = GlobalMVN(Path(folder) / "stats.npz")
    content |= {"mean": mean, "std": std, "global": layer(raw.clone(), frames)[0][0].numpy()}
    content["utterance/mean"] = UtteranceMVN()(raw.clone(), frames)[0][0].numpy()
    content["utterance/mean_and_variance"] = UtteranceMVN(norm_vars=True)(raw.clone(), frames)[0][0].numpy()
    np.savez_compressed(path, **content)


def write_models(path: Path) -> None:
    """Of each model its configuration, weights, encoder states, CTC posteriors, decoder outputs and n-best list."""
    rng = np.random.default_rng(7)
    time = np.arange(2 * 8000 * SOUND_S) / 8000
    sound = np.sin(2 * np.pi * 700 * time**2) + rng.normal(0, 0.05, len(time))
    content: dict[str, Any] = {"audio": (sound * 9000).astype(np.int16), "labels": np.array([3, 5, 5, 2, 9])}
    for name, settings in MODELS.items():
        found = computed(settings, content["audio"], content["labels"])
        content |= {f"{name}/{key}": value for key, value in found.items()}
    np.savez_compressed(path, **content)


@torch.no_grad()
def computed(settings: dict[str, Any], audio: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    speech, length = torch.from_numpy(audio.astype(np.float32) / 32768)[None], torch.tensor([len(audio)])
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(text_io.StringIO()):
        stats = Path(folder) / "stats.npz"
        np.savez(stats, count=10.0, sum=np.full(20, -50.0), sum_square=np.full(20, 300.0))
        defaults = {"token_list": TOKENS, "token_type": "char", "bpemodel": None, "specaug": None, "init": None}
        config = {"input_size": None, "preencoder": None, "postencoder": None, "ctc_conf": {}, **defaults, **settings}
        if settings["normalize"] == "global_mvn":
            config["normalize_conf"] = {"stats_file": str(stats)}
        (Path(folder) / "config.yaml").write_text(yaml.safe_dump(config))
        model = ASRTask.build_model(argparse.Namespace(**config))
        torch.save(randomized(model), Path(folder) / "model.pth")
        arguments = (str(Path(folder) / "config.yaml"), str(Path(folder) / "model.pth"))
        recognizer = Speech2Text(*arguments, beam_size=BEAM, ctc_weight=CTC_WEIGHT, nbest=BEAM)
    model = recognizer.asr_model
    states, frames = model.encode(speech, length)
    inputs = torch.tensor([[len(TOKENS) - 1, *labels.tolist()]])
    logits = model.decoder(states, frames, inputs, torch.tensor([inputs.shape[1]]))[0]
    nbest = [[[int(label) for label in one.yseq[1:-1]], float(one.score)] for *_, one in recognizer(speech[0])]
    config["normalize_conf"] = settings.get("normalize_conf", {"stats_file": "feats_stats.npz"})
    return {
        "config": json.dumps(config),
        "states": states[0].numpy(),
        "ctc": model.ctc.log_softmax(states)[0].numpy(),
        "logits": logits[0].numpy(),
        "nbest": json.dumps(nbest),
        **{f"w/{key}": value.numpy() for key, value in model.state_dict().items()},
    }


def randomized(model: Any) -> dict[str, torch.Tensor]:
    """Weights such that a missing bias, norm or running statistic shows, and that say different things at all times."""
    torch.manual_seed(1)
    found = dict(model.state_dict())
    for name, value in found.items():
        if name.startswith(("frontend", "normalize")) or not value.dtype.is_floating_point:
            continue
        positive = name.endswith("running_var") or (value.dim() == 1 and "norm" in name and name.endswith("weight"))
        noise = torch.randn(value.shape) * (value.shape[-1] ** -0.5 if value.dim() > 1 else 0.3)
        found[name] = 1.0 + noise.abs() if positive else noise * (4.0 if "ctc_lo.weight" in name else 1.0)
    return found


if __name__ == "__main__":
    main()
