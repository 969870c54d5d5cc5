"""Log-mel filterbank features as Kaldi defines them.  Axes: B utterances, S samples, T frames, W window, F mel bins.

Povey et al., The Kaldi Speech Recognition Toolkit, ASRU 2011; compute-fbank-feats with snip_edges and without energy.
"""

import math
from typing import Annotated, Literal, assert_never, overload

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from pydantic import Field
from torch import Tensor

from hybrid_asr.audio.features import Cmvn, CmvnScale, Features, FrontEnd, GlobalStatistics, Normalisation
from hybrid_asr.config.schema import config
from hybrid_asr.lengths import valid_mask

__all__ = ["Fbank", "FbankConfig", "Features", "FeaturesConfig", "FrontEnd", "GlobalStatistics", "build_features"]
_FULL_SCALE = 32768.0  # Kaldi computes on 16-bit integers
_FLOOR = float(np.finfo(np.float32).eps)


@config
class FbankConfig:
    """Kaldi's filterbank; its defaults are those of Kaldi's and ESPnet's recipes with 80 bins."""

    kind: Literal["fbank"] = "fbank"
    bins: Annotated[int, Field(ge=3, le=512)] = 80
    rate: Annotated[int, Field(ge=4000)] = 16000
    """Samples per second: audio is resampled to it when it is read."""
    window_ms: Annotated[float, Field(gt=1.0)] = 25.0
    shift_ms: Annotated[float, Field(gt=1.0)] = 10.0
    low_hz: Annotated[float, Field(ge=0.0)] = 20.0
    high_hz: float = 0.0
    """Upper edge of the highest bin; 0 or less counts down from half the rate."""
    preemphasis: Annotated[float, Field(ge=0.0, le=1.0)] = 0.97
    dither: Annotated[float, Field(ge=0.0)] = 0.0
    """Standard deviation of noise added in training, in steps of 16 bits (Kaldi's default is 1)."""
    cmvn: Cmvn = "utterance"
    cmvn_scale: CmvnScale = "mean_and_variance"

    def __post_init__(self) -> None:
        """The edges of the bins must lie in order below half the rate, and every bin must reach a bin of the FFT."""
        top = _high_hz(self)
        if not self.low_hz < top <= self.rate / 2:
            raise ValueError(
                f"the bins go from low_hz {self.low_hz} to high_hz {top}; they must lie below {self.rate / 2}"
            )
        empty = int((mel_weights(self).sum(0) == 0).sum())
        if empty:
            raise ValueError(f"{empty} of {self.bins} bins are too narrow for the window; choose fewer bins")


FeaturesConfig = FbankConfig  # with a second front end: Annotated[FbankConfig | ..., Field(discriminator="kind")]


def build_features(cfg: FeaturesConfig) -> FrontEnd:
    """The front end that `cfg` describes."""
    match cfg:
        case FbankConfig():
            return Fbank(cfg)
        case _:
            assert_never(cfg)


class Fbank(FrontEnd):
    """Batched log-mel features on the device and in the precision of the audio.

    Neither padding nor the neighbours in a batch change an utterance. Half precision is raised to float32.
    """

    window: Float[Tensor, " window"]
    mel: Float[Tensor, "spectrum bins"]

    def __init__(self, cfg: FbankConfig) -> None:
        """Compute the window and the mel weights once."""
        super().__init__()
        self.cfg, self.width, self.rate = cfg, cfg.bins, cfg.rate
        self.window_samples, self.shift_samples = _samples(cfg, cfg.window_ms), _samples(cfg, cfg.shift_ms)
        self.seconds_per_frame = self.shift_samples / cfg.rate
        self.register_buffer("window", torch.from_numpy(povey_window(cfg)).float(), persistent=False)
        self.register_buffer("mel", torch.from_numpy(mel_weights(cfg)).float(), persistent=False)
        self.cmvn = Normalisation(cfg.cmvn, cfg.cmvn_scale, cfg.bins)

    @overload
    def frames(self, samples: int) -> int: ...
    @overload
    def frames(self, samples: Tensor) -> Tensor: ...
    def frames(self, samples: int | Tensor) -> int | Tensor:
        """Windows that fit into `samples` samples (Kaldi's snip_edges): 0 for less than one window."""
        count = (samples - self.window_samples) // self.shift_samples + 1
        return count.clamp(min=0) if isinstance(count, Tensor) else max(0, count)

    def set_global(self, statistics: GlobalStatistics) -> None:
        """Store the training set's statistics in the model; for the normalisation `global` only."""
        self.cmvn.set_global(statistics)

    def forward(self, audio: Float[Tensor, "batch samples"], samples: Int[Tensor, " batch"]) -> Features:
        """Normalised features of `audio` (full scale 1); `samples` counts the real ones of each utterance.

        Utterances shorter than a window have 0 frames: the caller refuses them. Raises UserError if cmvn is global and
        the model has no statistics.
        """
        with torch.autocast(audio.device.type, enabled=False):  # a log of bf16 sums would lose the quiet bins
            return self.cmvn(self.raw(audio, samples))

    def raw(self, audio: Float[Tensor, "batch samples"], samples: Int[Tensor, " batch"]) -> Features:
        """Log-mel energies before their normalisation; frames behind the real ones are 0."""
        if audio.dtype != torch.float64:
            audio = audio.float()
        frames, size = self.frames(samples), self.frames(audio.shape[1])
        if size == 0:
            return Features(audio.new_zeros(len(audio), 0, self.width), frames)
        window, mel = self._tables(audio)
        power = self._power(audio * _FULL_SCALE, window)
        values = (power[..., : len(mel)] @ mel).clamp(min=_FLOOR).log()  # (B, T, F)
        return Features(values.masked_fill(~valid_mask(frames, size)[:, :, None], 0.0), frames)

    def _power(
        self, audio: Float[Tensor, "batch samples"], window: Float[Tensor, " window"]
    ) -> Float[Tensor, "batch frames spectrum"]:
        """Power spectra of all windows: the mean taken off each, then pre-emphasis, then Kaldi's window."""
        if self.cfg.dither > 0 and self.training:
            audio = audio + self.cfg.dither * torch.randn_like(audio)
        frames = audio.unfold(1, self.window_samples, self.shift_samples)  # (B, T, W)
        frames = frames - frames.mean(-1, keepdim=True)
        windows = frames * window
        # the first sample has none before it; Kaldi's rule for it does not matter, since its window is 0
        windows[..., 1:].addcmul_(frames[..., :-1], window[1:], value=-self.cfg.preemphasis)
        spectrum = torch.fft.rfft(windows, n=_fft_size(self.cfg))
        return spectrum.real.square() + spectrum.imag.square()

    def _tables(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Window and mel weights as precise as the audio: made anew, exactly, where the buffers are not good enough."""
        if audio.dtype == self.window.dtype == torch.float32:
            return self.window, self.mel
        exact = torch.from_numpy(povey_window(self.cfg)), torch.from_numpy(mel_weights(self.cfg))
        return exact[0].to(audio), exact[1].to(audio)


def povey_window(cfg: FbankConfig) -> Float64[np.ndarray, " window"]:
    """Kaldi's window: a Hann window to the power 0.85, 0 at both ends."""
    size = _samples(cfg, cfg.window_ms)
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / (size - 1))) ** 0.85


def mel_weights(cfg: FbankConfig) -> Float64[np.ndarray, "spectrum bins"]:
    """Triangles of equal width on the mel scale 1127 ln(1 + f / 700), for the FFT bins below half the rate."""
    size = _fft_size(cfg)
    points = _mel(np.arange(size // 2) * cfg.rate / size)[:, None]  # (N/2, 1)
    low, high = _mel(np.array([cfg.low_hz, _high_hz(cfg)]))
    edges = np.linspace(low, high, cfg.bins + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    return np.maximum(0.0, np.minimum((points - left) / (centre - left), (right - points) / (right - centre)))


def _mel(hz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(hz / 700.0)


def _high_hz(cfg: FbankConfig) -> float:
    return cfg.high_hz if cfg.high_hz > 0 else cfg.rate / 2 + cfg.high_hz


def _samples(cfg: FbankConfig, ms: float) -> int:
    return int(cfg.rate * 0.001 * ms)


def _fft_size(cfg: FbankConfig) -> int:
    return 1 << math.ceil(math.log2(_samples(cfg, cfg.window_ms)))
