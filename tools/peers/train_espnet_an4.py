"""Train a small hybrid Conformer with ESPnet's own classes, in `.venv-peers`:

    .venv-peers/bin/python -m tools.peers.train_espnet_an4 --train data/an4/train.jsonl --valid data/an4/valid.jsonl \\
        --out runs/espnet_an4 --epochs 30

Writes what ESPnet's recipes leave behind and `espnet2.bin.asr_inference.Speech2Text` loads: `config.yaml`, `model.pth`
(after every epoch) and `feats_stats.npz`. Front end, normalization, masks, encoder, decoder and losses are ESPnet's,
its defaults unless `RECIPE` says otherwise; the loop around them is plain: batches of similar length, AdamW, a cosine.
"""

import argparse
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from espnet2.bin.asr_inference import Speech2Text  # pyright: ignore[reportMissingImports]
from espnet2.tasks.asr import ASRTask  # pyright: ignore[reportMissingImports]
from espnet2.utils.yaml_no_alias_safe_dump import yaml_no_alias_safe_dump  # pyright: ignore[reportMissingImports]

from hybrid_asr.data.manifest import Manifest

RATE = 16000
RECIPE = {
    "frontend": "default",
    "frontend_conf": {"fs": "16k", "n_fft": 512, "hop_length": 128},
    "specaug": "specaug",
    "specaug_conf": {
        "apply_time_warp": False,
        "apply_freq_mask": True,
        "freq_mask_width_range": [0, 20],
        "num_freq_mask": 2,
        "apply_time_mask": True,
        "time_mask_width_range": [0, 30],
        "num_time_mask": 2,
    },
    "normalize": "global_mvn",
    "encoder": "conformer",
    "encoder_conf": {
        "output_size": 144,
        "attention_heads": 4,
        "linear_units": 576,
        "num_blocks": 4,
        "dropout_rate": 0.1,
        "positional_dropout_rate": 0.1,
        "attention_dropout_rate": 0.0,
        "input_layer": "conv2d",
        "normalize_before": True,
        "macaron_style": True,
        "rel_pos_type": "latest",
        "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn",
        "activation_type": "swish",
        "use_cnn_module": True,
        "cnn_module_kernel": 15,
    },
    "decoder": "transformer",
    "decoder_conf": {
        "attention_heads": 4,
        "linear_units": 576,
        "num_blocks": 2,
        "dropout_rate": 0.1,
        "positional_dropout_rate": 0.1,
        "self_attention_dropout_rate": 0.0,
        "src_attention_dropout_rate": 0.0,
    },
    "model_conf": {"ctc_weight": 0.5, "lsm_weight": 0.1, "length_normalized_loss": False},
    "token_type": "char",
}
Item = tuple[torch.Tensor, torch.Tensor]  # samples and labels of an utterance


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--train", type=Path, required=True, help="manifest to train on")
    arguments.add_argument("--valid", type=Path, required=True, help="manifest whose first utterances are decoded")
    arguments.add_argument("--out", type=Path, required=True, help="folder for config.yaml, model.pth, feats_stats.npz")
    arguments.add_argument("--epochs", type=int, default=30)
    arguments.add_argument("--batch-seconds", type=float, default=15.0)
    arguments.add_argument("--lr", type=float, default=1.5e-3)
    arguments.add_argument("--seed", type=int, default=1)
    args = arguments.parse_args()
    del sys.argv[1:]  # ESPnet's get_default_config parses it, too
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    manifest = Manifest.read(args.train)
    tokens = token_list([utterance.text for utterance in manifest])
    audio = [torch.from_numpy(manifest.read_audio(index, RATE)) for index in range(len(manifest))]
    ids = {token: index for index, token in enumerate(tokens)}
    labels = [torch.tensor([ids[c if c != " " else "<space>"] for c in one.text.upper()]) for one in manifest]
    config = write_config(args.out, tokens, audio)
    model = ASRTask.build_model(argparse.Namespace(**config))
    print(f"{len(audio)} utterances, {len(tokens)} tokens, {sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, list(zip(audio, labels, strict=True)), args)
    recognize(args.out, Manifest.read(args.valid))


def token_list(texts: list[str]) -> list[str]:
    """Blank and unknown first, characters by their counts, one token for both ends last: ESPnet's order."""
    counts = Counter("".join(text.upper() for text in texts))
    ordered = sorted(counts, key=lambda c: (-counts[c], c))
    return ["<blank>", "<unk>", *("<space>" if c == " " else c for c in ordered), "<sos/eos>"]


def write_config(out: Path, tokens: list[str], audio: list[torch.Tensor]) -> dict[str, Any]:
    """ESPnet's whole configuration beside the statistics that it names; returns it."""
    config = {**ASRTask.get_default_config(), **RECIPE, "token_list": tokens}
    config["normalize_conf"] = {"stats_file": str(out / "feats_stats.npz")}
    front_end = ASRTask.build_model(argparse.Namespace(**{**config, "normalize": None, "normalize_conf": {}})).frontend
    total, squares, count = np.zeros(80), np.zeros(80), 0
    for samples in audio:
        features = front_end(samples[None], torch.tensor([len(samples)]))[0][0].double().numpy()
        total, squares, count = total + features.sum(0), squares + (features**2).sum(0), count + len(features)
    np.savez(out / "feats_stats.npz", count=count, sum=total.astype("f"), sum_square=squares.astype("f"))
    (out / "config.yaml").write_text(yaml_no_alias_safe_dump(config, indent=4, sort_keys=False), encoding="utf-8")
    return config


def batches(items: list[Item], seconds: float) -> Iterator[list[Item]]:
    """Batches of about equal length, in random order, of `seconds` at most."""
    order = sorted(items, key=lambda item: len(item[0]) * random.uniform(0.9, 1.1))
    groups: list[list[Item]] = [[]]
    for item in order:
        if groups[-1] and max(len(one[0]) for one in [*groups[-1], item]) * (len(groups[-1]) + 1) > seconds * RATE:
            groups.append([])
        groups[-1].append(item)
    random.shuffle(groups)
    yield from groups


def collate(items: list[Item]) -> dict[str, torch.Tensor]:
    """The arguments of ESPnet's model: padded samples and labels (by -1), and their lengths."""
    speech, text = zip(*items, strict=True)
    return {
        "speech": torch.nn.utils.rnn.pad_sequence(list(speech), batch_first=True),
        "speech_lengths": torch.tensor([len(one) for one in speech]),
        "text": torch.nn.utils.rnn.pad_sequence(list(text), batch_first=True, padding_value=-1),
        "text_lengths": torch.tensor([len(one) for one in text]),
    }


def train(model: Any, items: list[Item], args: argparse.Namespace) -> None:
    """Warm up, then follow a cosine down; the weights are written after every epoch."""
    steps = args.epochs * sum(1 for _ in batches(items, args.batch_seconds))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, betas=(0.9, 0.98), weight_decay=1e-2)
    warm = min(1000, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: min((n + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, n / steps))))
    )
    began, step = time.monotonic(), 0
    for epoch in range(1, args.epochs + 1):
        model.train()
        losses = []
        for batch in batches(items, args.batch_seconds):
            loss, _, _ = model(**collate(batch))
            optimizer.zero_grad()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            if torch.isfinite(norm):
                optimizer.step()
            schedule.step()
            step += 1
            losses.append(loss.item())
        torch.save(model.state_dict(), args.out / "model.pth.part")
        (args.out / "model.pth.part").replace(args.out / "model.pth")
        taken = time.monotonic() - began
        print(f"epoch {epoch}: {step}/{steps} steps, loss {np.mean(losses):.3f}, {taken:.0f} s", flush=True)


def recognize(out: Path, manifest: Manifest) -> None:
    """Print what ESPnet's own recognizer makes of five utterances, beside their texts."""
    recognizer = Speech2Text(str(out / "config.yaml"), str(out / "model.pth"), beam_size=10, ctc_weight=0.3)
    for index in range(min(5, len(manifest))):
        print(manifest[index].text, "|", recognizer(manifest.read_audio(index, RATE))[0][0])


if __name__ == "__main__":
    main()
