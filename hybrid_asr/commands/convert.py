"""`hybrid-asr import` and `export`: converts other toolkits' models to runs of ours, and back."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from hybrid_asr import __version__
from hybrid_asr.common.files import write_text
from hybrid_asr.config.compose import amend
from hybrid_asr.config.schema import plain
from hybrid_asr.convert.espnet_export import export_bundle
from hybrid_asr.convert.espnet_import import build_bundle, read_config, tokenizer_of
from hybrid_asr.convert.section import ConvertError
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run, weights_digest

DATA = {"train": "train.jsonl", "valid": "valid.jsonl", "test": ["test.jsonl"], "batch_seconds": 25.0}


def import_espnet(
    config: Path, model: Path, to: Path, *, bpemodel: Path | None = None, overrides: Sequence[str] = ()
) -> Run:
    """Make a run of an ESPnet2 model: one that can be decoded, transcribed with, shown, and trained on from.

    `overrides` name its data and decoding. Raises ConvertError, naming what is not supported, damaged or in the way.
    """
    run = Run(to)
    run.refuse_unless_run_or_empty()
    if run.exists():
        raise ConvertError(f"{to}: holds a run already; give another --to")
    for override in overrides:
        if override.partition(".")[0] not in ("data", "decode", "presets", "trainer", "text"):
            raise ConvertError(f"'{override}': the model decides this; data, decode, trainer and text can be set")
    espnet = read_config(config)
    ctc_weight = espnet.sections["loss"]["ctc_weight"]
    using = {"optim": "cosine", "trainer": "auto", "decode": _decoder(ctc_weight)}
    cfg = amend(espnet.sections | {"data": DATA}, overrides, source=str(config), using=using).parse(RunConfig)
    bundle = build_bundle(plain(cfg), tokenizer_of(espnet, config, bpemodel), model)
    bundle.save(run.model_file)
    origin = {"toolkit": "espnet", "config": str(config), "model": str(model), "sha256": _digest(model)}
    write_text(run.origin_file, json.dumps(origin | {"weights": weights_digest(bundle)}, indent=1) + "\n")
    run.write_config(cfg)
    return run


def export_espnet(run: Path, to: Path, *, checkpoint: str = "average") -> None:
    """Write `config.yaml`, `model.pth` and what they name, for ESPnet's `Speech2Text`.

    Raises ConvertError, naming what ESPnet cannot express.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConvertError(f"{to}: is there already; give another --to")
    bundle = Bundle.load(run) if run.is_file() else Run(run).bundle(checkpoint)[0]
    export_bundle(bundle, to, version=f"hybrid-asr {__version__}")


def _decoder(ctc_weight: float) -> str:
    """The decoder preset that fits a model trained with this CTC weight."""
    return "joint" if 0 < ctc_weight < 1 else "ctc_greedy" if ctc_weight else "attention"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
