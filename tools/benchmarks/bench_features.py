"""Features, reading and speeds beside torchaudio's, in one process and in turns: medians, ranges, ratios.

    .venv-peers/bin/python -m tools.benchmarks.bench_features [--rounds 40] [--json FILE]

Both sides get the same sound. Before anything is timed, their results are compared; where they differ no ratio is
printed. torchaudio's `compliance.kaldi.fbank` takes one utterance, so a batch is a loop over it and one stacking; its
normalization is what is written after it everywhere. torchaudio 2.11 cannot load sound files without torchcodec, so its
users read by soundfile; their resampling and speeds are `transforms.Resample` and `transforms.Speed`, once with the
default filter and once with its best.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile
import soxr
import torch

try:
    import torchaudio  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError:
    sys.exit("torchaudio is not installed here: run make peers, then .venv-peers/bin/python")
from torch import Tensor

from hybrid_asr.audio import io
from hybrid_asr.audio.fbank import Fbank, FbankConfig
from tools.benchmarks.sphere import write_sphere
from tools.peers.torchaudio_peer import KAISER_BEST, fbank, speech

GOAL = 1.5


class Case(NamedTuple):
    """Two ways to one result; `apart` (dB, or nats) is how far theirs lies from ours and `most` how far it may."""

    what: str
    ours: Callable[[], Any]
    other: Callable[[], Any]
    apart: float
    most: float


class Timed(NamedTuple):
    """Medians and ranges in milliseconds."""

    case: Case
    ours: list[float]
    other: list[float]

    @property
    def same(self) -> bool:
        return self.case.apart <= self.case.most

    @property
    def ratio(self) -> float:
        return statistics.median(self.other) / statistics.median(self.ours)

    @property
    def quiet_ratio(self) -> float:
        """Of the quickest rounds: what is left where others use the machine as well."""
        return min(self.other) / min(self.ours)

    def record(self) -> dict[str, Any]:
        """A line of the JSON file; no ratio where the results differ."""
        ours, other = statistics.median(self.ours), statistics.median(self.other)
        ratio = round(self.ratio, 3) if self.same else None
        return {"what": self.case.what, "ours": round(ours, 4), "other": round(other, 4), "ratio": ratio, "unit": "ms"}

    def __str__(self) -> str:
        sides = "  ".join(f"{statistics.median(t):9.3f} ({min(t):.3f} to {max(t):.3f})".ljust(34) for t in self[1:])
        return f"{self.case.what:<60} {sides}  " + (
            f"{self.ratio:6.2f} {self.quiet_ratio:8.2f}" if self.same else "results differ"
        )


def feature_cases() -> Iterator[Case]:
    """Log-mel energies alone and normalized; batches of 1 and 8, 10 s, 3 s, and of mixed lengths."""
    for seconds in (10.0, 3.0):
        for batch in (1, 8):
            yield from _features(f"batch {batch} of {seconds:.0f} s", [seconds] * batch)
    yield from _features("batch 8 of 3 to 10 s", [3.0 + place for place in range(8)])


def _features(what: str, seconds: list[float]) -> Iterator[Case]:
    sounds = [torch.from_numpy(speech(length, seed=place)) for place, length in enumerate(seconds)]
    audio = torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True)
    sizes = torch.tensor([len(sound) for sound in sounds])
    for name, cfg in (("log-mel", FbankConfig(cmvn="none")), ("log-mel, normalized", FbankConfig())):
        frontend = Fbank(cfg).eval()

        def ours(frontend: Fbank = frontend) -> Tensor:
            return frontend(audio, sizes).values

        def other(cfg: FbankConfig = cfg) -> Tensor:
            made = [fbank(row[:size], cfg) for row, size in zip(audio, sizes.tolist(), strict=True)]
            if cfg.cmvn == "utterance":
                made = [(one - one.mean(0)) / one.std(0, unbiased=False) for one in made]
            return torch.nn.utils.rnn.pad_sequence(made, batch_first=True)

        # some cells lie so far below the rest of their frame that float32 has no digit left there
        apart = float(np.quantile((ours() - other()).abs().numpy(), 0.999))
        yield Case(f"{name}, {what}", ours, other, apart, 1e-3)


def sound_cases(folder: Path) -> Iterator[Case]:
    """Reading 10 s of flac and SPHERE, of 44.1 kHz to 16 kHz, and two speeds."""
    narrow = speech(10.0)
    wide = soxr.resample(narrow, 16000, 44100, quality="VHQ").astype(np.float32)
    soundfile.write(folder / "narrow.flac", narrow, 16000)
    soundfile.write(folder / "wide.flac", wide, 44100)
    write_sphere(folder / "narrow.sph", narrow)
    for suffix in ("flac", "sph"):
        path = folder / f"narrow.{suffix}"

        def read(path: Path = path) -> np.ndarray:
            return io.read(path)

        yield _sound(f"read {suffix}, 16 kHz", read, lambda path=path: _soundfile(path).numpy(), most=-120.0)
    for name, filter in (("default", {}), ("best filter", KAISER_BEST)):
        down = torchaudio.transforms.Resample(44100, 16000, **filter)
        yield _sound(
            f"read flac, 44.1 to 16 kHz ({name})",
            lambda: io.read(folder / "wide.flac", rate=16000),
            lambda down=down: down(_soundfile(folder / "wide.flac")).numpy(),
        )
    for factor in (0.9, 1.1):
        default = torchaudio.transforms.Speed(16000, factor)
        best = torchaudio.transforms.Resample(round(16000 * factor), 16000, **KAISER_BEST)
        for name, other in (("default", lambda x, it=default: it(x)[0]), ("best filter", lambda x, it=best: it(x))):
            yield _sound(
                f"speed {factor} ({name})",
                lambda by=factor: io.change_speed(narrow, by, 16000),
                lambda other=other: other(torch.from_numpy(narrow)).numpy(),
            )
    yield _whole_way(folder / "wide.flac")


def _whole_way(path: Path) -> Case:
    """From a file of 44.1 kHz to the features of a perturbed utterance."""
    down, fast = torchaudio.transforms.Resample(44100, 16000), torchaudio.transforms.Speed(16000, 1.1)
    frontend = Fbank(FbankConfig(cmvn="none")).eval()

    def ours() -> np.ndarray:
        samples = torch.from_numpy(io.change_speed(io.read(path), 1.1, 16000))
        return frontend(samples[None], torch.tensor([len(samples)])).values[0].numpy()

    def other() -> np.ndarray:
        return fbank(fast(down(_soundfile(path)))[0], FbankConfig()).numpy()

    apart = float(np.median(np.abs(ours() - other()[: len(ours())])))
    return Case("44.1 kHz flac to log-mel at speed 1.1 (default)", ours, other, apart, 0.1)


def _sound(what: str, ours: Callable[[], Any], other: Callable[[], Any], most: float = -30.0) -> Case:
    """How far apart two sounds are, in dB of the sound, below 5 kHz, where no filter should matter."""
    mine, theirs = ours(), other()
    size = min(len(mine), len(theirs))
    spectra = [np.fft.rfft(one[:size] * np.hanning(size))[: round(size / 16000 * 5000)] for one in (mine, theirs)]
    power = (np.abs(spectra[0] - spectra[1]) ** 2).sum() / (np.abs(spectra[0]) ** 2).sum()
    return Case(what, ours, other, float(10 * np.log10(power + 1e-20)), most)


def _soundfile(path: Path) -> Tensor:
    return torch.from_numpy(soundfile.read(path, dtype="float32")[0])


def measure(case: Case, rounds: int) -> Timed:
    """Time both sides in turns, the first of each turn alternating, after two rounds that do not count."""
    found: tuple[list[float], list[float]] = ([], [])
    sides = case.ours, case.other
    for turn in range(rounds + 2):
        for side in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            sides[side]()
            if turn >= 2:
                found[side].append((time.perf_counter() - began) * 1e3)
    return Timed(case, *found)


def main() -> int:
    """Both tables; exit status 1 if results differ in the first one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the medians and ratios here")
    options = parser.parse_args()
    done: list[Timed] = []
    print(
        f"torch {torch.__version__}, torchaudio {torchaudio.__version__}; {options.rounds} rounds; median (range) in ms"
    )
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        for title, cases in (
            ("features", list(feature_cases())),
            ("reading and speeds", list(sound_cases(Path(name)))),
        ):
            for threads in options.threads:
                torch.set_num_threads(threads)
                print(
                    f"\n{title}, {threads} threads".ljust(62),
                    "ours".ljust(35),
                    "torchaudio".ljust(33),
                    "ratio",
                    "quickest",
                )
                for case in cases:
                    timed = measure(case._replace(what=f"{case.what}, {threads} threads"), options.rounds)
                    done.append(timed)
                    print(timed, flush=True)
    features = [one for one in done if one.case.what.startswith("log-mel")]
    print(
        f"\nfeatures: {min(one.ratio for one in features):.2f} times torchaudio's speed or more, "
        f"{min(one.quiet_ratio for one in features):.2f} by the quickest rounds (goal {GOAL})"
    )
    if options.json:
        options.json.write_text(json.dumps([one.record() for one in done], indent=1) + "\n", encoding="utf-8")
    differing = [row.case.what for row in done if not row.same]
    print(f"{len(done)} measurements, " + (f"results differ: {', '.join(differing)}" if differing else "equal results"))
    return int(not all(row.same for row in features))


if __name__ == "__main__":
    sys.exit(main())
