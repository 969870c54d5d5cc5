"""Waveforms of different lengths in one tensor."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def pad_audio(samples: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Stack waveforms, zeros to the right; also their lengths."""
    lengths = torch.tensor([len(waveform) for waveform in samples])
    audio = torch.zeros(len(samples), int(lengths.max()))
    for row, waveform in zip(audio, samples, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    return audio, lengths
