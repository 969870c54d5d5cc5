"""How evenly devices share batches, how much of them is padding, and how long planning takes, beside Lhotse's sampler.

    python -m tools.benchmarks.scaling_balance --json balance.json
    python -m tools.benchmarks.scaling_balance --ranks 8 64 --sizes 100000

Lengths are resampled, with a fixed seed, from the 350 utterances of LibriSpeech under --data (../shared/data).
Real seconds / (devices x slowest part) counts padded seconds of the slowest part, of both samplers.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.data.config import DataConfig
from hybrid_asr.data.plan import Corpus
from hybrid_asr.data.sampler import Planner

SEED = 14
STEPS = 60  # of an epoch, that are looked at


class Lengths(NamedTuple):
    """Seconds and letters of utterances."""

    seconds: np.ndarray
    letters: np.ndarray


class Shared(NamedTuple):
    """How an epoch is shared out: balance is real seconds / (devices x slowest part), paddings are shares."""

    balance: float
    audio_padding: float
    label_padding: float
    fill: float


def librispeech(data: Path, count: int) -> Lengths:
    """`count` utterances drawn from the sample of LibriSpeech, each up to 3 % longer or shorter, letters by 3 % too."""
    texts: dict[str, str] = {}
    for path in data.glob("LibriSpeech/*/*/*/*.trans.txt"):
        texts |= dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    files = sorted(data.glob("LibriSpeech/*/*/*/*.flac"))
    if not files:
        raise SystemExit(f"{data}: holds no LibriSpeech; give the folder of the data with --data")
    seconds = np.array([soundfile.info(path).duration for path in files])
    letters = np.array([len(texts[path.stem]) for path in files])
    draw = np.random.default_rng(SEED)
    chosen = draw.integers(0, len(files), count)
    return Lengths(
        seconds[chosen] * draw.uniform(0.97, 1.03, count),
        np.maximum(1, np.round(letters[chosen] * draw.uniform(0.97, 1.03, count))).astype(np.int64),
    )


def planner(lengths: Lengths, batch_seconds: float, plan: int) -> Planner:
    """The planner of utterances of these lengths, without augmentation."""
    corpus = Corpus(
        durations=lengths.seconds,
        keys=np.arange(len(lengths.seconds), dtype=np.uint64),
        labels=lengths.letters,
        joined_labels=lambda first, second: int(lengths.letters[first] + lengths.letters[second] + 1),
        where=str,
    )
    data = DataConfig(train="a", valid="b", batch_seconds=batch_seconds, plan=1 if plan == 1 else 2)
    return Planner(corpus, data=data, augment=AugmentConfig(), seed=SEED)


def ours(lengths: Lengths, ranks: int, device: float, plan: int) -> Shared:
    """One epoch of ours, from the parts that devices are given."""
    epoch = planner(lengths, ranks * device, plan).plan(1)
    chosen = np.random.default_rng(SEED).choice(epoch.steps, min(STEPS, epoch.steps), replace=False)
    shares = [epoch.share(rank, ranks, 1) for rank in range(ranks)]

    def steps() -> Iterator[list[list[int]]]:
        for step in chosen.tolist():
            yield [[row.indices[0] for row in share[step].utterances if row.weight] for share in shares]

    return shared(lengths, steps(), ranks, device)


def lhotse(lengths: Lengths, ranks: int, device: float) -> Shared:
    """Lhotse's DynamicBucketingSampler on cuts of the same lengths, `max_duration` being a device's seconds.

    The sampler of each rank draws the batches of all and gives its own: those of one sampler are looked at, as drawn.
    """
    try:
        from lhotse import CutSet, MonoCut  # pyright: ignore[reportMissingImports]
        from lhotse.dataset import DynamicBucketingSampler  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SystemExit(
            f"Lhotse is not installed ({error}): pip install lhotse, or leave it out with --alone"
        ) from None
    cuts = CutSet.from_cuts(
        MonoCut(id=str(index), start=0.0, duration=float(seconds), channel=0)
        for index, seconds in enumerate(lengths.seconds)
    )
    settings: dict[str, Any] = {"max_duration": device, "num_buckets": 30, "shuffle": True, "seed": SEED}

    class Sampler(DynamicBucketingSampler):
        def _next_batch(self) -> Any:
            self.drawn.append(batch := super()._next_batch())
            return batch

    sampler = Sampler(cuts, world_size=ranks, rank=0, **settings)
    sampler.drawn = []

    def steps() -> Iterator[list[list[int]]]:
        for _ in zip(range(STEPS), sampler, strict=False):
            yield [[int(cut.id) for cut in batch] for batch in sampler.drawn[:ranks]]
            sampler.drawn.clear()

    return shared(lengths, steps(), ranks, device)


def shared(lengths: Lengths, steps: Iterator[Sequence[Sequence[int]]], ranks: int, device: float) -> Shared:
    """Balance and padding over some steps, each the utterances of every device."""
    count, real, slowest, padded, letters, padded_letters = 0, 0.0, 0.0, 0.0, 0, 0
    for parts in steps:
        costs = [float(lengths.seconds[part].max()) * len(part) for part in map(list, parts) if part]
        real += sum(float(lengths.seconds[list(part)].sum()) for part in parts)
        letters += sum(int(lengths.letters[list(part)].sum()) for part in parts)
        padded_letters += sum(int(lengths.letters[list(part)].max()) * len(part) for part in parts if part)
        slowest, padded, count = slowest + ranks * max(costs), padded + sum(costs), count + 1
    return Shared(real / slowest, 1 - real / padded, 1 - letters / padded_letters, real / (count * ranks * device))


def planning_seconds(data: Path, count: int) -> float:
    """The median of five epochs' planning."""
    plans, times = planner(librispeech(data, count), 3200.0, 2), []
    for epoch in range(1, 6):
        began = time.perf_counter()
        plans.plan(epoch)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def rows_of(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row a measurement."""

    def row(what: str, value: float, other: float | None, unit: str) -> dict[str, Any]:
        return {"what": what, "ours": value, "other": other, "ratio": value / other if other else None, "unit": unit}

    lengths = librispeech(args.data, args.utterances)
    for device in args.seconds:
        for ranks in args.ranks:
            two, one = ours(lengths, ranks, device, 2), ours(lengths, ranks, device, 1)
            peer = None if args.alone else lhotse(lengths, ranks, device)
            where = f"{ranks} devices, {device:g} s each"
            yield row(f"balance, {where}, beside Lhotse", two.balance, peer and peer.balance, "share")
            yield row(f"balance, {where}, beside plan 1", two.balance, one.balance, "share")
            yield row(f"label padding, {where}, beside plan 1", two.label_padding, one.label_padding, "share")
            yield row(f"audio padding, {where}, beside plan 1", two.audio_padding, one.audio_padding, "share")
            yield row(f"fill, {where}, beside plan 1", two.fill, one.fill, "share")
    for count in args.sizes:
        yield row(f"planning an epoch of {count:,}", planning_seconds(args.data, count), None, "s")


def main() -> None:
    """Measure, print, and write the rows to --json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the rows are written")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with LibriSpeech")
    parser.add_argument("--ranks", type=int, nargs="*", default=[8, 16, 32, 64, 128, 256, 512])
    parser.add_argument("--seconds", type=float, nargs="*", default=[25.0, 100.0], help="of a device")
    parser.add_argument("--utterances", type=int, default=281_000)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--alone", action="store_true", help="without Lhotse")
    args = parser.parse_args()
    rows = []
    for row in rows_of(args):
        rows.append(row)
        other = "" if row["other"] is None else f" | {row['other']:.3f}"
        print(f"{row['what']}: {row['ours']:.3f}{other} {row['unit']}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
