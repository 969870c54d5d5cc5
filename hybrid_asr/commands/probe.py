"""`hybrid-asr probe`: the largest budget of seconds that a device holds, by updates on the worst batches there are."""

import dataclasses
import datetime
import json
import os
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from hybrid_asr.commands.probe_search import Found, Outcome, largest_fitting
from hybrid_asr.commands.probe_trial import Shape, try_shape
from hybrid_asr.commands.training_data import read_training_set
from hybrid_asr.commands.training_model import learn_tokenizer
from hybrid_asr.common.environment import environment
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import write_text
from hybrid_asr.common.memory import free_bytes
from hybrid_asr.common.problems import tell_user
from hybrid_asr.config.compose import compose
from hybrid_asr.data import packing
from hybrid_asr.data.label_counts import LabelCounts, label_counts
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.parallel import cores
from hybrid_asr.inference.device import pick_device
from hybrid_asr.run.config import RunConfig
from hybrid_asr.training.threads import fewest_of_fast

MARGIN = 0.1  # of the memory that is free: for fragments, workers' batches, validation
BESIDE = 1 << 28  # bytes: what a training holds on a CPU beside its updates, such as validation and its loggers
DEVICES = (1, 2, 4, 8, 16, 32, 64)
_FIRST_S = 20.0  # of audio in the first batch that is tried
_UPDATES = 2.5  # the time of a trial in that of an update, of which it makes two, after the model was built


class Bucket(NamedTuple):
    """Utterances of similar length, by their worst: the longest, with as many labels as any second of them has.

    At most `most` rows were tried: all that there are, or those of the budget that longer ones allow.
    """

    seconds: float
    labels: int
    most: int
    found: Found

    @property
    def budget(self) -> float:
        """The seconds of the largest batch that fits."""
        return self.found.rows * self.seconds


def probe(
    recipe: str, overrides: Sequence[str] = (), *, memory: str | None = None, buckets: int = 4, minutes: float = 2.0
) -> None:
    """Find the largest data.device_seconds that is safe here; prints a table and writes it beside the recipe.

    `memory` bounds what a process on a CPU may take, such as "8G" (default: what is free); the search takes about
    `minutes`. Raises UserError where the longest utterance alone does not fit.
    """
    if buckets < 1 or minutes <= 0:
        raise UserError(f"probe needs --buckets of at least 1, not {buckets}, and --minutes above 0, not {minutes:g}")
    composed = compose(recipe, overrides)
    cfg = composed.parse(RunConfig)
    device = pick_device({"gpu": "cuda"}.get(cfg.trainer.accelerator, cfg.trainer.accelerator))
    cfg = dataclasses.replace(cfg, data=dataclasses.replace(cfg.data, audio="unchecked"))
    train = read_training_set(cfg).manifest
    tokenizer = learn_tokenizer(cfg, train)
    free = free_bytes(device) if memory is None else parse_bytes(memory)
    limit = int(free * (1 - MARGIN)) - (BESIDE if device.type == "cpu" else 0)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"{name}: {free / 2**30:.1f} GiB, of which an update may take {limit / 2**30:.2f} GiB")
    ends, done = time.monotonic() + 60 * minutes, []
    shapes = worst_rows(train, label_counts(train, tokenizer, cfg.text, empty="allow"), cfg, buckets)
    threads = cfg.trainer.given_threads
    if cfg.trainer.threads == "auto" and device.type == "cpu" and cores() > 1:
        attempt_on = partial(try_shape, cfg, tokenizer, device=device, limit=limit, timeout_s=20 * minutes)
        threads = _fewest_of_fast(attempt_on, shapes[0])
    for left, (seconds, labels, utterances) in zip(range(len(shapes), 0, -1), reversed(shapes), strict=True):

        def attempt(rows: int, seconds: float = seconds, labels: int = labels) -> Outcome | None:
            shape, most_s = Shape(rows, seconds, labels, threads), 60 * max(1.0, 2 * minutes)
            return try_shape(cfg, tokenizer, shape, device, limit=limit, timeout_s=most_s)

        budgets = [bucket.budget for bucket in done if bucket.found.rows]
        most = min([utterances, *(int(packing.SLACK * budget / seconds) for budget in budgets)])
        found = largest_fitting(
            attempt,
            limit=limit,
            first=most if done else round(_FIRST_S / seconds),
            most=most,
            time_left=lambda left=left: (ends - time.monotonic()) / (_UPDATES * left),
        )
        done.insert(0, Bucket(seconds, labels, most, found))
        print(describe(done[0]))
        if found.rows == 0 and (found.sure or len(done) == 1):
            raise UserError(_too_long(done[0], found, limit))
    tell(cfg, done, name, limit, composed.recipe or Path(recipe))


def _fewest_of_fast(attempt: Callable[[Shape], Outcome | None], row: tuple[float, int, int]) -> int:
    """One thread, or all cores where that is faster here and now: an update of short rows on each."""
    rows, seconds = max(1, round(_FIRST_S / row[0])), {}
    for count in (1, cores()):
        outcome = attempt(Shape(rows, row[0], row[1], count))
        seconds[count] = np.inf if outcome is None else outcome.seconds
    threads = fewest_of_fast(seconds)
    print(f"threads: {threads}, by trying; trainer.threads=N chooses another number")
    return threads


def worst_rows(train: Manifest, counts: LabelCounts, cfg: RunConfig, buckets: int) -> list[tuple[float, int, int]]:
    """For each bucket of equally many utterances, by length: the longest row, its most labels, rows that there are.

    Seconds are those at the slowest speed. Joined utterances are a bucket of their own, where they can be longer.
    """
    slowest, order = min(cfg.augment.speeds), np.argsort(train.durations, kind="stable")
    seconds, density = train.durations / slowest, counts.labels / train.durations
    rows = []
    for group in np.array_split(order, min(buckets, len(order))):
        longest = float(seconds[group].max())
        labels = min(int(counts.labels[group].max()), int(np.ceil(density[group].max() * longest * slowest)))
        rows.append((longest, max(labels, 1), len(train)))
    joined = min(cfg.augment.join_max_s, cfg.data.batch_seconds)
    if cfg.augment.join_share > 0 and joined > rows[-1][0]:
        labels = int(np.ceil(np.percentile(density, 99) * joined * slowest)) + 1
        rows.append((joined, labels, max(1, len(train) // 2)))
    return [row for place, row in enumerate(rows) if place + 1 == len(rows) or row[0] < rows[place + 1][0]]


def describe(bucket: Bucket) -> str:
    """A line of the table."""
    rows, outcome, sure, line = bucket.found
    head = f"up to {bucket.seconds:6.2f} s, {bucket.labels:4} labels: "
    if outcome is None:
        return f"{head}{'no row fits' if sure else 'not tried: the time is over'}"
    whole = "the most that can be needed" if rows == bucket.most else ""
    if not sure:
        by_line = "" if line is None else f", by a line through its steps {line} rows would fit"
        whole = f"at least: the time is over{by_line}"
    return (
        f"{head}{rows:6} rows, {bucket.budget:8.1f} s, peak {outcome.peak / 2**30:6.2f} GiB, {outcome.seconds:7.3f} s "
        f"an update, {bucket.budget / outcome.seconds:6.0f} s of audio a second{'; ' if whole else ''}{whole}"
    )


def batch_seconds(device_seconds: float, devices: int, longest: float) -> float:
    """The largest global batch of which each of `devices` takes one part, within `device_seconds`; 0 for none.

    It is what `packing.parts_needed` allows, with rows of at most `longest` seconds.
    """
    even = device_seconds * (devices + 1) / 2
    by_row = device_seconds * devices - longest * (devices - 1)
    return max(even, by_row) if longest <= device_seconds * packing.SLACK else 0.0


def tell(cfg: RunConfig, buckets: Sequence[Bucket], name: str, limit: int, recipe: Path) -> None:
    """Print what follows, and write it beside the recipe, or into the current folder where that is not writable."""
    safe = np.floor(10 * min(bucket.budget for bucket in buckets if bucket.found.rows)) / 10
    longest = max(bucket.seconds for bucket in buckets)
    if safe < longest:
        raise UserError(f"data.device_seconds={safe:g} would be safe, but the longest row has {longest:.1f} s")
    global_seconds = {devices: float(np.floor(batch_seconds(safe, devices, longest))) for devices in DEVICES}
    override = f"data.device_seconds={safe:g}"
    report: dict[str, Any] = {
        "recipe": recipe.name,
        "device": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "override": override,
        "memory_bytes": limit,
        "margin": MARGIN,
        "precision": cfg.trainer.precision,
        "batch_seconds_by_devices": global_seconds,
        "buckets": [_row(bucket) for bucket in buckets if bucket.found.rows],
        "made_with": environment(),
    }
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    file = f"{recipe.stem}.probe-{slug}.json"
    folder = recipe.resolve().parent
    if not os.access(folder, os.W_OK) or "_assets" in folder.parts:
        tell_user(f"note: {folder} cannot be written to: {file} lies in the current folder")
        folder = Path.cwd()
    write_text(folder / file, json.dumps(report, indent=2) + "\n")
    shown = ", ".join(f"{devices}: {seconds:g}" for devices, seconds in global_seconds.items())
    print(f"largest data.batch_seconds without accumulation, by devices: {shown}")
    if not all(bucket.found.sure for bucket in buckets):
        print("the time was over before more rows were seen not to fit: --minutes gives more")
    print(f"{folder / file}; train with:\n  {override}")


def _row(bucket: Bucket) -> dict[str, Any]:
    outcome = bucket.found.outcome
    assert outcome is not None
    return {
        "seconds": round(bucket.seconds, 3),
        "labels": bucket.labels,
        "rows": bucket.found.rows,
        "device_seconds": round(bucket.budget, 1),
        "more_do_not_fit": bucket.found.sure,
        "peak_bytes": outcome.peak,
        "update_s": round(outcome.seconds, 4),
        "audio_s_per_s": round(bucket.budget / outcome.seconds, 1),
    }


def _too_long(bucket: Bucket, found: Found, limit: int) -> str:
    if not found.sure:
        return f"there was no time for one row of {bucket.seconds:.1f} s; give more with --minutes"
    return (
        f"one row of {bucket.seconds:.1f} s does not fit into {limit / 2**30:.1f} GiB; leave long utterances out with "
        "data.max_seconds, join none (augment.join_share=0), or choose a smaller model"
    )


def parse_bytes(text: str) -> int:
    """A number of bytes such as 8G, 500M or 1.5 GiB, in powers of 1024. Raises UserError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise UserError(f"--memory {text}: is no amount of memory; write it as 8G or 500M")
    return int(float(match[1]) * 1024 ** ("KMGT".index(match[2].upper()) + 1))
