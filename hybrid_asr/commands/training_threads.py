"""The number of threads that a run trains with, measured on its own steps where it is left open."""

import dataclasses

import torch

from hybrid_asr.commands.training_data import build_dataset
from hybrid_asr.commands.training_setup import TrainingSetup, with_threads
from hybrid_asr.data.dataset import Batch
from hybrid_asr.training.messages import rank_zero_print
from hybrid_asr.training.module import SpeechModule
from hybrid_asr.training.strategy import autocast
from hybrid_asr.training.threads import fewest_of_fast, measure_threads, thread_counts


def choose_threads(setup: TrainingSetup, module: SpeechModule) -> TrainingSetup:
    """With a number of threads where it is left open: measured, said, and set.

    On a GPU, and where several processes train, it is torch's choice.
    """
    cfg, most = setup.cfg, torch.get_num_threads()
    if cfg.trainer.threads != "auto":
        return setup
    if setup.processes > 1 or (cfg.trainer.accelerator != "cpu" and torch.cuda.is_available()):
        return dataclasses.replace(setup, cfg=with_threads(cfg, 0))
    threads = 1 if most == 1 else _measured(setup, module, most)
    torch.set_num_threads(threads)
    return dataclasses.replace(setup, cfg=with_threads(cfg, threads))


def _measured(setup: TrainingSetup, module: SpeechModule, most: int) -> int:
    """The number of threads with which a step of this training is fast here and now."""
    part = max(
        setup.planner.plan(0).share(0, 1, setup.planner.accumulation(1))[:8], key=lambda part: len(part.utterances)
    )
    batch = build_dataset(setup.cfg, setup.bundle, setup.train_set)[part]
    buffers = {name: value.clone() for name, value in module.model.named_buffers()}
    seconds = measure_threads(lambda: _step(module, batch, setup.cfg.trainer.precision), thread_counts(most))
    module.zero_grad(set_to_none=True)
    for name, value in module.model.named_buffers():
        value.copy_(buffers[name])
    threads = fewest_of_fast(seconds)
    tried = ", ".join(f"{taken:.2f} s on {count}" for count, taken in sorted(seconds.items()))
    rank_zero_print(f"threads: {threads}, by trying: a step takes {tried}; trainer.threads=N chooses another number")
    return threads


def _step(module: SpeechModule, batch: Batch, precision: str) -> None:
    """The work of an update but for the update itself."""
    with autocast(precision, "cpu"):
        losses, _ = module.losses(batch, step=module.first_step, part=0, rank=0)
    (losses.total * batch.weights).sum().div(batch.divisor).backward()
