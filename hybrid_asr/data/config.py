"""The section `data` of a configuration: the sets, the sizes of batches, and the processes that read audio."""

from typing import Annotated, Literal

from pydantic import Field

from hybrid_asr.config.schema import config
from hybrid_asr.data.check import CheckConfig


@config
class WeightedManifest:
    """One of several training manifests: each of its utterances is in an epoch `weight` times on average."""

    manifest: str
    """Relative to `root`."""
    weight: Annotated[float, Field(gt=0)] = 1.0


@config
class DataConfig:
    """The sets, how batches are made of them, and what happens to audio that cannot be read."""

    train: str | tuple[WeightedManifest, ...]
    """A manifest, relative to `root`; or several: [{manifest: a.jsonl, weight: 2}, {manifest: b.jsonl}]."""
    valid: str
    test: tuple[str, ...] = ()
    root: str = "data"
    audio: Literal["headers", "unchecked"] = "headers"
    """Whether reading a manifest also checks the header of every audio file."""
    check: CheckConfig = CheckConfig()
    min_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Shorter training utterances are left out, counted."""
    max_seconds: Annotated[float, Field(gt=0)] | None = None
    """Longer training utterances are left out, counted; None keeps all."""
    empty: Literal["refuse", "leave_out"] = "refuse"
    """Training transcripts of which text.rules leave nothing, such as [noise]: refused, or left out, counted."""
    batch_seconds: Annotated[float, Field(gt=0)]
    """Bounds a global batch, all that one update learns from."""
    device_seconds: Annotated[float, Field(gt=0)] | None = None
    """Bounds what a device processes at once, by accumulating gradients; None: its whole share of a batch at once."""
    plan: Literal[1, 2] = 2
    """How batches are made. A run goes on with the version that it began with; 1 sorts by seconds alone."""
    part_seconds: Annotated[float, Field(gt=0)] | None = None
    """Makes batches that batch_seconds / part_seconds devices, or a divisor, share evenly; None: 20 to 40 (plan 2)."""
    jitter: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Blurs the sorting by length: 0 puts neighbors together, 0.05 moves each by up to 5 % (and costs 3 % padding)."""
    shortest_first_epochs: Annotated[int, Field(ge=0)] = 1
    """How many epochs take their batches in the order of length, which helps attention to get started."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes that read audio, for GPUs; 0 reads in the training process, about 3,000 times faster than real time."""
    prefetch: Annotated[int, Field(ge=1)] = 4
    """Parts that each worker prepares ahead."""
    worker_restarts: Annotated[int, Field(ge=0)] = 3
    """How often workers that died are restarted, at the part where they were, before training stops."""
    unreadable: Literal["stop", "skip"] = "stop"
    """Audio that cannot be read while training: "stop" saves and stops, "skip" leaves the utterance out, counted."""
    unreadable_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The most of the training utterances that "skip" leaves out before it stops, too."""

    def __post_init__(self) -> None:
        if self.max_seconds is not None and self.max_seconds <= self.min_seconds:
            raise ValueError("max_seconds must be more than min_seconds")
        if not self.train:
            raise ValueError("train: name at least one manifest")

    @property
    def train_manifests(self) -> tuple[WeightedManifest, ...]:
        """The training manifests with their weights, also where there is only one."""
        return (WeightedManifest(manifest=self.train),) if isinstance(self.train, str) else self.train
