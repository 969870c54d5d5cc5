"""Preparing a training: read and check the data, find the state to resume, build the model, plan the batches.

Nothing is written here, so that a mistake of the user costs no run.
"""

import dataclasses
import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from hybrid_asr.commands.training_data import (
    TrainingSet,
    build_planner,
    ctc_least_seconds,
    idle_processes,
    read_training_set,
)
from hybrid_asr.commands.training_facts import checkpoint_facts, data_facts
from hybrid_asr.commands.training_model import build_bundle
from hybrid_asr.common.memory import keep_freed_memory
from hybrid_asr.config.compose import digest
from hybrid_asr.data.check import check_training
from hybrid_asr.data.label_counts import LabelCounts, label_counts
from hybrid_asr.data.manifest import Manifest, ManifestError
from hybrid_asr.data.oddities import manifest_oddities
from hybrid_asr.data.sampler import Planner
from hybrid_asr.data.shards import tell_remote
from hybrid_asr.inference.encode import shortest_audio
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.config import RunConfig, set_paths, signature
from hybrid_asr.run.folder import Run, RunError
from hybrid_asr.run.more_epochs import with_length
from hybrid_asr.training.agreement import agree
from hybrid_asr.training.checkpoint import Checkpoints, TrainingState
from hybrid_asr.training.launch_environment import Launch, is_rank_zero
from hybrid_asr.training.messages import rank_zero_print
from hybrid_asr.training.process_group import broadcast, together
from hybrid_asr.training.state import share_state

TRIED = 8  # utterances of the validation set that a trial decodes


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """A training that is ready to begin, or to resume from `state`.

    `signature` is a digest of all that decides the weights, the data included; `fresh` forgets the run that is there.
    """

    cfg: RunConfig
    run: Run
    launch: Launch | None
    fresh: bool
    checkpoints: Checkpoints
    state: TrainingState | None
    signature: str
    train_set: Manifest
    valid_set: Manifest
    bundle: Bundle
    planner: Planner

    @property
    def first_step(self) -> int:
        """Updates that earlier processes have made."""
        return 0 if self.state is None else self.state.step

    @property
    def total_steps(self) -> int:
        """Updates of the whole training."""
        return self.cfg.trainer.total_steps(self.steps_per_epoch)

    @property
    def steps_per_epoch(self) -> int:
        """Updates of an epoch, or of a trial."""
        return min(self.planner.steps, self.cfg.trainer.try_steps or self.planner.steps)

    @property
    def processes(self) -> int:
        """Processes that train together."""
        return self.cfg.trainer.processes()


def prepare_training(cfg: RunConfig, run: Run, launch: Launch | None, *, fresh: bool, begin_anew: str) -> TrainingSetup:
    """Prepare all that `cfg` asks for; raises UserError on anything that the user can fix. All processes call this.

    The first one reads what lies in the run's folder, once, and gives it to the others, which need not see it.
    `begin_anew` is the command that trains another run from the weights of this one.
    """
    first = is_rank_zero()
    checkpoints = Checkpoints(run.checkpoint_folder, cfg.trainer.average, cfg.trainer.average_count)
    training, valid_set = together(lambda: _read_sets(cfg, run))
    train_set = training.manifest
    data = (train_set.digest, valid_set.digest)
    agree(data_facts(train_set, valid_set) | ({} if fresh else checkpoint_facts(checkpoints.folder, first=first)))
    state = together(lambda: _read_state(cfg, run, checkpoints, data, begin_anew) if first and not fresh else None)
    state = share_state(state)
    if state is not None:
        checkpoints.go_on_from(state)
        if cfg.trainer.threads == "auto":
            cfg = with_threads(cfg, broadcast(together(lambda: _kept_threads(run) if first else 0)))

    def build() -> TrainingSetup:
        if cfg.trainer.given_threads:
            torch.set_num_threads(cfg.trainer.given_threads)
        keep_freed_memory()
        bundle, counts = build_bundle(cfg, train_set, state)
        _check_data(cfg, bundle, valid_set, counts, training)
        planner = build_planner(cfg, bundle, train_set, counts)
        if idle := idle_processes(cfg, planner):
            rank_zero_print(f"warning: {idle}")
        return TrainingSetup(
            cfg=cfg,
            run=run,
            launch=launch,
            fresh=fresh,
            checkpoints=checkpoints,
            state=state,
            signature=_signature(cfg, data),
            train_set=train_set,
            valid_set=valid_set,
            bundle=bundle,
            planner=planner,
        )

    return together(build)


def _read_sets(cfg: RunConfig, run: Run) -> tuple[TrainingSet, Manifest]:
    """What is learned from, and the validation set."""
    if is_rank_zero():
        run.refuse_unless_run_or_empty()
    training = read_training_set(cfg)
    tell_remote(training.manifest[0].member, training.manifest.folder(0), workers=cfg.data.workers)
    valid_set = Manifest.read(Path(cfg.data.root) / cfg.data.valid, audio=cfg.data.audio)
    if cfg.trainer.try_steps:
        valid_set = valid_set.select(np.arange(min(len(valid_set), TRIED)))
    return training, valid_set


def with_threads(cfg: RunConfig, threads: int | Literal["auto"]) -> RunConfig:
    """The configuration with another number of threads."""
    return dataclasses.replace(cfg, trainer=dataclasses.replace(cfg.trainer, threads=threads))


def _kept_threads(run: Run) -> int | Literal["auto"]:
    """The number of threads of the training so far: others add up in another order, and round otherwise."""
    threads, cores = run.read_config().trainer.threads, len(os.sched_getaffinity(0))
    if threads != "auto" and threads > cores:
        rank_zero_print(
            f"warning: going on with {threads} threads as before, on {cores} cores; trainer.threads={cores} is faster, "
            "but rounds otherwise"
        )
    return threads


def _signature(cfg: RunConfig, data: tuple[str, str]) -> str:
    """A digest of all that decides the weights; `data` are the digests of the training and the validation set."""
    return digest([signature(cfg), *data])


def _read_state(
    cfg: RunConfig, run: Run, checkpoints: Checkpoints, data: tuple[str, str], begin_anew: str
) -> TrainingState | None:
    """What an earlier process saved. A folder that holds anything else is refused."""
    if run.exists():
        run.refuse_changed_config(cfg, begin_anew)
    state = checkpoints.load_last(warn=rank_zero_print)
    if state is None or state.signature == _signature(cfg, data):
        return state
    unit, length = cfg.trainer.length
    former = state.bundle["config"]["trainer"].get(unit)
    if former is not None and state.signature == _signature(with_length(cfg, former), data):
        rank_zero_print(f"note: {length} {unit} in place of {former}: the training goes on")
        return state
    raise RunError(
        f"{run.folder}: the training data or the configuration have changed since step {state.step}; "
        "give --folder DIR for a folder of its own, or --fresh to start this one anew"
    )


def _read_test_sets(cfg: RunConfig, known: tuple[Manifest, Manifest]) -> dict[str, Manifest]:
    """The test sets that are there, to be compared with training, but for those that are trained on or validated on."""
    paths, sets = [file.path for manifest in known for file in manifest.files], dict[str, Manifest]()
    for name, path in set_paths(cfg, ["test"]).items():
        if path not in paths:
            try:
                sets[name] = Manifest.read(path, audio="unchecked")
            except ManifestError as error:
                rank_zero_print(f"note: {name} is not compared with the training set: {str(error).splitlines()[0]}")
    return sets


def _check_data(
    cfg: RunConfig, bundle: Bundle, valid_set: Manifest, counts: LabelCounts, training: TrainingSet
) -> None:
    train_set = training.manifest
    others = {"valid": valid_set, **(_read_test_sets(cfg, known=(train_set, valid_set)) if is_rank_zero() else {})}
    odd = [
        oddity
        for name, manifest in (("train", train_set), *others.items())
        for oddity in manifest_oddities(manifest, of=name, spelling=cfg.text)
    ]
    tokenizer = bundle.tokenizer
    report = check_training(
        train_set,
        others,
        {"train": counts}
        | {name: label_counts(manifest, tokenizer, cfg.text, empty="allow") for name, manifest in others.items()},
        least=ctc_least_seconds(cfg, bundle, counts),
        shortest=shortest_audio(bundle),
        speeds=cfg.augment.speeds,
        left_out=training.outside,
        oddities=odd,
        policy=cfg.data.check,
    )
    for note in (*train_set.notes, *valid_set.notes):
        rank_zero_print(f"warning: {note}")
    rank_zero_print("\n".join([report.text(), *([f"note: {training.empty}"] if training.empty else [])]))
