"""From a planned part to a batch of waveforms and labels.  Axes: B rows, S samples, L labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.utils.data import Dataset

from hybrid_asr.audio import io
from hybrid_asr.data.label_counts import LabelCounts
from hybrid_asr.data.manifest import Manifest, ManifestError, Utterance
from hybrid_asr.data.plan import Corpus, Part, PlannedUtterance, Source
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Batch:
    """What a model learns from at once: one part of a global batch, zeros to the right of each row.

    `weights` is 0 for a filler, which must not count, else 1. `divisor` is the sum of labels + 1 over the whole global
    batch, and `seconds` the real audio of this part without fillers. The ids of joined utterances are joined with '+'.
    `unread` has a message for each row whose audio could not be read: it became a filler, silence of its length. `told`
    says what is doubtful about audio that was read.

    `samples` and `label_lengths` are also kept on the host, as `host_samples` and `host_label_lengths`: there they are
    at hand without waiting for a device.
    """

    ids: tuple[str, ...]
    audio: Float[Tensor, "batch samples"]
    samples: Int[Tensor, " batch"]
    labels: Int[Tensor, "batch labels"]
    label_lengths: Int[Tensor, " batch"]
    host_samples: tuple[int, ...]
    host_label_lengths: tuple[int, ...]
    weights: Float[Tensor, " batch"]
    divisor: float
    seconds: float
    speeds: tuple[float, ...] = ()
    unread: tuple[str, ...] = ()
    told: tuple[str, ...] = ()

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Batch":
        """The batch on another device; from pinned memory without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The batch in memory from which a GPU copies faster."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        names = ("audio", "samples", "labels", "label_lengths", "weights")
        return replace(self, **{name: change(getattr(self, name)) for name in names})


class SpeechDataset(Dataset[Batch]):
    """Reads the parts of a plan: `dataset[part]`. Each line of the manifest is read once, each audio file opened when
    it is its turn; may be sent to other processes.

    `rate` (Hz) is the front end's; `separator` stands between the texts of joined utterances. Audio that cannot be
    read raises ManifestError ("stop") or makes its row a filler with a message in `Batch.unread` ("skip").
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        tokenizer: Tokenizer,
        text: TextConfig,
        rate: int,
        separator: str = " ",
        unreadable: Literal["stop", "skip"] = "stop",
    ):
        self.unreadable = unreadable
        self.manifest, self.tokenizer, self.rate, self.separator = manifest, tokenizer, rate, separator
        self.text = text

    def labels(self, *indices: int) -> list[int]:
        """The labels of an utterance, or of several as one joined text."""
        return self._labels([self.manifest[index] for index in indices])

    def _labels(self, utterances: Sequence[Utterance]) -> list[int]:
        texts = (self.text.spell(utterance.text, utterance.language) for utterance in utterances)
        return self.tokenizer.encode(self.separator.join(texts))

    def corpus(
        self, counts: LabelCounts, least: Float[np.ndarray, " needs"] | None = None, sources: tuple[Source, ...] = ()
    ) -> Corpus:
        """What a Planner must know; `least` is the table of `check.least_seconds`, None without CTC."""
        # what CTC needs for a joined text is only counted in statistics: equal labels where two texts meet are left out
        between = len(self.tokenizer.encode(f"a{self.separator}a")) - 2 * len(self.tokenizer.encode("a"))

        def least_seconds(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            assert least is not None
            joined = np.where(second >= 0, counts.needs[second] + between, 0)
            return least[np.minimum(counts.needs[first] + joined, len(least) - 1)]

        return Corpus(
            durations=self.manifest.durations,
            keys=self.manifest.keys,
            labels=counts.labels,
            joined_labels=lambda first, second: len(self.labels(first, second)),
            where=self.manifest.where,
            least_seconds=None if least is None else least_seconds,
            sources=sources,
        )

    def __getitem__(self, part: Part) -> Batch:
        unread: list[str] = []
        told: list[str] = []
        utterances = [[self.manifest[index] for index in row.indices] for row in part.utterances]
        planned = [self._samples(*row, unread, told) for row in zip(part.utterances, utterances, strict=True)]
        rows = [samples for samples, _ in planned]
        labels = [self._labels(row) for row in utterances]
        samples, label_lengths = tuple(map(len, rows)), tuple(map(len, labels))
        weights = torch.tensor([weight for _, weight in planned])
        real = [weight > 0 for _, weight in planned]
        part_labels = sum(len(row) + 1 for row, counts in zip(labels, real, strict=True) if counts)
        return Batch(
            ids=tuple("+".join(utterance.id for utterance in row) for row in utterances),
            audio=torch.from_numpy(_pad(rows, np.float32)),
            samples=torch.tensor(samples),
            labels=torch.from_numpy(_pad([np.array(row, np.int64) for row in labels], np.int64)),
            label_lengths=torch.tensor(label_lengths),
            host_samples=samples,
            host_label_lengths=label_lengths,
            weights=weights,
            divisor=float(max(part_labels, 1) if part.divisor is None else part.divisor),
            seconds=sum(len(row) for row, counts in zip(rows, real, strict=True) if counts) / self.rate,
            speeds=tuple(row.speed for row in part.utterances),
            unread=tuple(unread),
            told=tuple(told),
        )

    def _samples(
        self, row: PlannedUtterance, utterances: Sequence[Utterance], unread: list[str], told: list[str]
    ) -> tuple[Float32[np.ndarray, " samples"], float]:
        """The waveform of a row, its utterances one after the other at its speed, and its weight."""
        try:
            pieces = [self._read(index, one, told) for index, one in zip(row.indices, utterances, strict=True)]
        except ManifestError as error:
            if self.unreadable == "stop":
                raise
            unread.append(str(error))
            seconds = sum(float(self.manifest.durations[index]) for index in row.indices) / row.speed
            return np.zeros(max(1, round(seconds * self.rate)), np.float32), 0.0
        return np.concatenate([io.change_speed(piece, row.speed, self.rate) for piece in pieces]), row.weight

    def _read(self, index: int, utterance: Utterance, told: list[str]) -> Float32[np.ndarray, " samples"]:
        try:
            return self.manifest.read_audio_of(index, utterance, self.rate, tell=told.append)
        except io.AudioError as error:
            raise ManifestError(f"{self.manifest.where(index)}: {error}") from error


def _pad(rows: list[np.ndarray], dtype: type) -> np.ndarray:
    padded = np.zeros((len(rows), max(len(row) for row in rows)), dtype)
    for line, row in zip(padded, rows, strict=True):
        line[: len(row)] = row
    return padded
