"""ESPnet's front end and normalizations against its own numbers (tools/peers/espnet_fixtures.py); laws of batches."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hybrid_asr.audio.espnet_logmel import EspnetLogMel, EspnetLogMelConfig, mel_filters, window_of
from hybrid_asr.audio.features import Features, GlobalStatistics
from hybrid_asr.config.schema import ConfigError, parse

STORED: Any = np.load(Path(__file__).with_name("espnet_logmel.npz"))
SETTINGS: dict[str, dict[str, Any]] = json.loads(str(STORED["settings"]))
AUDIO = torch.from_numpy(STORED["audio"].astype(np.float32) / 32768)
BOUND = 1e-4  # of the design; 2e-6 is usual


def front_end(**settings: Any) -> EspnetLogMel:
    return EspnetLogMel(parse(EspnetLogMelConfig, {"cmvn": "none"} | settings)).eval()


def features(layer: EspnetLogMel, *sounds: torch.Tensor) -> Features:
    """Features of a batch, with noise behind each sound, which must not matter."""
    samples = torch.tensor([len(sound) for sound in sounds])
    audio = torch.nn.utils.rnn.pad_sequence(list(sounds), batch_first=True)
    noise = torch.randn(audio.shape, generator=torch.Generator().manual_seed(0), dtype=audio.dtype)
    behind = torch.arange(audio.shape[1]) >= samples[:, None]
    return layer(torch.where(behind, noise, audio), samples)


def close(ours: torch.Tensor, theirs: np.ndarray, atol: float = BOUND) -> None:
    torch.testing.assert_close(ours, torch.from_numpy(theirs).to(ours.dtype), rtol=0, atol=atol)


@pytest.mark.parametrize("name", SETTINGS)
def test_features_are_espnets_in_number_and_value(name):
    found = features(front_end(**SETTINGS[name]), AUDIO)
    assert found.frames.tolist() == [len(STORED[f"raw/{name}"])]
    close(found.values[0], STORED[f"raw/{name}"])


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbors_and_what_stands_behind_the_end_change_nothing(name, dtype):
    layer, sounds = front_end(**SETTINGS[name]), [AUDIO[:5000].to(dtype), AUDIO.to(dtype), AUDIO[:1300].to(dtype)]
    together = features(layer, *sounds)
    for row, sound in enumerate(sounds):
        alone = features(layer, sound)
        count = int(alone.frames)
        assert together.frames[row] == count == layer.frames(len(sound)) > 0
        torch.testing.assert_close(together.values[row, :count], alone.values[0], rtol=0, atol=1e-5)
        assert not together.values[row, count:].any()


def test_float64_features_are_nearer_to_the_exact_ones():
    found = features(front_end(), AUDIO.double()).values[0]
    assert found.dtype == torch.float64
    close(found, STORED["raw/default"].astype(np.float64))


def test_global_normalization_is_espnets():
    layer = front_end(cmvn="global")
    layer.cmvn.mean.copy_(torch.from_numpy(STORED["mean"]))
    layer.cmvn.inverse_std.copy_(1 / torch.from_numpy(STORED["std"]))
    close(features(layer, AUDIO).values[0], STORED["global"])


@pytest.mark.parametrize("scale", ["mean", "mean_and_variance"])
def test_utterance_normalization_is_espnets(scale):
    layer = front_end(cmvn="utterance", cmvn_scale=scale)
    close(features(layer, AUDIO, AUDIO[:3000]).values[0], STORED[f"utterance/{scale}"])


def test_statistics_learned_here_make_mean_0_and_deviation_1():
    layer = front_end(cmvn="global")
    statistics = GlobalStatistics(layer.width)
    statistics.add(layer.raw(AUDIO[None], torch.tensor([len(AUDIO)])))
    layer.set_global(statistics)
    found = features(layer, AUDIO).values[0]
    torch.testing.assert_close(found.mean(0), torch.zeros(80), rtol=0, atol=1e-4)
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(80), rtol=0, atol=1e-4)


def test_a_sound_that_cannot_be_mirrored_has_no_frame_and_spoils_nothing():
    layer = front_end()
    assert [layer.frames(n) for n in (0, 256, 257, 383, 384)] == [0, 0, 3, 3, 4]
    assert layer.frames(torch.tensor([0, 256, 257])).tolist() == [0, 0, 3]
    together = features(layer, AUDIO[:100], AUDIO[:900])
    assert together.frames.tolist() == [0, 8]
    torch.testing.assert_close(together.values[1], features(layer, AUDIO[:900]).values[0])
    assert features(layer, AUDIO[:100]).values.shape == (1, 0, 80)


def test_long_sounds_are_computed_in_pieces_that_join():
    sound = AUDIO.repeat(12)[: 128 * 520]
    found = features(front_end(), sound).values[0]
    middle = features(front_end(), sound[128 * 500 :]).values[0]
    torch.testing.assert_close(found[505:518], middle[5:18], rtol=0, atol=1e-5)


def test_filters_have_equal_areas_and_the_window_its_place():
    cfg = EspnetLogMelConfig(fft=4096, window=1000, bins=20)
    areas = mel_filters(cfg).sum(0) * (cfg.rate / cfg.fft)
    torch.testing.assert_close(areas, torch.ones(20, dtype=torch.float64), rtol=0.01, atol=0)
    window = window_of(cfg, torch.float64)
    assert window.nonzero()[:, 0].min() >= 1548 and window.nonzero()[:, 0].max() < 2548


@pytest.mark.parametrize(
    "settings", [{"window": 600}, {"low_hz": 9000.0}, {"high_hz": 9000.0}, {"fft": 511}, {"hop": 0}]
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ConfigError):
        parse(EspnetLogMelConfig, settings)
