"""Seconds of audio that a second of training takes, by the length of the utterances: what attention costs as they grow.

A step is the model's forward pass, its joint loss and the backward pass on a batch of 40 s of noise with 4 labels a
second; features are computed, optimizer and input are left out. The models take turns, so that all meet the same noise
of the machine.
"""

import statistics
import time
from collections.abc import Sequence

import torch

from hybrid_asr.config.schema import parse
from hybrid_asr.data.dataset import Batch
from hybrid_asr.losses import LossConfig
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.training.module import batch_loss, host_frames

LENGTHS_S = (2, 5, 10, 20)
BATCH_S = 40
ROUNDS = 5
LABELS_A_SECOND = 4  # characters of slow speech; more could not be aligned by every model


def measure(models: Sequence[Bundle], *, rounds: int = ROUNDS) -> list[dict[int, float]]:
    """For each model the seconds of audio for a second of a step, by the utterances' length; the median over rounds."""
    torch.set_num_threads(1)
    found: list[dict[int, float]] = [{} for _ in models]
    for seconds in LENGTHS_S:
        took: list[list[float]] = [[] for _ in models]
        for turn in range(rounds + 1):
            for times, bundle in zip(took, models, strict=True):
                spent = _step_seconds(bundle, seconds)
                if turn:  # the first one warms up
                    times.append(spent)
        for speed, times in zip(found, took, strict=True):
            speed[seconds] = round(BATCH_S / statistics.median(times), 1)
    return found


def _step_seconds(bundle: Bundle, seconds: int) -> float:
    """Seconds of a step on utterances of so many seconds."""
    batch, loss = _noise(bundle, seconds), parse(LossConfig, bundle.config["loss"], where="config.loss")
    guide = loss.guide.weight_at(0.0)
    bundle.model.train()
    began = time.perf_counter()
    with torch.no_grad():
        features = bundle.frontend(batch.audio, batch.samples)
    outputs = bundle.model(features, batch.labels, weights="all" if guide > 0 else "none")
    frames = host_frames(bundle, batch)
    batch_loss(outputs, batch, bundle.tokenizer, loss, host_frames=frames, guide=guide).total.sum().backward()
    spent = time.perf_counter() - began
    bundle.model.zero_grad(set_to_none=True)
    return spent


def _noise(bundle: Bundle, seconds: int) -> Batch:
    rows, labels = round(BATCH_S / seconds), LABELS_A_SECOND * seconds
    samples = seconds * bundle.frontend.rate
    return Batch(
        ids=tuple(str(row) for row in range(rows)),
        audio=0.1 * torch.randn(rows, samples),
        samples=torch.full((rows,), samples),
        labels=torch.randint(2, bundle.tokenizer.vocab_size - 1, (rows, labels)),
        label_lengths=torch.full((rows,), labels),
        host_samples=(samples,) * rows,
        host_label_lengths=(labels,) * rows,
        weights=torch.ones(rows),
        divisor=float(rows * (labels + 1)),
        seconds=float(BATCH_S),
    )
