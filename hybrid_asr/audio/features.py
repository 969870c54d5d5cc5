"""What every front end gives and how it is normalized.  Axes: B utterances, T frames, F feature bins."""

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple, Protocol, overload, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.masks import valid_mask

Cmvn = Literal["utterance", "global", "none"]
CmvnScale = Literal["mean", "mean_and_variance"]
_STD_FLOOR = 1e-5  # of a bin that never changes, such as digital silence: its centered value 0 stays 0


class Features(NamedTuple):
    """Features of a batch, zero behind the real frames, and the number of real frames of each utterance."""

    values: Float[Tensor, "batch frames bins"]
    frames: Int[Tensor, " batch"]


class FrontEndUnavailable(UserError):
    """A front end whose package cannot be imported here; the message names the remedy."""


@runtime_checkable
class FrontEndSettings(Protocol):
    """What the configurations of all front ends have."""

    @property
    def bins(self) -> int:
        """Features per frame."""
        ...

    @property
    def rate(self) -> int:
        """Samples per second."""
        ...

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        ...

    @property
    def shift_samples(self) -> int:
        """Samples from one window to the next."""
        ...

    @property
    def cmvn(self) -> Cmvn:
        """Whose mean and variance normalize the features."""
        ...

    @property
    def cmvn_scale(self) -> CmvnScale:
        """Whether features are also divided by their standard deviation."""
        ...


class FrontEnd(nn.Module, ABC):
    """From samples to features, window by window; each member of the union `FeaturesConfig` builds one."""

    width: int
    """Features a frame."""
    rate: int
    """Samples per second that it expects."""
    seconds_per_frame: float

    def __init__(self, cfg: FrontEndSettings) -> None:
        """Windows every `shift_samples` samples, as long as they fit, normalized by `cmvn`."""
        super().__init__()
        self.width, self.rate, self.seconds_per_frame = cfg.bins, cfg.rate, cfg.shift_samples / cfg.rate
        self.window_samples, self.shift_samples = cfg.window_samples, cfg.shift_samples
        self.cmvn = Normalization(cfg.cmvn, cfg.cmvn_scale, cfg.bins)

    @overload
    def frames(self, samples: int) -> int: ...
    @overload
    def frames(self, samples: Tensor) -> Tensor: ...
    def frames(self, samples: int | Tensor) -> int | Tensor:
        """Windows that fit into `samples` samples (Kaldi's snip_edges): 0 for less than one window."""
        count = (samples - self.window_samples) // self.shift_samples + 1
        return count.clamp(min=0) if isinstance(count, Tensor) else max(0, count)

    @abstractmethod
    def raw(self, audio: Float[Tensor, "batch samples"], samples: Int[Tensor, " batch"]) -> Features:
        """Features before their normalization, 0 behind the real frames: what `GlobalStatistics` adds up."""

    def set_global(self, statistics: "GlobalStatistics") -> None:
        """Store the training set's statistics in the model; for the normalization `global` only."""
        self.cmvn.set_global(statistics)

    def forward(self, audio: Float[Tensor, "batch samples"], samples: Int[Tensor, " batch"]) -> Features:
        """Normalized features of `audio` (full scale 1); `samples` counts the real ones of each utterance.

        Utterances shorter than a window have 0 frames: the caller refuses them. Raises UserError if cmvn is global and
        the model has no statistics.
        """
        with torch.autocast(audio.device.type, enabled=False):  # a log of bf16 sums would lose the quiet bins
            return self.cmvn(self.raw(audio, samples))


class GlobalStatistics:
    """Mean and standard deviation of each bin over many utterances, from sums in float64.

    `count`, `total` and `squares` are public so that the sums of several processes can be added.
    """

    def __init__(self, width: int) -> None:
        """Start from nothing for features of `width` bins."""
        self.count = torch.zeros((), dtype=torch.float64)
        self.total = torch.zeros(width, dtype=torch.float64)
        self.squares = torch.zeros(width, dtype=torch.float64)

    def add(self, features: Features) -> None:
        """Add the real frames of a batch of raw features."""
        mask = valid_mask(features.frames, features.values.shape[1])
        real = features.values[mask].to("cpu", torch.float64)  # (real frames, F)
        self.count += len(real)
        self.total += real.sum(0)
        self.squares += real.square().sum(0)

    def mean(self) -> Float64[Tensor, " bins"]:
        """Mean of each bin; raises UserError if nothing was added."""
        if self.count == 0:
            raise UserError("features.cmvn=global: the training set has no frames; check its manifest")
        return self.total / self.count

    def std(self) -> Float64[Tensor, " bins"]:
        """Standard deviation of each bin (of the population)."""
        return (self.squares / self.count - self.mean().square()).clamp(min=0.0).sqrt()


class Normalization(nn.Module):
    """Cepstral mean and variance normalization, here of log-mel bins: per utterance, by the training set's, or none."""

    mean: Float[Tensor, " bins"]
    inverse_std: Float[Tensor, " bins"]

    def __init__(self, kind: Cmvn, scale: CmvnScale, width: int) -> None:
        """Only the kind `global` keeps statistics: buffers that travel with the model, 0 until they are set."""
        super().__init__()
        self.kind, self.scale = kind, scale
        self._ready = kind != "global"
        if kind == "global":
            self.register_buffer("mean", torch.zeros(width))
            self.register_buffer("inverse_std", torch.zeros(width))

    def set_global(self, statistics: GlobalStatistics) -> None:
        """Take over the training set's statistics."""
        assert self.kind == "global", f"cmvn={self.kind} keeps no statistics"
        self.mean.copy_(statistics.mean())
        self.inverse_std.copy_(1.0 / statistics.std().clamp(min=_STD_FLOOR))

    def forward(self, features: Features) -> Features:
        """Normalize the real frames; frames behind them are 0. Raises UserError if `global` has no statistics yet."""
        values, frames = features
        if self.kind == "none":
            return features
        real = valid_mask(frames, values.shape[1])[:, :, None]
        if self.kind == "global":
            self._require_statistics()
            values = values - self.mean.to(values.dtype)
            if self.scale == "mean_and_variance":
                values.mul_(self.inverse_std.to(values.dtype))
            return Features(values.masked_fill_(~real, 0.0), frames)
        count = frames.clamp(min=1)[:, None, None].to(values.dtype)
        values = (values - values.sum(1, keepdim=True) / count).masked_fill_(~real, 0.0)
        if self.scale == "mean_and_variance":
            variance = values.square().sum(1, keepdim=True) / count
            values.div_(variance.sqrt().clamp(min=_STD_FLOOR))
        return Features(values, frames)

    def _require_statistics(self) -> None:
        # asked of the device until it says yes, then never again: loading a state and set_global both count
        self._ready = self._ready or bool(self.inverse_std.all())
        if not self._ready:
            raise UserError(
                "features.cmvn=global: the model has no statistics of its training set; "
                "train it with this setting, or choose features.cmvn=utterance"
            )
