"""The configuration of a run: all sections, which of their settings decide the weights, and the sets it names."""

import dataclasses
import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.audio.build import FeaturesConfig
from hybrid_asr.common.errors import UserError
from hybrid_asr.config.compose import digest
from hybrid_asr.config.files import flatten
from hybrid_asr.config.schema import config, plain
from hybrid_asr.config.words import targets
from hybrid_asr.data.config import DataConfig
from hybrid_asr.inference.build_decoder import DecodeConfig
from hybrid_asr.losses import LossConfig
from hybrid_asr.models.hybrid import ModelConfig
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.tokenizer import TokenizerConfig
from hybrid_asr.training.config import CsvLoggerConfig, LoggerConfig, TrainerConfig
from hybrid_asr.training.initial_weights import InitConfig
from hybrid_asr.training.optim import OptimConfig


@config
class RunConfig:
    """Everything that a recipe can set. `metric` is what checkpoints are chosen by: `cer` where words make no sense."""

    features: FeaturesConfig
    tokenizer: TokenizerConfig
    model: ModelConfig
    loss: LossConfig
    optim: OptimConfig
    trainer: TrainerConfig
    data: DataConfig
    decode: DecodeConfig
    presets: dict[str, str] = dataclasses.field(default_factory=dict)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    text: TextConfig = dataclasses.field(default_factory=TextConfig)
    logger: LoggerConfig = dataclasses.field(default_factory=CsvLoggerConfig)
    init: InitConfig = dataclasses.field(default_factory=InitConfig)
    metric: Literal["wer", "cer"] = "wer"
    seed: int = 1

    def __post_init__(self) -> None:
        decoder = self.model.decoder
        if self.loss.guide.weight == 0:
            return
        if not decoder.learns_attention:
            raise ValueError("loss.guide.weight: attention of kind 'fixed' looks at one frame by design; set it to 0")
        if not decoder.can_be_guided:
            raise ValueError(
                f"loss.guide.weight needs a decoder of kind 'lstm', model.decoder is '{decoder.kind}'; set it to 0"
            )


# What may change in a run that resumes, since no weight depends on it; devices change only rounding and dropout masks.
_DATA = (
    *("test", "root", "workers", "prefetch", "device_seconds", "audio", "check"),
    *("unreadable", "unreadable_share", "worker_restarts"),
)


_TRAINER = (
    *("nonfinite", "nonfinite_limit", "divergence_factor", "divergence_rows"),
    *("accelerator", "devices", "nodes", "threads", "log_every", "save_minutes", "save_steps"),
    *("strategy", "checkpoint_activations", "profile", "try_steps"),
    *("valid_every", "valid_decoder", "average", "average_count"),
    *("attention_utterances", "attention_patience", "attention_pictures"),
)


WITHOUT_EFFECT_ON_WEIGHTS = {
    *("decode", "logger", "presets", "metric"),
    *(f"data.{name}" for name in _DATA),
    *(f"trainer.{name}" for name in _TRAINER),
}


# Settings that runs had not at first: with these values they are the runs that they were.
ADDED = {
    **{"text.language": None, "text.tags": "drop", "data.empty": "refuse"},
    **{"data.plan": 1, "data.part_seconds": None, "trainer.tf32": False, "trainer.steps": None},
    "trainer.deterministic": False,
}


def affects_weights(path: str) -> bool:
    """Whether the trained weights depend on the setting at a dotted path."""
    parts = path.split(".")
    return not any(".".join(parts[:depth]) in WITHOUT_EFFECT_ON_WEIGHTS for depth in range(1, len(parts) + 1))


def weight_settings(tree: dict[str, Any]) -> dict[str, Any]:
    """The settings, by dotted path, that decide the weights."""
    settings = {path: value for path, value in flatten(tree) if affects_weights(path)}
    return {path: value for path, value in settings.items() if ADDED.get(path, ...) != value}


def signature(cfg: RunConfig) -> str:
    """A digest of what decides the weights: runs with equal signatures train the same model on equal data."""
    return digest(weight_settings(plain(cfg)))


def result_settings(cfg: RunConfig) -> dict[str, Any]:
    """What else decides model.pt: which epochs are averaged, and over how many processes gradients are added up.

    How the validation set is decoded matters where it chooses the epochs.
    """
    trainer = cfg.trainer
    settings = {
        "average": trainer.average,
        "average_count": trainer.average_count,
        "processes": trainer.processes(),
        "nonfinite": trainer.nonfinite,
    }
    if trainer.average == "best":
        settings |= {"metric": cfg.metric, "decoder": trainer.valid_decoder, "every": trainer.valid_every}
    return settings


OTHER_SETS = {"dev val validation development": "valid", "eval evaluation": "test", "training": "train"}


def set_paths(cfg: RunConfig, names: Sequence[str]) -> dict[str, Path]:
    """The manifests of sets: `train`, `valid`, each test set by its file's name, and `test` for all of these.

    Where that is the name of several, the folder belongs to it: `an4-test`, `spoken-test`.
    """
    root = Path(cfg.data.root)
    stems = Counter(["train", "valid", *(Path(path).stem for path in dict.fromkeys(cfg.data.test))])
    tests = {
        Path(path).stem if stems[Path(path).stem] == 1 else "-".join(Path(path).with_suffix("").parts): root / path
        for path in cfg.data.test
    }
    train = _train_paths(cfg)
    known = {**train, "valid": root / cfg.data.valid, **tests}
    chosen: dict[str, Path] = {}
    for name in names:
        if name == "test":
            chosen |= tests
        elif name == "train":
            chosen |= train
        elif name in known:
            chosen[name] = known[name]
        else:
            has = sorted({*known, "train", "test"})
            meant = targets(name, OTHER_SETS) or next(iter(difflib.get_close_matches(name, has, n=1)), None)
            near = f"; did you mean '{meant}'?" if meant else ""
            raise UserError(f"--sets {name}: the run has no such set; it has {', '.join(has)}{near}")
    return chosen


def _train_paths(cfg: RunConfig) -> dict[str, Path]:
    """The training manifest, `train`; of several `train-1`, `train-2`, ... in the order of the configuration."""
    paths = [Path(cfg.data.root) / entry.manifest for entry in cfg.data.train_manifests]
    return {"train" if len(paths) == 1 else f"train-{number}": path for number, path in enumerate(paths, 1)}
