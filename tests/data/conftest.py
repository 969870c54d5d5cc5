"""Small real corpora: noise in wav files, with a manifest."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.data.manifest import Manifest, Utterance, write_manifest

RATE = 16000
WORDS = ("yes", "no", "nine nine", "hello there", "go", "stop it now", "a", "one two three four")


@pytest.fixture
def make_wav(tmp_path: Path):
    """Write `name` with `seconds` of quiet noise; gives its path."""

    def make(name: str, seconds: float, *, rate: int = RATE) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(name)).normal(0, 0.05, round(seconds * rate)).astype(np.float32)
        soundfile.write(path, noise, rate)
        return path

    return make


@pytest.fixture
def make_manifest(tmp_path: Path, make_wav):
    """Write wav files of the given seconds and a manifest `name` of them; texts are WORDS in turn unless given."""

    def make(seconds, *, name: str = "train", texts=None, speakers=None) -> Manifest:
        utterances = []
        for index, duration in enumerate(seconds):
            make_wav(f"{name}/{index}.wav", duration)
            utterances.append(
                Utterance(
                    id=f"{name}-{index}",
                    audio=f"{name}/{index}.wav",
                    duration_s=duration,
                    text=texts[index] if texts else WORDS[index % len(WORDS)],
                    speaker=speakers[index] if speakers else None,
                )
            )
        write_manifest(tmp_path / f"{name}.jsonl", utterances)
        return Manifest.read(tmp_path / f"{name}.jsonl")

    return make
