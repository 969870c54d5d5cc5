"""Laws of the features: Kaldi's definition, no influence of padding or neighbors, statistics of the real frames.

kaldi_fbank.npz: int16 `samples` (tones, noise, a stretch of silence, an offset) and what kaldi-native-fbank 1.22.5
gives for them: `wide` (80 bins at 16 kHz) and `narrow` (23 bins at 8 kHz, high_hz -400).
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hybrid_asr.audio.build import FeaturesConfig, build_features
from hybrid_asr.audio.fbank import Fbank, FbankConfig
from hybrid_asr.audio.features import Features, GlobalStatistics
from hybrid_asr.common.errors import UserError
from hybrid_asr.config.schema import ConfigError, parse, plain

DEFAULT = FbankConfig()
NARROW = FbankConfig(bins=23, rate=8000, low_hz=60.0, high_hz=-400.0, preemphasis=0.9, window_ms=20.0, shift_ms=7.5)


def published(samples: np.ndarray, cfg: FbankConfig) -> np.ndarray:
    """Kaldi's definition, one frame and one triangle at a time, in float64; `samples` are on the scale of int16."""
    length, shift, rate = int(cfg.rate * 0.001 * cfg.window_ms), int(cfg.rate * 0.001 * cfg.shift_ms), cfg.rate
    size = 1
    while size < length:
        size *= 2

    def mel(hz: float) -> float:
        return 1127.0 * math.log(1.0 + hz / 700.0)

    low, high = mel(cfg.low_hz), mel(cfg.high_hz if cfg.high_hz > 0 else rate / 2 + cfg.high_hz)
    step, rows = (high - low) / (cfg.bins + 1), []
    for start in range(0, len(samples) - length + 1, shift):
        frame = samples[start : start + length].astype(np.float64)
        frame = frame - frame.sum() / length
        for i in range(length - 1, 0, -1):
            frame[i] -= cfg.preemphasis * frame[i - 1]
        frame[0] -= cfg.preemphasis * frame[0]
        for i in range(length):
            frame[i] *= (0.5 - 0.5 * math.cos(2 * math.pi * i / (length - 1))) ** 0.85
        power = np.abs(np.fft.fft(np.concatenate([frame, np.zeros(size - length)]))) ** 2
        row = []
        for bin in range(cfg.bins):
            left, center, right = low + bin * step, low + (bin + 1) * step, low + (bin + 2) * step
            energy = 0.0
            for k in range(size // 2):
                place = mel(k * rate / size)
                if left < place < right:
                    weight = (place - left) / (center - left) if place <= center else (right - place) / (right - center)
                    energy += weight * power[k]
            row.append(math.log(max(energy, np.finfo(np.float32).eps)))
        rows.append(row)
    return np.array(rows)


def one(frontend: Fbank, samples: np.ndarray, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Features (T, F) of one utterance of int16 samples."""
    audio = torch.tensor(samples / 32768, dtype=dtype)[None]
    return frontend(audio, torch.tensor([len(samples)])).values[0]


def raw(**changes: Any) -> Fbank:
    """A front end that does not normalize."""
    return Fbank(FbankConfig(cmvn="none", **changes))


@pytest.fixture(scope="module")
def batch(speech) -> tuple[torch.Tensor, torch.Tensor]:
    """Six utterances in float64, with rubbish behind them; one is shorter than a window, two give a single frame."""
    sizes = torch.tensor([16000, 9001, 399, 401, 12345, 400])
    audio = torch.randn(6, 16100, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for row, size in enumerate(sizes.tolist()):
        audio[row, :size] = torch.from_numpy(speech[3000 * row : 3000 * row + size] / 32768)
    return audio, sizes


@pytest.mark.parametrize("cfg", [FbankConfig(cmvn="none"), NARROW], ids=["default", "narrow"])
def test_features_are_those_of_the_published_definition(cfg, speech):
    samples = speech[20000:24321] + 100  # with an offset, which Kaldi takes off every frame
    expected = published(samples, cfg)
    values = Fbank(cfg).raw(torch.tensor(samples / 32768)[None], torch.tensor([len(samples)])).values[0]
    assert values.shape == expected.shape
    assert np.abs(values.numpy() - expected).max() < 1e-9


@pytest.mark.parametrize(("name", "changes"), [("wide", {}), ("narrow", {"bins": 23, "rate": 8000, "high_hz": -400.0})])
def test_features_are_those_of_kaldi(name, changes):
    with np.load(Path(__file__).with_name("kaldi_fbank.npz")) as kaldi:
        values = one(raw(**changes), kaldi["samples"]).numpy()
        assert values.shape == kaldi[name].shape
        assert np.abs(values - kaldi[name]).max() < 1e-3
        assert values.min() == pytest.approx(math.log(np.finfo(np.float32).eps))  # the silence reaches the floor


@pytest.mark.parametrize("cmvn", ["none", "utterance", "global"])
@pytest.mark.parametrize("scale", ["mean", "mean_and_variance"])
def test_neither_neighbors_nor_padding_change_an_utterance(cmvn, scale, batch):
    audio, sizes = batch
    frontend = Fbank(FbankConfig(cmvn=cmvn, cmvn_scale=scale))
    if cmvn == "global":
        statistics = GlobalStatistics(80)
        statistics.add(frontend.raw(audio, sizes))
        frontend.set_global(statistics)
    together = frontend(audio, sizes)
    assert together.values.dtype == torch.float64
    assert together.frames.tolist() == [98, 54, 0, 1, 75, 1]
    for row, (size, frames) in enumerate(zip(sizes.tolist(), together.frames.tolist(), strict=True)):
        alone = frontend(audio[row : row + 1, :size], sizes[row : row + 1])
        assert alone.values.shape[1] == frames == alone.frames
        assert torch.allclose(together.values[row, :frames], alone.values[0], rtol=0, atol=1e-9)
        assert (together.values[row, frames:] == 0).all()


def test_rubbish_in_the_padding_stays_there(batch):
    audio, sizes = batch
    dirty = audio.clone()
    for row, size in enumerate(sizes.tolist()):
        dirty[row, size:] = float("nan")
    assert torch.equal(Fbank(DEFAULT)(dirty, sizes).values, Fbank(DEFAULT)(audio, sizes).values)


@pytest.mark.parametrize("cfg", [DEFAULT, NARROW], ids=["default", "narrow"])
def test_the_number_of_frames_is_known_beforehand(cfg):
    frontend = Fbank(cfg)
    sizes = [0, 1, 159, 160, 399, 400, 401, 559, 560, 561, 16000]
    assert frontend.frames(torch.tensor(sizes)).tolist() == [frontend.frames(size) for size in sizes]
    for size in sizes:
        assert frontend(torch.zeros(1, size), torch.tensor([size])).values.shape == (1, frontend.frames(size), cfg.bins)
    assert frontend.seconds_per_frame == (0.01 if cfg is DEFAULT else 0.0075)


def test_the_utterance_mean_is_0_and_its_deviation_1(batch):
    audio, sizes = batch
    mean_only = Fbank(FbankConfig(cmvn_scale="mean"))(audio, sizes)
    both = Fbank(DEFAULT)(audio, sizes)
    plain_values = raw()(audio, sizes).values
    for row, frames in enumerate(both.frames.tolist()):
        if frames < 2:
            assert (both.values[row] == 0).all()
            continue
        values = plain_values[row, :frames]
        centerd = values - values.mean(0)
        assert torch.allclose(mean_only.values[row, :frames], centerd, atol=1e-9)
        assert torch.allclose(both.values[row, :frames], centerd / values.std(0, unbiased=False), atol=1e-9)


def test_loudness_does_not_matter_once_normalized(speech):
    loud = one(Fbank(DEFAULT), speech[16000:32000].astype(np.float64))
    assert torch.allclose(one(Fbank(DEFAULT), speech[16000:32000] / 4), loud, atol=1e-2)


def test_silence_gives_numbers():
    for cmvn in ("utterance", "none"):
        assert one(Fbank(FbankConfig(cmvn=cmvn)), np.zeros(4000), torch.float32).isfinite().all()


def test_global_statistics_are_those_of_all_frames(batch):
    audio, sizes = batch
    frontend = Fbank(FbankConfig(cmvn="global"))
    statistics = GlobalStatistics(80)
    for row in range(len(sizes)):  # one at a time, or together: the same sums
        statistics.add(frontend.raw(audio[row : row + 1], sizes[row : row + 1]))
    features = frontend.raw(audio, sizes)
    frames = torch.cat([features.values[row, :count] for row, count in enumerate(features.frames.tolist())])
    assert int(statistics.count) == len(frames) == int(features.frames.sum())
    assert torch.allclose(statistics.mean(), frames.mean(0), atol=1e-9)
    assert torch.allclose(statistics.std(), frames.std(0, unbiased=False), atol=1e-9)
    frontend.set_global(statistics)
    values = frontend(audio, sizes)
    normalized = torch.cat([values.values[row, :count] for row, count in enumerate(values.frames.tolist())])
    assert normalized.mean(0).abs().max() < 1e-5
    assert (normalized.std(0, unbiased=False) - 1).abs().max() < 1e-5


def test_global_statistics_travel_with_the_model(batch):
    audio, sizes = batch
    frontend = Fbank(FbankConfig(cmvn="global"))
    with pytest.raises(UserError, match=r"features\.cmvn=global: the model has no statistics"):
        frontend(audio, sizes)
    with pytest.raises(UserError, match="has no frames"):
        frontend.set_global(GlobalStatistics(80))
    statistics = GlobalStatistics(80)
    statistics.add(frontend.raw(audio, sizes))
    frontend.set_global(statistics)
    state = frontend.state_dict()
    assert sorted(state) == ["cmvn.inverse_std", "cmvn.mean"]
    again = Fbank(FbankConfig(cmvn="global"))
    again.load_state_dict(state)
    assert torch.equal(again(audio, sizes).values, frontend(audio, sizes).values)
    assert not Fbank(DEFAULT).state_dict()


def test_precision_follows_the_audio(speech, batch):
    exact = one(raw(), speech)
    shifted = one(raw(), speech + 3000)
    off = (one(raw(), speech + 3000, torch.float32) - shifted).abs()
    assert off.mean() < 3e-5  # Kaldi and torchaudio are no nearer
    assert off[shifted > shifted.amax(1, keepdim=True) - 18].max() < 1e-3  # 78 dB; below lie the last digits of float32
    assert one(raw(), speech, torch.float32).dtype == torch.float32
    assert torch.equal(one(raw().double(), speech), exact)
    assert torch.equal(one(raw().bfloat16(), speech, torch.float32), one(raw(), speech, torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(one(raw(), speech, torch.float32), raw()(*as_audio(speech)).values[0])
    assert raw()(batch[0].bfloat16(), batch[1]).values.dtype == torch.float32


def as_audio(samples: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(samples / 32768, dtype=torch.float32)[None], torch.tensor([len(samples)])


def test_dither_acts_in_training_only_and_is_drawn_from_the_default_generator(speech):
    frontend = raw(dither=3.0)
    torch.manual_seed(5)
    first, second = one(frontend, speech), one(frontend, speech)
    torch.manual_seed(5)
    assert torch.equal(one(frontend, speech), first)
    assert not torch.equal(first, second)
    assert torch.equal(one(frontend.eval(), speech), one(raw(), speech))
    quiet = np.zeros(160000)
    noise = np.random.default_rng(0).standard_normal(160000) * 3.0
    assert (one(frontend.train(), quiet).mean() - one(raw(), noise).mean()).abs() < 0.05


def test_the_configuration_is_checked():
    assert isinstance(build_features(parse(FeaturesConfig, {"kind": "fbank"})), Fbank)
    assert parse(FeaturesConfig, plain(NARROW)) == NARROW
    for tree, message in [
        ({"kind": "fbank", "bins": 200}, "too narrow for the window; choose fewer bins"),
        ({"kind": "fbank", "low_hz": 8000.0}, "must lie below 8000"),
        ({"kind": "fbank", "high_hz": 9000.0}, "must lie below 8000"),
        ({"kind": "fbank", "cmvn": "globl"}, "did you mean 'global'"),
        ({"kind": "fbank", "bin": 40}, "did you mean 'bins'"),
        ({"kind": "fbanks"}, "did you mean 'fbank'|known: fbank"),
    ]:
        with pytest.raises(ConfigError, match=message):
            parse(FeaturesConfig, tree)


def test_it_builds_where_there_is_no_memory():
    with torch.device("meta"):
        frontend = build_features(FbankConfig(cmvn="global"))
    assert frontend.width == 80
    assert frontend.frames(16000) == 98


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_blocks_give_what_the_whole_batch_gives_at_once(dtype):
    frontend = raw()
    audio = torch.randn(2, 180000, generator=torch.Generator().manual_seed(0), dtype=dtype)
    sizes = torch.tensor([180000, 170001])
    windows, means = frontend._windows(audio)  # as on a GPU
    padded = audio.new_zeros(2, frontend.frames(180000), 512)
    whole = frontend._log_mel(windows, means, *frontend._tables(audio), padded)
    for values, frames, expected in zip(*frontend.raw(audio, sizes), whole, strict=True):
        assert torch.allclose(values[:frames], expected[:frames], rtol=0, atol=1e-9 if dtype == torch.float64 else 1e-4)
        assert (values[frames:] == 0).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same(batch):
    audio, sizes = batch
    expected = Fbank(DEFAULT)(audio, sizes)
    found: Features = Fbank(DEFAULT).to("cuda")(audio.to("cuda"), sizes.to("cuda"))
    assert torch.allclose(found.values.cpu(), expected.values, atol=1e-9)
    assert torch.equal(found.frames.cpu(), expected.frames)
