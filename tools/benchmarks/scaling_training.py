"""How does a training scale?  Seconds of audio a second on 1 and 2 processes, waiting for data, what saving costs.

    python -m tools.benchmarks.scaling_training --rounds 3
    python -m tools.benchmarks.scaling_training --recipe an4/conformer_s data.root=data

Real trainings by the command line, one thread a process, in turns; their own clock counts, which runs from the first
step to the last. Without --recipe the model of an4/conformer_s learns tones of 1 to 8 s that are made for this. Two
processes on two cores share caches and memory: less than twice the speed is what such a machine gives.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from hybrid_asr.run.folder import Run
from tests.tones import LETTERS, RATE, sound
from tools.benchmarks.sidebyside import ROOT, Row

WAITED = re.compile(r"([\d.]+)% of it waiting for data")
PLANNED_HOURS = re.compile(r"first epoch: \d+ steps, ([\d.]+) h")
EACH_UPDATE = "trainer.save_steps=1"
VARIANTS = {
    "1 process": (),
    "2 processes": ("trainer.devices=2",),
    "1 process, a state after each update": (EACH_UPDATE,),
    "2 processes, a state after each update": ("trainer.devices=2", EACH_UPDATE),
}


class Speed(NamedTuple):
    """What a training took: seconds a step, seconds of audio a second, and the share of time that waited for data."""

    step_s: float
    audio_per_second: float
    waited: float


def main() -> int:
    """Read the command line, train, print; 0 where every training ended well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--recipe", help="(default: the model of an4/conformer_s on tones)")
    parser.add_argument("--utterances", type=int, default=400, help="of the tones (default 400)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        rows = measure(options, Path(folder))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(options: argparse.Namespace, work: Path) -> list[Row]:
    """Train each variant in turn, `rounds` times; medians."""
    settings = [*options.overrides, "trainer.epochs=1", "trainer.valid_every=1000", "trainer.threads=1"]
    if options.recipe is None:
        write_tones(work, options.utterances)
        settings += [f"data.root={work}", "data.train=train.jsonl", "data.valid=valid.jsonl", "data.test=[]"]
    recipe = options.recipe or "an4/conformer_s"
    found: dict[str, list[Speed]] = {name: [] for name in VARIANTS}
    for turn in range(options.rounds):
        for number, (name, own) in enumerate(VARIANTS.items()):
            found[name].append(train(recipe, [*settings, *own], work / f"run-{turn}-{number}"))
    middle = {name: Speed(*map(statistics.median, zip(*speeds, strict=True))) for name, speeds in found.items()}
    print(f"{recipe}, {options.rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for name, speed in middle.items():
        audio = f"{speed.audio_per_second:7.1f} s of audio/s"
        print(f"{name:40} {speed.step_s:7.3f} s a step {audio}  waits for data {speed.waited:.1%}")
    one, two, one_saving, two_saving = middle.values()
    return [
        _row("audio/s: 2 processes and 1", two.audio_per_second, one.audio_per_second),
        _row(
            "audio/s of 1 process: a state after each update and none",
            one_saving.audio_per_second,
            one.audio_per_second,
        ),
        _row(
            "audio/s of 2 processes: a state after each update and none",
            two_saving.audio_per_second,
            two.audio_per_second,
        ),
    ]


def _row(what: str, ours: float, other: float) -> Row:
    unit = "seconds of audio a second"
    return {
        "what": what,
        "ours": round(ours, 2),
        "other": round(other, 2),
        "ratio": round(ours / other, 3),
        "unit": unit,
    }


def train(recipe: str, settings: list[str], run: Path) -> Speed:
    """One training in processes of its own. Raises SystemExit with what it said where it fails."""
    command = [sys.executable, "-m", "hybrid_asr.cli", "train", recipe, *settings, "--folder", str(run)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    hours, waited = PLANNED_HOURS.search(done.stderr), WAITED.search(done.stderr)
    status = Run(run).status()
    if done.returncode or hours is None or waited is None or status is None or not status.elapsed_s:
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    audio_s, spent_s = 3600 * float(hours[1]), status.elapsed_s
    return Speed(spent_s / status.step, audio_s / spent_s, float(waited[1]) / 100)


def write_tones(folder: Path, utterances: int) -> None:
    """Utterances of 1 to 8 s for training, and four for validation."""
    rng = np.random.default_rng(3)
    for name, count in (("train", utterances), ("valid", 4)):
        lines = []
        (folder / name).mkdir(parents=True)
        for number in range(count):
            words = ["".join(rng.choice(list(LETTERS), rng.integers(2, 6))) for _ in range(rng.integers(2, 15))]
            samples = sound(" ".join(words), rng)
            soundfile.write(folder / name / f"{number}.wav", samples, RATE)
            entry = {"id": f"{name}-{number}", "audio": f"{name}/{number}.wav", "duration_s": len(samples) / RATE}
            lines.append(json.dumps(entry | {"text": " ".join(words)}) + "\n")
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
