"""Our numbers beside torchaudio's, from a file, and the front end of kind `torchaudio` where it cannot be had.

torchaudio.npz: what torchaudio 2.11.0 gives for made sound, by tools.peers.check_torchaudio with --write-fixture:
int16 `samples` and `fbankN` for each configuration of CONFIGS below; `time_widths` and `freq_widths`, how often each
width of a mask was drawn; noise at 44.1 kHz (`wide`) and what 16 kHz leave of it, noise at 16 kHz (`narrow`) and its
speeds, by torchaudio's best filter. Its alignments are held to in tests/decoding/test_ctc_align.py.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hybrid_asr.audio import io
from hybrid_asr.audio.augment import SpecAugment, SpecAugmentConfig
from hybrid_asr.audio.build import build_features
from hybrid_asr.audio.fbank import Fbank, FbankConfig
from hybrid_asr.audio.features import Features, FrontEndUnavailable
from hybrid_asr.audio.torchaudio_fbank import TorchaudioConfig
from hybrid_asr.common.errors import UserError

CONFIGS = [
    FbankConfig(),
    FbankConfig(bins=40),
    FbankConfig(bins=23, rate=8000),
    FbankConfig(bins=40, rate=8000, low_hz=60.0, high_hz=-400.0),
    FbankConfig(low_hz=100.0, high_hz=7600.0),
    FbankConfig(window_ms=32.0, shift_ms=16.0),
    FbankConfig(bins=40, window_ms=20.0, shift_ms=7.5, preemphasis=0.0),
]
CHI_SQUARE = {20: 45.31, 30: 59.70}  # degrees of freedom: exceeded once in a thousand draws


@pytest.fixture(scope="module")
def theirs() -> Iterator[dict[str, np.ndarray]]:
    """torchaudio's numbers."""
    with np.load(Path(__file__).with_name("torchaudio.npz")) as found:
        yield dict(found)


@pytest.mark.parametrize("place", range(len(CONFIGS)))
@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_features_are_torchaudios(place, kind, theirs):
    audio = torch.tensor(theirs["samples"] / 32768, dtype=kind)[None]
    values = Fbank(CONFIGS[place]).raw(audio, torch.tensor([audio.shape[1]])).values[0].double().numpy()
    expected = theirs[f"fbank{place}"]
    assert values.shape == expected.shape and len(values) > 10
    trusted = expected > expected.max(1, keepdims=True) - (13.8 if kind == torch.float32 else np.inf)  # 60 dB
    assert trusted.mean() > 0.5
    assert np.abs(values - expected)[trusted].max() < 1e-3


def test_masks_are_drawn_by_torchaudios_law(theirs):
    torch.manual_seed(0)
    draws = 20000
    for name, widest, frames, bins in (("time", 30, 100, 1), ("freq", 20, 1, 100)):
        features = Features(torch.ones(draws, frames, bins), torch.full((draws,), frames))
        one = {"time_masks": 0, "freq_masks": 0, f"{name}_masks": 1, f"{name}_width": widest}
        masked = SpecAugment(SpecAugmentConfig(time_share=1.0, **one))(features)[0].values == 0
        widths = torch.bincount(masked.flatten(1).sum(1)).numpy()
        assert widths.shape == theirs[f"{name}_widths"].shape == (widest + 1,)
        both = np.stack([widths, theirs[f"{name}_widths"]])
        expected = both.sum(1, keepdims=True) * both.sum(0) / both.sum()
        assert ((both - expected) ** 2 / expected).sum() < CHI_SQUARE[widest]


def test_resampled_sound_is_torchaudios(theirs, tmp_path):
    soundfile.write(tmp_path / "wide.wav", theirs["wide"], 44100, subtype="FLOAT")
    pairs = [(io.read(tmp_path / "wide.wav"), theirs["resampled"])]
    pairs += [(io.change_speed(theirs["narrow"], factor, 16000), theirs[f"speed{factor}"]) for factor in (0.9, 1.1)]
    for ours, expected in pairs:
        assert abs(len(ours) - len(expected)) <= 1
        size = min(len(ours), len(expected))
        assert np.abs(ours[:size] - expected[:size]).max() < 1e-4 * np.abs(expected).max()  # -80 dB


def test_without_torchaudio_the_message_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(FrontEndUnavailable, match=r"torchaudio cannot be imported \(.*presets\.features=fbank80"):
        build_features(TorchaudioConfig())


def test_a_torchaudio_whose_libraries_are_missing_gives_the_same_message(monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio/__init__.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"\(OSError: libcudart\.so\.13.*pip install"):
        build_features(TorchaudioConfig())


def test_the_kind_torchaudio_is_kaldis_filterbank_too():
    pytest.importorskip("torchaudio.compliance.kaldi", reason="needs torchaudio", exc_type=(ImportError, OSError))
    audio, sizes = torch.randn(3, 9000, dtype=torch.float64), torch.tensor([9000, 399, 4000])
    theirs, ours = build_features(TorchaudioConfig()), build_features(FbankConfig())
    together = theirs(audio, sizes)
    assert together.frames.tolist() == [theirs.frames(size) for size in sizes.tolist()] == [54, 0, 23]
    assert torch.allclose(together.values, ours(audio, sizes).values, atol=1e-3)
    assert torch.equal(together.values[2, :23], theirs(audio[2:, :4000], sizes[2:]).values[0])
    assert (together.values[1] == 0).all() and (together.values[2, 23:] == 0).all()
