"""Two minutes of speech and half a minute of silence through every decoder, an hour by CTC greedy and alignment.

    python -m tests.stress.long_audio runs/an4/conformer_s data/an4/test.jsonl --json long.json

Utterances of a set, one after the other, are the speech. Each decoder works in a process of its own, whose peak of
memory is told; the steps of a search stand beside the bound that they must not pass. Exit status 1 if one does.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hybrid_asr.audio import io
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.decoder import SearchDecoder
from hybrid_asr.decoding.joint import JointSearch
from hybrid_asr.inference.align import align
from hybrid_asr.inference.build_decoder import decoder_for
from hybrid_asr.inference.encode import encode_batch
from hybrid_asr.inference.presets import load_decoder
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.report import Scored, report

DECODERS = ("ctc_greedy", "ctc_prefix_beam", "rescoring", "ctc_beam", "attention", "joint")
LENGTHS = {"speech": 120.0, "silence": 30.0, "hour": 3600.0}
CPU = torch.device("cpu")
Row = dict[str, Any]


def main() -> int:
    """Read the command line, measure, print; 1 if a search went past its bound."""
    options = _parser().parse_args()
    if options.one:
        print(json.dumps(measure(options.run, options.manifest, *options.one.split(":"), threads=options.threads)))
        return 0
    work = [(audio, name) for audio in ("speech", "silence") for name in DECODERS]
    work += [("hour", "ctc_greedy"), ("hour", "align")]
    rows = []
    print(line({key: key for key in COLUMNS}))
    for audio, name in work:
        command = [
            sys.executable,
            "-m",
            "tests.stress.long_audio",
            str(options.run),
            str(options.manifest),
            "--one",
            f"{audio}:{name}",
        ]
        done = subprocess.run(
            [*command, "--threads", str(options.threads)], stdout=subprocess.PIPE, text=True, check=True
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(line(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["steps"] is not None and row["steps"] > row["bound"] + 1 for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--one", metavar="AUDIO:DECODER", help=argparse.SUPPRESS)
    return parser


COLUMNS = {"audio": 8, "decoder": 16, "audio_s": 8, "frames": 7, "seconds": 8, "before_mb": 10, "peak_mb": 8}
COLUMNS |= {"steps": 6, "bound": 6, "labels": 7, "ended": 6, "wer": 7}


def line(row: Row) -> str:
    """One line of the table."""
    cells = []
    for key, width in COLUMNS.items():
        value = row[key]
        shown = "" if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)
        cells.append(f"{shown:<{width}}" if key in ("audio", "decoder") else f"{shown:>{width}}")
    return "  ".join(cells)


def measure(run: Path, manifest: Path, audio: str, name: str, *, threads: int) -> Row:
    """One decoder on one audio."""
    torch.set_num_threads(threads)
    bundle = Run(run).bundle()[0].eval()
    samples, text = speech(Manifest.read(manifest), bundle.frontend.rate, LENGTHS[audio])
    if audio == "silence":
        samples, text = np.zeros(round(LENGTHS[audio] * bundle.frontend.rate), np.float32), ""
    work = _aligned if name == "align" else _decoded
    before, began = peak_mb(), time.perf_counter()
    row = work(bundle, name, samples, text)
    seconds = time.perf_counter() - began
    known = {"audio": audio, "decoder": name, "audio_s": len(samples) / bundle.frontend.rate, "seconds": seconds}
    frames = bundle.model.output_length(bundle.frontend.frames(len(samples)))
    return known | {"frames": frames, "before_mb": before, "peak_mb": peak_mb()} | row


def _decoded(bundle: Bundle, name: str, samples: np.ndarray, text: str) -> Row:
    """From the waveform to text, and what the search did for it."""
    steps = count_steps()
    decoder = decoder_for(bundle, load_decoder(name, bundle.config))
    with torch.inference_mode():
        encoded_batch = encode_batch(bundle, [samples], CPU)
        assert encoded_batch.encoded is not None
        [[best, *_]] = decoder.decode(encoded_batch.encoded, encoded_batch.log_probs)
        bound = (
            int(decoder.bound(encoded_batch.encoded, encoded_batch.log_probs))
            if isinstance(decoder, SearchDecoder)
            else None
        )
    said = {"labels": len(best.labels), "ended": best.ended, "bound": bound, "steps": steps() or None}
    return said | {"wer": wer(text, bundle.tokenizer.decode(best.labels))}


def _aligned(bundle: Bundle, name: str, samples: np.ndarray, text: str) -> Row:
    """When each word of the text was said."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.wav"
        io.write(path, samples, bundle.frontend.rate)
        found = align(bundle, path, text, CPU, units="labels")
    return {"labels": len(found.spans), "ended": None, "bound": None, "steps": None, "wer": None}


def speech(manifest: Manifest, rate: int, seconds: float) -> tuple[np.ndarray, str]:
    """Whole utterances of the set, from the first on and again, as long as they fit; and what they say."""
    parts, texts, total, place = [], [], 0.0, 0
    while total + (utterance := manifest[place % len(manifest)]).duration_s <= seconds:
        parts.append(manifest.read_audio(place % len(manifest), rate))
        texts.append(utterance.text)
        total += utterance.duration_s
        place += 1
    return np.concatenate(parts), " ".join(texts)


def count_steps() -> Callable[[], int]:
    """Have every search count its steps from now on; what is given tells how many there were."""
    run, counted = JointSearch._run, []

    def counting(search: JointSearch, *arguments: Any) -> Any:
        steps = run(search, *arguments)
        counted.append(len(steps))
        return steps

    setattr(JointSearch, "_run", counting)  # noqa: B010 - an instrument, not an override
    return lambda: sum(counted)


def wer(reference: str, hypothesis: str) -> float | None:
    """In per cent; None of silence."""
    return 100 * report([Scored("all", reference, hypothesis, None)], metric="wer").wer.value if reference else None


def peak_mb() -> float:
    """The most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
