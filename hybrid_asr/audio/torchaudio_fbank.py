"""Kaldi's filterbank as torchaudio computes it: to compare with, or to use a model beside torchaudio's own features.

Axes: B utterances, S samples, T frames, F mel bins.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hybrid_asr.audio.fbank import FULL_SCALE, KaldiConfig
from hybrid_asr.audio.features import Features, FrontEnd, FrontEndUnavailable
from hybrid_asr.config.schema import config


@config
class TorchaudioConfig(KaldiConfig):
    """`torchaudio.compliance.kaldi.fbank`, normalized as ours is; needs torchaudio, and is slower than kind `fbank`."""

    kind: Literal["torchaudio"] = "torchaudio"


class TorchaudioFbank(FrontEnd):
    """torchaudio's features of a batch, one utterance after the other, since its function takes only one.

    Each utterance is computed from its real samples alone. Their numbers are copied from the device.
    """

    def __init__(self, cfg: TorchaudioConfig) -> None:
        """Import torchaudio; raises FrontEndUnavailable where that fails."""
        super().__init__(cfg)
        self.cfg, self._fbank = cfg, import_fbank()

    def raw(self, audio: Float[Tensor, "batch samples"], samples: Int[Tensor, " batch"]) -> Features:
        """Log-mel energies before their normalization; frames behind the real ones are 0."""
        if audio.dtype != torch.float64:
            audio = audio.float()
        frames = self.frames(samples)
        values = audio.new_zeros(len(audio), self.frames(audio.shape[1]), self.width)
        for row, (size, count) in enumerate(zip(samples.tolist(), frames.tolist(), strict=True)):
            if count:  # torchaudio refuses less than a window
                values[row, :count] = self._utterance(audio[row : row + 1, :size])
        return Features(values, frames)

    def _utterance(self, audio: Float[Tensor, "1 samples"]) -> Float[Tensor, "frames bins"]:
        """torchaudio's features of one utterance."""
        cfg = self.cfg
        return self._fbank(
            audio * FULL_SCALE,
            num_mel_bins=cfg.bins,
            sample_frequency=float(cfg.rate),
            frame_length=cfg.window_ms,
            frame_shift=cfg.shift_ms,
            low_freq=cfg.low_hz,
            high_freq=cfg.high_hz,
            preemphasis_coefficient=cfg.preemphasis,
            dither=cfg.dither if self.training else 0.0,
        )


def import_fbank() -> Callable[..., Tensor]:
    """torchaudio's function. Raises FrontEndUnavailable if torchaudio is missing or its compiled parts do not load."""
    try:
        with torch.device("cpu"):  # it makes tensors when it is imported, which a sketch on "meta" must not own
            from torchaudio.compliance.kaldi import fbank  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError) as error:  # OSError: its wheel wants CUDA's libraries, beside a CPU build of torch
        raise FrontEndUnavailable(
            f"features.kind=torchaudio: torchaudio cannot be imported ({type(error).__name__}: {error}); install the "
            "one made for your build of torch (pip install 'hybrid-asr[torchaudio]' beside a CUDA build), or choose "
            "presets.features=fbank80, which computes the same features"
        ) from error
    return fbank
