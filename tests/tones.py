"""A corpus of tones, one pitch a letter, which a tiny model learns in seconds; and the recipe to learn it."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile

CHECKOUT = Path(__file__).resolve().parents[1]
RATE = 8000
LETTER_S = 0.12
LETTERS = "abcdef"
SIZES = {"train": 48, "valid": 8, "test": 8}
RECIPE = """
presets: {features: fbank80, tokenizer: char, model: conformer_s, optim: constant, trainer: cpu, decode: joint}
features: {rate: 8000, bins: 20}
model:
  encoder: {dim: 32, layers: 1, heads: 2, feed_forward: 64, kernel: 5, channels: 8, dropout: 0.0}
  decoder: {dim: 32, layers: 1, heads: 2, feed_forward: 64, dropout: 0.0}
data: {train: train.jsonl, valid: valid.jsonl, test: [test.jsonl], batch_seconds: 8}
augment: {spec: {time_masks: 0, freq_masks: 0}}
loss: {ctc_weight: 0.5}
optim: {lr: 0.01, warmup: 20}
trainer: {epochs: 4, log_every: 1, threads: 1, average_count: 2, attention_pictures: 0}
decode: {beam: 3}
"""


def sound(text: str, rng: np.random.Generator) -> np.ndarray:
    """A tone for each letter, silence for a space, and a little noise."""
    time = np.arange(round(LETTER_S * RATE)) / RATE
    pitches = [0 if letter == " " else 500 + 500 * LETTERS.index(letter) for letter in text]
    tones = [0.3 * np.sin(2 * np.pi * pitch * time) * np.hanning(len(time)) for pitch in pitches]
    return (np.concatenate(tones) + rng.normal(0, 0.003, len(time) * len(tones))).astype(np.float32)


def write_corpus(folder: Path) -> Path:
    """Write wav files, three manifests and `tiny.yaml` into `folder`, byte for byte the same each time; returns it."""
    rng = np.random.default_rng(7)
    for name, size in SIZES.items():
        lines = []
        (folder / name).mkdir(parents=True)
        for number in range(size):
            words = ["".join(rng.choice(list(LETTERS), rng.integers(1, 4))) for _ in range(rng.integers(2, 4))]
            samples = sound(" ".join(words), rng)
            audio = f"{name}/{number:02d}.wav"
            soundfile.write(folder / audio, samples, RATE)
            entry = {"id": f"{name}-{number:02d}", "audio": audio, "duration_s": len(samples) / RATE}
            lines.append(entry | {"text": " ".join(words), "speaker": f"{name}{number % 3}"})
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "tiny.yaml").write_text(RECIPE)
    return folder


def lexicon_of(tones: Path, *sets: str) -> str:
    """A phoneme a letter, another where a word ends, as a pause is heard there: else 'a b' and 'ab' were the same.

    Some words have a second pronunciation, which nobody says.
    """
    from hybrid_asr.data.manifest import Manifest

    said = {word for name in sets for one in Manifest.read(tones / f"{name}.jsonl") for word in one.text.split()}
    lines = [f"{word}  {' '.join(word.upper())}|" for word in sorted(said)]
    return "\n".join([*lines, *(f"{word}(2)  F F {word[0].upper()} F F" for word in sorted(said)[::9])]) + "\n"


def words(tones: Path, run: Path, *settings: str) -> list[str]:
    """The command line that trains `tiny.yaml` in the folder `run`."""
    return ["train", str(tones / "tiny.yaml"), f"data.root={tones}", *settings, "--folder", str(run)]


def train(tones: Path, run: Path, *settings: str) -> int:
    """Train `tiny.yaml` in this process; gives the exit status."""
    from hybrid_asr.cli import main

    return main(words(tones, run, *settings))


def rows(run: Path, column: str) -> list[float]:
    """The numbers of one column of a run's metrics, in their order."""
    with (run / "metrics.csv").open(newline="") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row[column]]


def process(*arguments: str, code: str = "", **options) -> subprocess.CompletedProcess[str]:
    """Run the command line, after `code`, in a process of its own."""
    start = f"import sys\n{code}\nfrom hybrid_asr.cli import main\nsys.exit(main({list(arguments)!r}))"
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", start], env=environment, capture_output=True, text=True, timeout=240, **options
    )
