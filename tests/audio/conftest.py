"""Sound for the tests of audio: real speech where there is some, SPHERE headers written by hand, a real ffmpeg."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

SHARED = Path(__file__).resolve().parents[2] / "../shared/data"


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """Four seconds of int16 at 16 kHz: real speech, or a buzz with a moving formant where there is no shared data."""
    files = sorted((SHARED / "LibriSpeech").glob("*/*/*/*.flac"))
    if files:
        return soundfile.read(files[0], frames=64000, dtype="int16")[0]
    time, random = np.arange(64000) / 16000, np.random.default_rng(3)
    pulses = np.sin(2 * np.pi * 110 * time + 3 * np.sin(2 * np.pi * 3 * time)) ** 31
    formant = np.sin(2 * np.pi * (900 + 500 * np.sin(2 * np.pi * 2 * time)) * time)
    loudness = np.clip(np.sin(2 * np.pi * 1.5 * time), 0, 1)
    return np.rint(9000 * loudness * pulses * formant + 20 * random.standard_normal(64000)).astype(np.int16)


@pytest.fixture(scope="session")
def write_sphere() -> Callable[..., Path]:
    """Write int16 samples (S,) or (S, C) behind a NIST header of 1024 bytes."""

    def write(path: Path, samples: np.ndarray, rate: int = 16000, order: str = "01") -> Path:
        samples = samples[:, None] if samples.ndim == 1 else samples
        fields = [
            f"sample_count -i {len(samples)}",
            f"sample_rate -i {rate}",
            "sample_n_bytes -i 2",
            f"sample_byte_format -s2 {order}",
            f"channel_count -i {samples.shape[1]}",
            "sample_coding -s3 pcm",
            "end_head",
        ]
        header = ("\n".join(["NIST_1A", "   1024", *fields]) + "\n").encode().ljust(1024, b" ")
        path.write_bytes(header + samples.astype("<i2" if order == "01" else ">i2").tobytes())
        return path

    return write


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A real ffmpeg on PATH: the system's, or the one that the package imageio-ffmpeg carries."""
    program = shutil.which("ffmpeg")
    if program is None:
        carried = pytest.importorskip("imageio_ffmpeg", reason="no ffmpeg on PATH and no package imageio-ffmpeg")
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/ffmpeg").symlink_to(carried.get_ffmpeg_exe())
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
        program = str(tmp_path / "bin/ffmpeg")
    return program


@pytest.fixture
def no_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PATH without ffmpeg."""
    (tmp_path / "nothing").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
