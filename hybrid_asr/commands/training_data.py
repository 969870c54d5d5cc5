"""What a run learns from: its training set, how that is read, and the plan of its batches; the same when replayed."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid_asr.common.problems import SHOWN
from hybrid_asr.data.dataset import SpeechDataset
from hybrid_asr.data.label_counts import LabelCounts, describe_empty, least_seconds
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.plan import Source
from hybrid_asr.data.sampler import LARGE, Planner, plan_digest, within_limits
from hybrid_asr.data.shared_plans import SharedPlans
from hybrid_asr.data.transcripts import hold_words
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import RunError

ROW_BYTES = 20  # of a plan, an utterance


class TrainingSet(NamedTuple):
    """The utterances that are learned from, how many were outside the limits on length, and what else was left out."""

    manifest: Manifest
    outside: int
    empty: str = ""


def read_training_set(cfg: RunConfig) -> TrainingSet:
    """The training utterances within the limits on length; if so set, with a word. Raises RunError for none."""
    audio = "unchecked" if cfg.data.unreadable == "skip" else cfg.data.audio  # then the loader finds it, and counts
    paths = [Path(cfg.data.root) / entry.manifest for entry in cfg.data.train_manifests]
    everything = Manifest.read_all(paths, audio=audio)
    within = within_limits(everything, cfg.data)
    if len(within) == 0:
        raise RunError(f"{everything.path}: data.min_seconds and data.max_seconds leave out all utterances; widen them")
    outside = len(everything) - len(within)
    if cfg.data.empty == "refuse":
        return TrainingSet(within, outside)
    spelled = hold_words(within, cfg.text)
    if spelled.all():
        return TrainingSet(within, outside)
    nothing = np.flatnonzero(~spelled).tolist()
    if len(nothing) == len(within):
        raise RunError(describe_empty(within, nothing, cfg.text))
    where = ", ".join(within.where(index) for index in nothing[:SHOWN])
    left_out = f"{len(nothing)} of {len(within)} training utterances without a word by text.rules left out: {where}"
    return TrainingSet(within.select(spelled), outside, left_out + (", ..." if len(nothing) > SHOWN else ""))


def build_dataset(cfg: RunConfig, bundle: Bundle, manifest: Manifest) -> SpeechDataset:
    """The dataset that reads the utterances of the training set as the plan asks for them."""
    return SpeechDataset(
        manifest,
        tokenizer=bundle.tokenizer,
        text=cfg.text,
        rate=bundle.frontend.rate,
        separator=cfg.augment.join_separator,
        unreadable=cfg.data.unreadable,
    )


def ctc_least_seconds(cfg: RunConfig, bundle: Bundle, counts: LabelCounts) -> np.ndarray | None:
    """Entry n: the shortest audio, in seconds, that gives the n frames which CTC needs. None without CTC."""
    if cfg.loss.ctc_weight == 0:
        return None
    most = 2 * int(counts.needs.max()) + 2
    front, model = bundle.frontend, bundle.model
    return least_seconds(most, frames=front.frames, output_length=model.output_length, rate=front.rate)


def build_planner(cfg: RunConfig, bundle: Bundle, manifest: Manifest, counts: LabelCounts) -> Planner:
    """The planner of the batches of all epochs."""
    dataset, least = build_dataset(cfg, bundle, manifest), ctc_least_seconds(cfg, bundle, counts)
    corpus = dataset.corpus(counts, least, weighted_sources(cfg, manifest))
    shared = None
    if len(manifest) >= LARGE and cfg.trainer.processes() > 1:
        shared = SharedPlans(plan_digest(corpus, cfg.data, cfg.augment, cfg.seed), size=ROW_BYTES * len(manifest))
    return Planner(corpus, data=cfg.data, augment=cfg.augment, seed=cfg.seed, shared=shared)


def idle_processes(cfg: RunConfig, planner: Planner) -> str:
    """What to tell where batches have too few rows for all processes; "" where they have enough.

    Raises RunError where the training set is too small for them.
    """
    processes, budget = cfg.trainer.processes(), cfg.data.batch_seconds
    if planner.utterances < processes:
        raise RunError(
            f"data.train: {planner.utterances} utterances an epoch for {processes} processes, of which each needs one; "
            f"train with fewer devices (trainer.devices={planner.utterances}, or fewer tasks of the launcher)"
        )
    rows = planner.utterances * (1 - cfg.augment.join_share / 2) / planner.steps
    if rows >= processes:
        return ""
    enough = math.ceil(budget * processes / rows)
    return (
        f"data.batch_seconds={budget:g} holds about {rows:.1f} rows, for {processes} processes: in most steps some of "
        f"them have nothing to do; raise data.batch_seconds to {enough} or more, or train with fewer devices"
    )


def weighted_sources(cfg: RunConfig, manifest: Manifest) -> tuple[Source, ...]:
    """How many utterances of the training set are of each manifest, and their weights; none for one of weight 1."""
    entries = cfg.data.train_manifests
    if len(entries) == 1 and entries[0].weight == 1:
        return ()
    counts = np.bincount(manifest.file_numbers(), minlength=len(entries)).tolist()
    return tuple(Source(entry.manifest, count, entry.weight) for entry, count in zip(entries, counts, strict=True))
