"""The same speech as mp3, as 44.1 kHz stereo and as SPHERE: does a model write the same words?

    python -m tests.stress.check_formats runs/an4/conformer_s data/an4/test.jsonl --count 20

Prints the words that differ from those of the original files, and fails if they are more than 2 %.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr

import hybrid_asr
from hybrid_asr.audio import io
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.scoring.align import count_errors
from tools.benchmarks.sphere import write_sphere

RATE = 16000
MOST = 0.02  # of the words may differ


def write_mp3(path: Path, samples: np.ndarray) -> None:
    """MPEG layer 3 at libsndfile's default quality."""
    soundfile.write(path, samples, RATE, format="MP3")


def write_stereo(path: Path, samples: np.ndarray) -> None:
    """44.1 kHz, two channels, one quieter than the other."""
    wide = soxr.resample(samples, RATE, 44100, quality="VHQ")
    soundfile.write(path, np.stack([wide, 0.5 * wide], axis=1), 44100, subtype="PCM_16")


FORMATS: dict[str, tuple[str, Callable[[Path, np.ndarray], None]]] = {
    "mp3": (".mp3", write_mp3),
    "44.1 kHz stereo": (".wav", write_stereo),
    "SPHERE": (".sph", write_sphere),
}


def main() -> int:
    """Transcribe originals and copies, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--count", type=int, default=20)
    options = parser.parse_args()
    manifest = Manifest.read(options.manifest)
    places = np.linspace(0, len(manifest) - 1, options.count).astype(int)
    originals = [manifest.audio_path(place) for place in places]
    recognizer = hybrid_asr.load(options.run)
    expected = [transcript.text for transcript in recognizer.transcribe(originals)]
    words, failed = sum(len(text.split()) for text in expected), False
    with tempfile.TemporaryDirectory() as folder:
        for name, (suffix, write) in FORMATS.items():
            copies = [Path(folder) / f"{index}{suffix}" for index in range(len(originals))]
            for path, original in zip(copies, originals, strict=True):
                write(path, io.read(original, rate=RATE))
            texts = [transcript.text for transcript in recognizer.transcribe(copies)]
            different = 0
            for original, before, after in zip(originals, expected, texts, strict=True):
                errors = count_errors(before, after, "word").errors
                different += errors
                if errors:
                    print(f"{name}: {original.stem}: '{before}' became '{after}'")
            print(f"{name}: {different} of {words} words differ in {len(originals)} utterances")
            failed |= different > MOST * words
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
