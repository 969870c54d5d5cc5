"""What does a manifest cost at the start of a training, from a thousand utterances to ten million?

    python -m tools.benchmarks.scaling_manifests [--sizes 1000 100000 10000000] [--processes 8] [--json FILE]

For each size: the cold start, which builds the index and all that is kept beside it; a warm start; the plan of an
epoch; the first batch of a training that begins an epoch, and of one that goes on in its middle; then the proportional
memory (PSS) of several processes that are ready to train together, summed, beside that of as many on ten lines, and the
number of files that hold their plan. The manifests refer to a few files of noise, and lie in a folder that is removed
in the end (ten million lines are 2 GB, their index another gigabyte). A start is `prepare_training` of a tiny model, in
a process of its own; where several start, each is told that it is one of them. Beside seconds on the clock, without
imports, there are the processor's: they are the same whatever else the machine does.
"""

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

SIZES = (1_000, 100_000, 1_000_000, 10_000_000)
FEW = 10
EPOCH = 1  # that is planned: the first one may be in another order
RATE, LONGEST_S, FILES, TEXTS, SPEAKERS = 8000, 16.0, 20, 5000, 2000
WORDS = "the of and a to in is you that it he was for on are as with his they at be this have from or one had by word"
RECIPE = """
presets: {features: fbank80, tokenizer: char, model: conformer_s, optim: constant, trainer: cpu, decode: joint}
features: {rate: 8000, bins: 20}
model:
  encoder: {dim: 16, layers: 1, heads: 2, feed_forward: 32, kernel: 5, channels: 8}
  decoder: {dim: 16, layers: 1, heads: 2, feed_forward: 32}
data: {valid: valid.jsonl, batch_seconds: 400, check: {infeasible: warn}}
loss: {ctc_weight: 0.3}
optim: {lr: 0.01, warmup: 20}
trainer: {epochs: 4, threads: 1}
"""


def write_corpus(folder: Path, sizes: Sequence[int]) -> None:
    """A few files of noise, and a manifest of each size."""
    rng = np.random.default_rng(1)
    for number in range(FILES):
        soundfile.write(folder / f"{number}.wav", rng.normal(0, 0.1, round(RATE * LONGEST_S)), RATE)
    for name, size in {"valid": FEW, **{f"train-{size}": size for size in {FEW, *sizes}}}.items():
        draw = random.Random(size)
        texts = [" ".join(draw.choices(WORDS.split(), k=draw.randint(4, 30))) for _ in range(TEXTS)]
        with (folder / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for line in range(size):
                audio, seconds = f"{line % FILES}.wav", round(draw.uniform(5, LONGEST_S), 3)
                entry = {"id": f"{name}-{line:08d}", "audio": audio, "duration_s": seconds}
                entry |= {"text": texts[line % TEXTS], "speaker": f"{name}-{line % SPEAKERS}"}
                file.write(json.dumps(entry) + "\n")
    (folder / "tiny.yaml").write_text(RECIPE)


def begin(folder: Path, size: int, share_of_epoch: float, rank: int, processes: int) -> None:
    """Get ready to train, in this process: print the seconds that each part took, and wait until stdin is closed."""
    from hybrid_asr.commands.training_data import build_dataset
    from hybrid_asr.commands.training_setup import prepare_training
    from hybrid_asr.config.compose import compose
    from hybrid_asr.data.sampler import PlanSampler
    from hybrid_asr.run.config import RunConfig
    from hybrid_asr.run.folder import Run

    settings = [f"data.root={folder}", f"data.train=train-{size}.jsonl", "trainer.nodes=1"]
    settings.append(f"trainer.devices={processes}")
    cfg = compose(str(folder / "tiny.yaml"), settings).parse(RunConfig)
    start, began = time.monotonic(), time.process_time()
    setup = prepare_training(cfg, Run(folder / "run"), None, fresh=True, begin_anew="")
    prepared = time.monotonic()
    planner = setup.planner
    planner.plan(EPOCH)
    planned = time.monotonic()
    first = round((EPOCH + share_of_epoch) * planner.steps)
    sampler = PlanSampler(planner, rank=rank, ranks=processes, accumulation=1, first=first, total=setup.total_steps)
    batch = build_dataset(cfg, setup.bundle, setup.train_set)[sampler[0]]
    assert len(batch.ids) and not batch.unread
    done = time.monotonic()
    seconds = {"prepared": prepared - start, "planned": planned - prepared, "batch": done - planned}
    print(json.dumps(seconds | {"all": done - start, "processor": time.process_time() - began}), flush=True)
    sys.stdin.read()


class Started:
    """A process that gets ready to train."""

    def __init__(self, folder: Path, size: int, share_of_epoch: float = 0.0, rank: int = 0, processes: int = 1):
        words = ["--child", str(folder), *map(str, (size, share_of_epoch, rank, processes))]
        command = [sys.executable, "-m", "tools.benchmarks.scaling_manifests", *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self) -> dict[str, float]:
        """Wait until it is ready; gives what each part took."""
        assert self._process.stdout is not None
        lines = iter(self._process.stdout.readline, "")
        return next(json.loads(line) for line in lines if line.startswith("{"))

    def pss(self) -> float:
        """Its proportional share of memory in bytes."""
        text = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        assert found is not None
        return 1024.0 * int(found[1])

    def plans(self) -> set[int]:
        """The inodes of the columns of the epoch's plan that it has mapped."""
        lines = Path(f"/proc/{self._process.pid}/maps").read_text().splitlines()
        return {int(line.split()[4]) for line in lines if f"/epoch-{EPOCH}/first.npy" in line}

    def end(self) -> None:
        """Let it go."""
        self._process.communicate()


def start_once(folder: Path, size: int, share_of_epoch: float = 0.0) -> dict[str, float]:
    """The seconds of a start alone on the machine."""
    process = Started(folder, size, share_of_epoch)
    seconds = process.seconds()
    process.end()
    return seconds


class Memory(NamedTuple):
    """Bytes of several processes, what they share counted once, and the number of files that hold the epoch's plan."""

    bytes: float
    plans: int


def memory(folder: Path, size: int, processes: int) -> Memory:
    """That of processes that are ready at the same time."""
    start_once(folder, size)
    running = [Started(folder, size, 0.0, rank, processes) for rank in range(processes)]
    for process in running:
        process.seconds()
    total = sum(process.pss() for process in running)
    plans = set[int]().union(*(process.plans() for process in running))
    for process in running:
        process.end()
    return Memory(total, len(plans))


def measure(folder: Path, size: int, processes: int, rounds: int, few_bytes: float) -> list[dict[str, Any]]:
    """The rows of one size."""

    def row(what: str, ours: float, other: float | None = None, unit: str = "s") -> dict[str, Any]:
        ratio = None if not other else ours / other
        return {"what": f"{size:,} utterances: {what}", "ours": ours, "other": other, "ratio": ratio, "unit": unit}

    rows = [row("cold start", start_once(folder, size)["all"])]
    begun = [start_once(folder, size) for _ in range(rounds)]
    middle = [start_once(folder, size, 0.5) for _ in range(rounds)]
    fresh, resumed = (
        {name: statistics.median(one[name] for one in runs) for name in runs[0]} for runs in (begun, middle)
    )
    rows.append(row("warm start, with the plan of an epoch", fresh["prepared"] + fresh["planned"]))
    rows.append(row("plan of an epoch", fresh["planned"]))
    rows.append(row("to the first batch in mid-epoch; other: of the epoch", resumed["all"], fresh["all"]))
    what = "the same on the processor; other: of the epoch"
    rows.append(row(what, resumed["processor"], fresh["processor"]))
    ready = memory(folder, size, processes)
    rows.append(row(f"PSS of {processes} processes; other: on {FEW} lines", ready.bytes / 1e9, few_bytes / 1e9, "GB"))
    rows.append(row("plans on disk (small sets: each process's own)", ready.plans, None, ""))
    return rows


def main() -> None:
    """Measure, print a table, and write it if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="warm starts, of which the median is taken")
    parser.add_argument("--folder", type=Path, help="where the manifests are made, and removed")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, size, share, rank, processes = options.child
        begin(Path(name), int(size), float(share), int(rank), int(processes))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        write_corpus(folder, options.sizes)
        few_bytes = memory(folder, FEW, options.processes).bytes
        for size in options.sizes:
            for row in measure(folder, size, options.processes, options.rounds, few_bytes):
                other = "" if row["other"] is None else f"{row['other']:10.2f}"
                print(f"{row['what']:75} {row['ours']:10.2f} {other:>10} {row['unit']}", flush=True)
                rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
