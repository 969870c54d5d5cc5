"""Log-mel filterbank features as Kaldi defines them.  Axes: B utterances, S samples, T frames, W window, F mel bins.

Povey et al., The Kaldi Speech Recognition Toolkit, ASRU 2011; compute-fbank-feats with snip_edges and without energy.
"""

import math
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from pydantic import Field
from torch import Tensor

from hybrid_asr.audio.features import Cmvn, CmvnScale, Features, FrontEnd
from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config

FULL_SCALE = 32768.0  # Kaldi computes on 16-bit integers
_FLOOR = float(np.finfo(np.float32).eps)
_ROWS = 512  # windows at a time on a CPU, so that their spectra stay in its cache
_GROUP = 16  # bins of one product: the triangles of neighbors share a narrow band, and the rest of the table is zeros


@config
class KaldiConfig:
    """Kaldi's filterbank, whoever computes it; its defaults are those of Kaldi's and ESPnet's recipes with 80 bins."""

    kind: str
    bins: Annotated[int, Field(ge=3, le=512)] = 80
    rate: Annotated[int, Field(ge=4000, le=384_000)] = 16000
    """Samples per second: audio is resampled to it when it is read."""
    window_ms: Annotated[float, Field(gt=1.0, le=1000.0)] = 25.0
    shift_ms: Annotated[float, Field(gt=1.0, le=1000.0)] = 10.0
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

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return int(self.rate * 0.001 * self.window_ms)

    @property
    def shift_samples(self) -> int:
        """Samples from one window to the next."""
        return int(self.rate * 0.001 * self.shift_ms)


@config
class FbankConfig(KaldiConfig):
    """Our own filterbank: batched, on any device, in the precision of the audio."""

    kind: Literal["fbank"] = "fbank"


class Fbank(FrontEnd):
    """Batched log-mel features on the device and in the precision of the audio.

    Neither padding nor the neighbors in a batch change an utterance. Half precision is raised to float32.
    """

    window: Float[Tensor, " taps"]
    mel: Float[Tensor, "parts bins"]

    def __init__(self, cfg: FbankConfig) -> None:
        """Compute the window and the mel weights once."""
        super().__init__(cfg)
        self.cfg = cfg
        window, mel = _exact_tables(cfg)
        self.bands = _bands(mel)
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("mel", mel.float(), persistent=False)

    @torch.no_grad()
    def raw(self, audio: Float[Tensor, "batch samples"], samples: Int[Tensor, " batch"]) -> Features:
        """Log-mel energies before their normalization; frames behind the real ones are 0.

        No gradient reaches the audio.
        """
        if audio.dtype != torch.float64:
            audio = audio.float()
        frames, size = self.frames(samples), self.frames(audio.shape[1])
        if size == 0:
            return Features(audio.new_zeros(len(audio), 0, self.width), frames)
        if self.cfg.dither > 0 and self.training:
            audio = audio + self.cfg.dither / FULL_SCALE * torch.randn_like(audio)
        windows, means = self._windows(audio)
        window, mel = self._tables(audio)
        fft_size = _fft_size(self.cfg)
        if audio.device.type != "cpu":
            values = self._log_mel(windows, means, window, mel, audio.new_zeros(len(audio), size, fft_size))
            return Features(values.masked_fill_(~valid_mask(frames, size)[:, :, None], 0.0), frames)
        values = audio.new_zeros(len(audio), size, self.width)
        padded = audio.new_zeros(min(size, _ROWS), fft_size)
        for row, count in enumerate(frames.tolist()):
            for begin in range(0, count, _ROWS):
                part = row, slice(begin, min(begin + _ROWS, count))
                values[part] = self._log_mel(windows[part], means[part], window, mel, padded[: count - begin])
        return Features(values, frames)

    def _windows(
        self, audio: Float[Tensor, "batch samples"]
    ) -> tuple[Float[Tensor, "batch frames taps"], Float[Tensor, "batch frames 1"]]:
        """A view of all windows of the emphasized samples, and what is left of each one's mean, to be taken off.

        Kaldi takes each window's mean off and emphasizes then. Both are linear, so here the samples are emphasized once
        for all windows that share them. float32 bears that once the first window's mean, a constant, is off.
        """
        size, shift, factor = self.window_samples, self.shift_samples, self.cfg.preemphasis
        audio = audio - audio[:, :size].mean(1, keepdim=True)
        means = audio.unfold(1, size, shift).mean(-1, keepdim=True) * (1.0 - factor)
        emphasized = torch.sub(audio[:, 1:], audio[:, :-1], alpha=factor)
        return emphasized.unfold(1, size - 1, shift), means  # no first sample, where Kaldi's window is 0

    def _log_mel(
        self,
        windows: Float[Tensor, "*some taps"],
        means: Float[Tensor, "*some 1"],
        window: Float[Tensor, " taps"],
        mel: Float[Tensor, "parts bins"],
        padded: Float[Tensor, "*some fft_size"],
    ) -> Float[Tensor, "*some bins"]:
        """Log-mel energies; the product with `mel` also adds the squares of real and imaginary parts.

        `padded` is zero behind the windows, which are written into it: the memory is used again for every block.
        """
        torch.sub(windows, means, out=padded[..., : len(window)]).mul_(window)
        spectrum = torch.fft.rfft(padded)
        squares = torch.view_as_real(spectrum).flatten(-2).square_()  # (..., N+2): real, imaginary, real, …
        energies = torch.cat([squares[..., low:high] @ mel[low:high, bins] for low, high, bins in self.bands], -1)
        return energies.clamp_(min=_FLOOR).log_()

    def _tables(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Window and mel weights as precise as the audio: made anew, exactly, where the buffers are not good enough."""
        if audio.dtype == self.window.dtype == torch.float32:
            return self.window, self.mel
        window, mel = _exact_tables(self.cfg)
        return window.to(audio), mel.to(audio)


def _exact_tables(cfg: KaldiConfig) -> tuple[Float64[Tensor, " taps"], Float64[Tensor, "parts bins"]]:
    """The window without its first sample, which is 0, at Kaldi's scale; a row of mel weights for each real number."""
    return torch.from_numpy(povey_window(cfg)[1:] * FULL_SCALE), torch.from_numpy(mel_weights(cfg).repeat(2, axis=0))


def _bands(mel: Float64[Tensor, "parts bins"]) -> list[tuple[int, int, slice]]:
    """For every group of bins the rows of `mel`, from the first to behind the last, that are not 0 in all of them."""
    groups = [slice(begin, begin + _GROUP) for begin in range(0, mel.shape[1], _GROUP)]
    used = [mel[:, bins].any(1).nonzero()[:, 0].tolist() for bins in groups]
    return [(rows[0], rows[-1] + 1, bins) for rows, bins in zip(used, groups, strict=True)]


def povey_window(cfg: KaldiConfig) -> Float64[np.ndarray, " window"]:
    """Kaldi's window: a Hann window to the power 0.85, 0 at both ends."""
    size = cfg.window_samples
    return (0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / (size - 1))) ** 0.85


def mel_weights(cfg: KaldiConfig) -> Float64[np.ndarray, "spectrum bins"]:
    """Triangles of equal width on the mel scale 1127 ln(1 + f / 700), for the FFT bins below half the rate."""
    size = _fft_size(cfg)
    points = _mel(np.arange(size // 2) * cfg.rate / size)[:, None]  # (N/2, 1)
    low, high = _mel(np.array([cfg.low_hz, _high_hz(cfg)]))
    edges = np.linspace(low, high, cfg.bins + 2)
    left, center, right = edges[:-2], edges[1:-1], edges[2:]
    return np.maximum(0.0, np.minimum((points - left) / (center - left), (right - points) / (right - center)))


def _mel(hz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(hz / 700.0)


def _high_hz(cfg: KaldiConfig) -> float:
    return cfg.high_hz if cfg.high_hz > 0 else cfg.rate / 2 + cfg.high_hz


def _fft_size(cfg: KaldiConfig) -> int:
    return 1 << math.ceil(math.log2(cfg.window_samples))
