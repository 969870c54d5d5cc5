"""ESPnet's default front end, so that its models run here.  Axes: B utterances, S samples, T frames, N FFT, F mel bins.

Its frames are centered: the first one's middle is the first sample, and the ends are mirrored (`torch.stft`, after
librosa). Powers are summed by Slaney's mel filters (Auditory Toolbox, 1998), and the log is natural.
"""

import math
from typing import Annotated, Literal, overload

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from pydantic import Field
from torch import Tensor

from hybrid_asr.audio.features import Cmvn, CmvnScale, Features, FrontEnd
from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config

WindowShape = Literal["hann", "hamming", "blackman"]
_WINDOWS = {"hann": torch.hann_window, "hamming": torch.hamming_window, "blackman": torch.blackman_window}
_FLOOR = 1e-10  # of a bin's energy
_ROWS = 512  # frames at a time, so that an hour of audio needs no hour of spectra
_LINEAR_HZ, _LINEAR_MELS, _STEP = 1000.0, 15.0, math.log(6.4) / 27.0  # Slaney's scale: straight to 1 kHz, then log


@config
class EspnetLogMelConfig:
    """`DefaultFrontend` of ESPnet2 with its GlobalMVN (`cmvn: global`) or UtteranceMVN; the defaults are ESPnet's.

    A bin that never changes is 0 after `cmvn: utterance` with variance; ESPnet divides its rounding by itself.
    """

    kind: Literal["espnet_logmel"] = "espnet_logmel"
    bins: Annotated[int, Field(ge=3, le=512)] = 80
    rate: Annotated[int, Field(ge=4000, le=384_000)] = 16000
    """Samples per second: audio is resampled to it when it is read."""
    fft: Annotated[int, Field(ge=16, le=65536, multiple_of=2)] = 512
    window: Annotated[int, Field(ge=0, le=65536)] = 0
    """Samples of the window, in the middle of those of the FFT; 0: as many as these."""
    hop: Annotated[int, Field(gt=0, le=65536)] = 128
    """Samples from one frame to the next."""
    window_shape: WindowShape = "hann"
    edges: Literal["mirrored", "none"] = "mirrored"
    """`mirrored`: a frame for every hop, ESPnet's `center: true`; `none`: only windows that fit."""
    mel_scale: Literal["slaney", "htk"] = "slaney"
    low_hz: Annotated[float, Field(ge=0.0)] = 0.0
    high_hz: Annotated[float, Field(ge=0.0)] = 0.0
    """Upper edge of the highest bin; 0: half the rate."""
    cmvn: Cmvn = "global"
    cmvn_scale: CmvnScale = "mean_and_variance"

    def __post_init__(self) -> None:
        """The window must fit into the FFT, and the edges of the bins must lie in order below half the rate."""
        if self.window > self.fft:
            raise ValueError(f"a window of {self.window} samples does not fit into fft {self.fft}")
        if not self.low_hz < (self.high_hz or self.rate / 2) <= self.rate / 2:
            raise ValueError(f"the bins go from {self.low_hz} to {self.high_hz} Hz; they must lie below half the rate")

    @property
    def window_samples(self) -> int:
        """Samples of a window, with the zeros around it."""
        return self.fft

    @property
    def shift_samples(self) -> int:
        """Samples from one window to the next."""
        return self.hop


class EspnetLogMel(FrontEnd):
    """Batched; every utterance is mirrored at its own end, so that its neighbors in a batch do not change it."""

    window: Float[Tensor, " fft"]
    mel: Float[Tensor, "spectrum bins"]

    def __init__(self, cfg: EspnetLogMelConfig) -> None:
        """Compute the window and the mel weights once."""
        super().__init__(cfg)
        self.cfg = cfg
        self.margin = cfg.fft // 2 if cfg.edges == "mirrored" else 0
        self.register_buffer("window", window_of(cfg, torch.float32), persistent=False)
        self.register_buffer("mel", mel_filters(cfg).float(), persistent=False)

    @overload
    def frames(self, samples: int) -> int: ...
    @overload
    def frames(self, samples: Tensor) -> Tensor: ...
    def frames(self, samples: int | Tensor) -> int | Tensor:
        """Frames of `samples` samples: 0 where they do not reach beyond half a window, which cannot be mirrored."""
        if not self.margin:
            return super().frames(samples)
        return (samples // self.shift_samples + 1) * (samples > self.margin)

    @torch.no_grad()
    def raw(self, audio: Float[Tensor, "batch samples"], samples: Int[Tensor, " batch"]) -> Features:
        """Log-mel energies before their normalization; frames behind the real ones are 0."""
        if audio.dtype != torch.float64:
            audio = audio.float()
        frames, size = self.frames(samples), self.frames(audio.shape[1])
        values = audio.new_zeros(len(audio), size, self.width)
        if size == 0:
            return Features(values, frames)
        windows = self._mirrored(audio, samples).unfold(1, self.cfg.fft, self.cfg.hop)
        window, mel = self._tables(audio)
        for begin in range(0, size, _ROWS):
            part = slice(begin, min(begin + _ROWS, size))
            spectrum = torch.fft.rfft(windows[:, part] * window)  # (B, rows, N/2 + 1)
            energies = (spectrum.real**2 + spectrum.imag**2) @ mel
            values[:, part] = energies.clamp_(min=_FLOOR).log_()
        return Features(values.masked_fill_(~valid_mask(frames, size)[:, :, None], 0.0), frames)

    def _mirrored(
        self, audio: Float[Tensor, "batch samples"], samples: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch more"]:
        """`audio` with half a window before it and, behind each utterance's last sample, another, both reflections."""
        if not self.margin:
            return audio
        padded = torch.nn.functional.pad(audio, (self.margin, self.margin))
        padded[:, : self.margin] = audio[:, 1 : self.margin + 1].flip(1)
        away = torch.arange(self.margin, device=audio.device)
        ends = samples[:, None]
        padded.scatter_(1, self.margin + ends + away, audio.gather(1, (ends - 2 - away).clamp(min=0)))
        return padded

    def _tables(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Window and mel weights as precise as the audio."""
        if audio.dtype == torch.float32:
            return self.window.float(), self.mel.float()
        return window_of(self.cfg, audio.dtype).to(audio.device), mel_filters(self.cfg).to(audio)


def window_of(cfg: EspnetLogMelConfig, dtype: torch.dtype) -> Float[Tensor, " fft"]:
    """The periodic window, zeros around it where it is shorter than the FFT."""
    size = cfg.window or cfg.fft
    before = (cfg.fft - size) // 2
    return torch.nn.functional.pad(_WINDOWS[cfg.window_shape](size, dtype=dtype), (before, cfg.fft - size - before))


def mel_filters(cfg: EspnetLogMelConfig) -> Float64[Tensor, "spectrum bins"]:
    """Triangles over the FFT's frequencies with equal areas (librosa's `norm="slaney"`): peak 2 / width in Hz."""
    edges_mel = np.linspace(_to_mel(cfg, cfg.low_hz), _to_mel(cfg, cfg.high_hz or cfg.rate / 2), cfg.bins + 2)
    edges = _to_hz(cfg, edges_mel)
    frequencies = np.linspace(0.0, cfg.rate / 2, cfg.fft // 2 + 1)[:, None]
    low, peak, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequencies - low) / (peak - low), (high - frequencies) / (high - peak)
    return torch.from_numpy(np.minimum(rising, falling).clip(min=0.0) * 2.0 / (high - low))


def _to_mel(cfg: EspnetLogMelConfig, hz: float) -> float:
    if cfg.mel_scale == "htk":
        return 2595.0 * math.log10(1.0 + hz / 700.0)
    if hz < _LINEAR_HZ:
        return hz * _LINEAR_MELS / _LINEAR_HZ
    return _LINEAR_MELS + math.log(hz / _LINEAR_HZ) / _STEP


def _to_hz(cfg: EspnetLogMelConfig, mels: np.ndarray) -> np.ndarray:
    if cfg.mel_scale == "htk":
        return 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    above = _LINEAR_HZ * np.exp(_STEP * (mels - _LINEAR_MELS))
    return np.where(mels < _LINEAR_MELS, mels * _LINEAR_HZ / _LINEAR_MELS, above)
