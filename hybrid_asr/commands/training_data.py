"""What a run learns from: its training set, how that is read, and the plan of its batches."""

from pathlib import Path

import numpy as np

from hybrid_asr.data.check import LabelCounts, least_seconds
from hybrid_asr.data.dataset import SpeechDataset
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.sampler import Planner, within_limits
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import RunError


def training_set(cfg: RunConfig) -> tuple[Manifest, int]:
    """The training utterances within the limits on their length, and how many are without. Raises RunError for none."""
    audio = "unchecked" if cfg.data.unreadable == "skip" else cfg.data.audio  # then reading finds it, and counts
    everything = Manifest.read(Path(cfg.data.root) / cfg.data.train, audio=audio)
    within = within_limits(everything, cfg.data)
    if len(within) == 0:
        raise RunError(f"{everything.path}: data.min_seconds and data.max_seconds leave out all utterances; widen them")
    return within, len(everything) - len(within)


def dataset(cfg: RunConfig, bundle: Bundle, manifest: Manifest) -> SpeechDataset:
    """How the training set is read."""
    return SpeechDataset(
        manifest,
        tokenizer=bundle.tokenizer,
        rules=cfg.text.rules,
        rate=bundle.frontend.rate,
        separator=cfg.augment.join_separator,
        unreadable=cfg.data.unreadable,
    )


def least_table(cfg: RunConfig, bundle: Bundle, counts: LabelCounts) -> np.ndarray | None:
    """The shortest audio that CTC can align, by the frames it needs; None without CTC."""
    if cfg.loss.ctc_weight == 0:
        return None
    most = 2 * int(counts.needs.max()) + 2
    front, model = bundle.frontend, bundle.model
    return least_seconds(most, frames=front.frames, output_length=model.output_length, rate=front.rate)


def planner(cfg: RunConfig, bundle: Bundle, manifest: Manifest, counts: LabelCounts) -> Planner:
    """The plan of the batches of all epochs."""
    corpus = dataset(cfg, bundle, manifest).corpus(counts, least_table(cfg, bundle, counts))
    return Planner(corpus, data=cfg.data, augment=cfg.augment, seed=cfg.seed)
