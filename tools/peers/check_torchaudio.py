"""Is what we compute what torchaudio computes?  `make check-torchaudio`, or in an environment with torchaudio:

    python -m tools.peers.check_torchaudio --data data/spoken [--sound FILE.flac …]
    python -m tools.peers.check_torchaudio --write-fixture tests/audio/torchaudio.npz

Prints a table: what, the figure, its bound, the verdict; exit status 1 if one misses. Features, alignments and what
resampling leaves alone are compared number by number; masks, which are drawn, by their law (chi-square, p > 0.001);
resampling filters, which are a matter of taste, by gain and aliasing. Then both front ends train a few steps.
"""

import argparse
import csv
import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
import torch
import torchaudio  # pyright: ignore[reportMissingImports]
from scipy import stats  # pyright: ignore[reportMissingImports]

from hybrid_asr.audio import io
from hybrid_asr.audio.augment import SpecAugment, SpecAugmentConfig
from hybrid_asr.audio.fbank import Fbank, FbankConfig
from hybrid_asr.audio.features import Features
from hybrid_asr.audio.torchaudio_fbank import TorchaudioConfig, TorchaudioFbank
from hybrid_asr.data.manifest import Manifest, write_manifest
from hybrid_asr.decoding.ctc_align import ctc_align
from tools.peers.torchaudio_peer import (
    CONFIGS,
    KAISER_BEST,
    Aligner,
    alignments,
    fbank,
    frequency_masks,
    load_aligner,
    mask_places,
    resample,
    time_masks,
    write_fixture,
)
from tools.peers.torchaudio_peer import speech as made_speech

ROOT = Path(__file__).resolve().parents[2]
MASK, SIZE, DRAWS = 30, 100, 20000
TRUSTED_DB = 60.0  # below the loudest bin of its frame float32 has fewer digits than the bound; float64 has them all
SPEEDS = (0.9, 1.1)


class Row(NamedTuple):
    """A line of the table; `bound` None: told, not judged."""

    what: str
    figure: float
    unit: str
    bound: float | None = None
    at_least: bool = False

    @property
    def missed(self) -> bool:
        """Whether the figure lies on the wrong side of its bound, or is no number."""
        if self.bound is None:
            return False
        return not (self.figure >= self.bound if self.at_least else self.figure <= self.bound)

    def __str__(self) -> str:
        side = ">=" if self.at_least else "<="
        bound = "" if self.bound is None else f"{side} {self.bound:g}"
        verdict = "" if self.bound is None else "MISSED" if self.missed else "ok"
        return f"{self.what:<72} {self.figure:>10.3g} {self.unit:<6} {bound:<9} {verdict}".rstrip()


def features(sounds: list[np.ndarray]) -> Iterator[Row]:
    """Every configuration over all sounds (16 kHz): the largest difference of log energies."""
    for name, cfg in CONFIGS.items():
        compared = [
            _compare(torch.from_numpy(sound if cfg.rate == 16000 else sound[::2].copy()), cfg) for sound in sounds
        ]
        exact, trusted, ours, theirs = np.array(compared).T
        yield Row(f"features, {name}: float64", exact.max(), "nats", 1e-3)
        yield Row(f"  ours in float32, {TRUSTED_DB:.0f} dB of each frame", trusted.max(), "nats", 1e-3)
        yield Row("  mean error of float32: ours over torchaudio's", ours.mean() / theirs.mean(), "", 1.0)


def _compare(audio: torch.Tensor, cfg: FbankConfig) -> tuple[float, float, float, float]:
    """Largest differences from theirs in float64, ours in float64 and in float32; mean errors of float32."""
    frontend, sizes = Fbank(cfg), torch.tensor([len(audio)])
    theirs, exact_theirs = fbank(audio, cfg), fbank(audio.double(), cfg)
    ours, exact = (frontend.raw(one[None], sizes).values[0] for one in (audio, audio.double()))
    assert ours.shape == theirs.shape, f"{cfg}: {tuple(ours.shape)} and {tuple(theirs.shape)}"
    trusted = exact > exact.amax(1, keepdim=True) - TRUSTED_DB / 10 * np.log(10)
    mine, other = (float((one - exact).abs().mean()) for one in (ours, theirs))
    return _most(exact - exact_theirs), _most((ours - exact_theirs)[trusted]), mine, other


def second_front_end(sounds: list[np.ndarray]) -> Iterator[Row]:
    """Kind `torchaudio`: its normalized features beside ours, and an utterance alone beside one among others."""
    sizes = torch.tensor([len(sound) for sound in sounds])
    audio = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(sound).double() for sound in sounds], batch_first=True)
    theirs, ours = TorchaudioFbank(TorchaudioConfig()), Fbank(FbankConfig())
    together = theirs(audio, sizes)
    yield Row(
        "kind torchaudio beside kind fbank, normalized", _most(together.values - ours(audio, sizes).values), "", 1e-3
    )
    alone = [
        theirs(audio[row : row + 1, :size], sizes[row : row + 1]).values[0] for row, size in enumerate(sizes.tolist())
    ]
    worst = max(_most(together.values[row, : len(one)] - one) for row, one in enumerate(alone))
    yield Row("kind torchaudio: an utterance alone or in a batch", worst, "", 1e-9)


def alignment(aligner: Aligner) -> Iterator[Row]:
    """Random posteriors with repeated labels: the same frames for every label."""
    cases, spans, score = alignments(aligner, 200), 0, 0.0
    for log_probs, labels, path in cases:
        sizes = torch.tensor([len(log_probs)]), torch.tensor([len(labels)])
        found = ctc_align(log_probs[None], sizes[0], labels[None], sizes[1], blank=0)[0]
        assert found is not None, "torchaudio found a path and we did not"
        ours = torch.zeros_like(path)
        for span in found.spans:
            ours[span.start : span.end] = span.label
        spans += int((ours != path).sum())
        score = max(score, abs(found.score - float(log_probs.double().gather(1, path[:, None].long()).sum())))
    yield Row(f"alignment, {len(cases)} utterances: frames that differ", spans, "", 0)
    yield Row("alignment: score of the best path", score, "nats", 1e-4)


def masks() -> Iterator[Row]:
    """One mask of 0 to 30 places in 100: its width, its place. torchaudio's parameter is one beyond its widest mask."""
    torch.manual_seed(1)
    random = np.random.default_rng(1)
    for name, masks_of, frames, bins in (("time", time_masks, SIZE, 1), ("frequency", frequency_masks, 1, SIZE)):
        one = SpecAugmentConfig(
            time_masks=int(frames > 1), freq_masks=int(bins > 1), time_width=MASK, freq_width=MASK, time_share=1.0
        )
        clear = Features(torch.ones(DRAWS, frames, bins), torch.full((DRAWS,), frames))
        widths, starts = mask_places(SpecAugment(one)(clear)[0].values.flatten(1) == 0)
        theirs, begins = mask_places(masks_of(MASK + 1, SIZE, DRAWS))
        counts = np.stack([np.bincount(found, minlength=MASK + 1) for found in (widths, theirs)])
        yield Row(f"{name} mask, widths uniform in 0..{MASK}", stats.chisquare(counts[0]).pvalue, "p", 1e-3, True)
        yield Row(f"{name} mask, widths as torchaudio's", stats.chi2_contingency(counts).pvalue, "p", 1e-3, True)
        share = (starts + random.random(DRAWS))[widths > 0] / (SIZE + 1 - widths[widths > 0])
        tenths = np.bincount((share * 10).astype(int), minlength=10)
        yield Row(f"{name} mask, uniform wherever it fits", stats.chisquare(tenths).pvalue, "p", 1e-3, True)
        tens = np.stack([np.bincount(found[(found >= 0) & (found < 60)] // 10) for found in (starts, begins)])
        yield Row(f"{name} mask, begins as torchaudio's up to 60", stats.chi2_contingency(tens).pvalue, "p", 1e-3, True)
        for whose, first, wide in (("ours", starts, widths), ("torchaudio's", begins, theirs)):
            yield Row(f"  {whose}: masks that reach the last place", int((first + wide == SIZE)[wide > 0].sum()), "")


def resampling(sounds: list[np.ndarray], folder: Path) -> Iterator[Row]:
    """44.1 to 16 kHz as `io.read` does it: sines that must pass, sines that must not, and speech."""
    pairs = (
        ("gain of sines to 7 kHz, off 0 dB", (100, 1000, 3000, 5000, 7000), 0.1),
        ("gain at 7.5 kHz", (7500,), 1.0),
    )
    for what, hertz, bound in pairs:
        gains = np.abs([_gains(hz, folder) for hz in hertz]).max(0)
        yield from _beside(f"44.1 to 16 kHz: {what}", gains, bound)
    gains = np.max([_gains(hz, folder) for hz in (9000, 10000, 12000, 15000, 20000)], 0)
    yield from _beside("44.1 to 16 kHz: alias of sines from 9 kHz on", gains, -90.0)
    for name, before, after in (("16 to 8 kHz", 16000, 8000), ("8 to 16 kHz", 8000, 16000)):
        apart = []
        for sound in sounds:
            source = sound if before == 16000 else sound[::2].copy()
            theirs = resample(source, before, after, **KAISER_BEST)
            apart.append(_apart_db(_ours(source, before, after, folder), theirs, 0.85 * min(before, after) / after))
        yield Row(f"speech, {name}: what differs below 85 % of the band", max(apart), "dB", -60.0)
    for factor in SPEEDS:
        apart = []
        for sound in sounds:
            theirs = torchaudio.functional.speed(torch.from_numpy(sound), 16000, factor)[0].numpy()
            best = resample(sound, round(16000 * factor), 16000, **KAISER_BEST)
            mine = io.change_speed(sound, factor, 16000)
            assert abs(len(mine) - len(theirs)) <= 1, f"speed {factor}: {len(mine)} and {len(theirs)} samples"
            apart.append(_apart_db(mine, best, 0.85 * min(1.0, factor)))
        yield Row(f"speech, speed {factor}: what differs below 85 % of the band", max(apart), "dB", -60.0)


def _beside(what: str, found: np.ndarray, bound: float) -> Iterator[Row]:
    """A figure of ours, and what torchaudio's filters give."""
    yield Row(what, found[0], "dB", bound)
    yield Row("  torchaudio's best filter (kaiser_best)", found[1], "dB")
    yield Row("  torchaudio's default", found[2], "dB")


def _gains(hz: int, folder: Path) -> tuple[float, float, float]:
    """Level in dB of what is left of a sine: ours, torchaudio's best filter, its default."""
    sine = np.sin(2 * np.pi * hz * np.arange(44100) / 44100).astype(np.float32) * 0.5
    made = _ours(sine, 44100, 16000, folder), resample(sine, 44100, 16000, **KAISER_BEST), resample(sine, 44100, 16000)
    ours, best, default = (float(20 * np.log10(one[2000:-2000].std() / sine.std() + 1e-12)) for one in made)
    return ours, best, default


def _ours(samples: np.ndarray, before: int, after: int, folder: Path) -> np.ndarray:
    soundfile.write(folder / "sound.wav", samples, before, subtype="FLOAT")
    return io.read(folder / "sound.wav", rate=after)


def _apart_db(ours: np.ndarray, theirs: np.ndarray, band: float) -> float:
    """Level of the difference below a share of half the rate, relative to the sound, without the ends."""
    size = min(len(ours), len(theirs))
    fade = np.hanning(size)
    mine, other = (np.fft.rfft(one[:size] * fade)[: int(band * size / 2)] for one in (ours, theirs))
    return float(10 * np.log10((np.abs(mine - other) ** 2).sum() / (np.abs(other) ** 2).sum() + 1e-20))


def training(data: Path, folder: Path) -> Iterator[Row]:
    """Both front ends train `spoken` on the same few utterances: the same losses; kind torchaudio's model decodes."""
    for name, count in (("train", 60), ("valid", 4), ("test", 8)):
        _cut(data / f"{name}.jsonl", folder / "small" / f"{name}.jsonl", count)
    ours, theirs = (_losses(preset, folder) for preset in ("fbank80", "torchaudio80"))
    _command("decode", str(folder / "torchaudio80"), "--sets", "test", "--decoders", "ctc_greedy,joint")
    decoded = (folder / "torchaudio80/decode/test").glob("*/hypotheses.jsonl")
    lines = sum(len(path.read_text().splitlines()) for path in decoded)
    apart = np.abs(ours / theirs - 1)
    yield Row("training steps of kind torchaudio", len(theirs), "", 5, True)
    yield Row("training: first loss beside kind fbank, relative", apart[0], "", 1e-4)
    yield Row("training: any loss beside kind fbank, relative (rounding grows)", apart.max(), "", 1e-3)
    yield Row("training: last loss of kind torchaudio over its first", theirs[-1] / theirs[0], "", 1.0)
    yield Row("decoding: hypotheses written", lines, "", 16, True)


def _losses(preset: str, folder: Path) -> np.ndarray:
    """The loss of every step of two epochs with a preset of features. The recipe's own key goes with its own kind."""
    changed = [
        *(f"data.root={folder}", "data.train=small/train.jsonl", "data.valid=small/valid.jsonl"),
        *("data.test=[small/test.jsonl]", f"presets.features={preset}", "features.cmvn_scale=mean"),
        *("trainer.epochs=2", "trainer.log_every=1", "trainer.threads=1", "optim.warmup=5"),
    ]
    run = folder / preset
    _command("train", str(ROOT / "recipes/spoken/conformer_s.yaml"), "--folder", str(run), *changed)
    with (run / "metrics.csv").open() as file:
        return np.array([float(row["train.loss"]) for row in csv.DictReader(file) if row["train.loss"]])


def _cut(source: Path, to: Path, count: int) -> None:
    """The first utterances of a manifest, their audio named absolutely."""
    manifest = Manifest.read(source)
    to.parent.mkdir(exist_ok=True)
    chosen = [manifest[place] for place in range(min(count, len(manifest)))]
    paths = [str(manifest.audio_path(place).resolve()) for place in range(len(chosen))]
    write_manifest(to, [dataclasses.replace(one, audio=path) for one, path in zip(chosen, paths, strict=True)])


def _command(*arguments: str) -> None:
    """hybrid-asr of this interpreter and this tree."""
    code = "import sys; from hybrid_asr.cli import main; sys.exit(main())"
    settings = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=settings, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"hybrid-asr {' '.join(arguments)}\n{done.stdout}{done.stderr}")


def _most(difference: torch.Tensor) -> float:
    return float(difference.abs().max())


def main() -> int:
    """Compare, print, and say how many missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="the folder that `hybrid-asr prepare spoken` wrote; without it, no training"
    )
    parser.add_argument("--sound", type=Path, nargs="*", default=[], help="real speech to compare features on as well")
    parser.add_argument("--write-fixture", type=Path, metavar="FILE", help="write torchaudio's numbers for the tests")
    options = parser.parse_args()
    torch.set_num_threads(1)
    aligner, how = load_aligner()
    if options.write_fixture:
        write_fixture(options.write_fixture, aligner)
        return 0
    sounds = [made_speech(4.0), made_speech(2.5, seed=1), *(io.read(path)[:160000] for path in options.sound)]
    print(f"torchaudio {torchaudio.__version__}, torch {torch.__version__}; {len(options.sound)} real sounds, 2 made")
    print(f"alignment: {how}\n", flush=True)
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        parts = [features(sounds), second_front_end(sounds), masks(), resampling(sounds, Path(name))]
        parts += [alignment(aligner)] if aligner else []
        parts += [training(options.data, Path(name))] if options.data else []
        for part in parts:
            for row in part:
                missed += row.missed
                print(row, flush=True)
    print(f"\n{missed} missed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
