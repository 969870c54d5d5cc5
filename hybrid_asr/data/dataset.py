"""From a planned part to a batch of waveforms and labels, by worker processes.  Axes: B rows, S samples, L labels."""

import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.context import ForkServerContext
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hybrid_asr.audio import io
from hybrid_asr.data.check import LabelCounts
from hybrid_asr.data.manifest import Manifest, ManifestError
from hybrid_asr.data.plan import Corpus, Part, PlannedUtterance
from hybrid_asr.errors import UserError
from hybrid_asr.text.normalise import Rules, normalise
from hybrid_asr.text.tokenizer import Tokenizer

WATCH_S = 2.0  # how often a worker looks whether its training still lives


@dataclass(frozen=True)
class Batch:
    """What a model learns from at once: one part of a global batch, zeros to the right of each row.

    `weights` is 0 for a filler, which must not count, else 1. `divisor` is the sum of labels + 1 over the whole global
    batch, and `seconds` the real audio of this part without fillers. The ids of joined utterances are joined with '+'.
    `unread` tells of the rows that became fillers, silence of their length, since their audio could not be read.
    """

    ids: tuple[str, ...]
    audio: Float[Tensor, "batch samples"]
    samples: Int[Tensor, " batch"]
    labels: Int[Tensor, "batch labels"]
    label_lengths: Int[Tensor, " batch"]
    weights: Float[Tensor, " batch"]
    divisor: float
    seconds: float
    speeds: tuple[float, ...] = ()
    unread: tuple[str, ...] = ()

    def to(self, device: torch.device | str, non_blocking: bool = True) -> "Batch":
        """The batch on another device; from pinned memory without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Batch":
        """The batch in memory from which a GPU copies faster."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change) -> "Batch":
        names = ("audio", "samples", "labels", "label_lengths", "weights")
        return replace(self, **{name: change(getattr(self, name)) for name in names})


class SpeechDataset(Dataset[Batch]):
    """Reads the parts of a plan: `dataset[part]`. It opens files for one utterance at a time and may be sent to other
    processes.

    `rate` (Hz) is the front end's; `separator` stands between the texts of joined utterances. Audio that cannot be
    read raises ManifestError ("stop") or makes its row a filler that tells why ("skip").
    """

    def __init__(
        self,
        manifest: Manifest,
        *,
        tokenizer: Tokenizer,
        rules: Rules,
        rate: int,
        separator: str = " ",
        unreadable: Literal["stop", "skip"] = "stop",
    ):
        self.unreadable = unreadable
        self.manifest, self.tokenizer, self.rate, self.separator = manifest, tokenizer, rate, separator
        self.rules: Rules = rules

    def labels(self, *indices: int) -> list[int]:
        """The labels of an utterance, or of several as one joined text."""
        texts = (normalise(self.manifest[index].text, self.rules) for index in indices)
        return self.tokenizer.encode(self.separator.join(texts))

    def corpus(self, counts: LabelCounts, least: Float[np.ndarray, " needs"] | None = None) -> Corpus:
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
        )

    def __getitem__(self, part: Part) -> Batch:
        unread: list[str] = []
        planned = [self._samples(row, unread) for row in part.utterances]
        rows = [samples for samples, _ in planned]
        labels = [self.labels(*row.indices) for row in part.utterances]
        weights = torch.tensor([weight for _, weight in planned])
        real = [weight > 0 for _, weight in planned]
        own = sum(len(row) + 1 for row, counts in zip(labels, real, strict=True) if counts)
        return Batch(
            ids=tuple("+".join(self.manifest[index].id for index in row.indices) for row in part.utterances),
            audio=torch.from_numpy(_pad(rows, np.float32)),
            samples=torch.tensor([len(row) for row in rows]),
            labels=torch.from_numpy(_pad([np.array(row, np.int64) for row in labels], np.int64)),
            label_lengths=torch.tensor([len(row) for row in labels]),
            weights=weights,
            divisor=float(max(own, 1) if part.divisor is None else part.divisor),
            seconds=sum(len(row) for row, counts in zip(rows, real, strict=True) if counts) / self.rate,
            speeds=tuple(row.speed for row in part.utterances),
            unread=tuple(unread),
        )

    def _samples(self, row: PlannedUtterance, unread: list[str]) -> tuple[Float32[np.ndarray, " samples"], float]:
        """The waveform of a row, its utterances one after the other at its speed, and its weight."""
        try:
            pieces = [self._read(index) for index in row.indices]
        except ManifestError as error:
            if self.unreadable == "stop":
                raise
            unread.append(str(error))
            seconds = sum(float(self.manifest.durations[index]) for index in row.indices) / row.speed
            return np.zeros(max(1, round(seconds * self.rate)), np.float32), 0.0
        return np.concatenate([io.change_speed(piece, row.speed, self.rate) for piece in pieces]), row.weight

    def _read(self, index: int) -> Float32[np.ndarray, " samples"]:
        utterance = self.manifest[index]
        path = self.manifest.path.parent / utterance.audio
        try:
            return io.read(path, start_s=utterance.start_s, duration_s=utterance.duration_s, rate=self.rate)
        except io.AudioError as error:
            raise ManifestError(f"{self.manifest.where(index)}: {error}") from error


class WorkerError(UserError):
    """Worker processes that die again and again."""


@runtime_checkable
class Parts(Protocol):
    """The parts that a loader loads, in their order."""

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> Part: ...


class _From(Sampler[Part]):
    """Parts from the place `first` on."""

    def __init__(self, parts: Parts):
        self.parts, self.first = parts, 0

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Part]:
        return (self.parts[place] for place in range(self.first, len(self.parts)))


def build_loader(
    dataset: SpeechDataset,
    parts: Parts,
    *,
    workers: int,
    prefetch: int,
    pin_memory: bool = False,
    restarts: int = 0,
    warn: Callable[[str], None] = lambda text: None,
) -> DataLoader[Batch]:
    """Loads `parts` in order; `workers` processes stay alive between epochs and prepare `prefetch` parts each ahead.

    Workers come from a fork server, a process that has imported torch but run nothing: forking a training process with
    its threads (OpenMP, gloo, wandb) can hang, while starting Python anew for each worker is slower. The first loader
    of a process waits about 1.5 s for it, later ones 0.05 s. A script that trains must do so under
    `if __name__ == "__main__"`, since workers import it.

    Where a worker dies, all are started anew behind the last part that was handed out, up to `restarts` times, each
    told to `warn`; then WorkerError is raised.
    """
    own = torch.Generator()  # a loader draws a seed at each start, which must not move torch's default generator
    stream = _From(parts)
    if workers == 0:
        return DataLoader(dataset, batch_size=None, sampler=stream, pin_memory=pin_memory, generator=own)
    context = _Context()
    context.set_forkserver_preload(["hybrid_asr.data.dataset"])
    loader = _Loader(
        _Guarded(dataset),
        batch_size=None,
        sampler=stream,
        pin_memory=pin_memory,
        generator=own,
        num_workers=workers,
        prefetch_factor=prefetch,
        persistent_workers=True,
        multiprocessing_context=context,
        worker_init_fn=partial(_start_worker, os.getpid()),
    )
    loader.restarts, loader.warn = restarts, warn
    return loader


class _Flag:
    """A multiprocessing Event without its lock: a process killed while it holds one lets all others wait for ever."""

    def __init__(self, byte):
        self._byte = byte

    def set(self) -> None:
        self._byte.value = 1

    def is_set(self) -> bool:
        return self._byte.value == 1


class _Context(ForkServerContext):
    """A fork server whose events, by which torch ends its workers, survive a worker that is killed."""

    def Event(self) -> _Flag:  # type: ignore[override]
        return _Flag(self.RawValue("b", 0))


@dataclass(frozen=True)
class _Failure:
    """A user's mistake that a worker met. As an exception it would arrive wrapped into the text of a traceback."""

    message: str


class _Guarded(Dataset):
    def __init__(self, dataset: SpeechDataset):
        self._dataset = dataset

    def __getitem__(self, part: Part) -> Batch | _Failure:
        try:
            return self._dataset[part]
        except UserError as error:
            return _Failure(str(error))


class _Loader(DataLoader):
    restarts = 0
    warn: Callable[[str], None]

    def __iter__(self) -> Iterator[Batch]:
        stream, given = self.sampler, 0
        assert isinstance(stream, _From)
        stream.first = 0
        while True:
            try:
                for item in super().__iter__():
                    if isinstance(item, _Failure):
                        self._end_workers()
                        raise ManifestError(item.message)
                    given += 1
                    yield item
                stream.first = 0
                return
            except (RuntimeError, OSError, EOFError) as error:  # of a worker that died, or of what it was sending
                if not self._lost_worker():
                    raise
                self._start_anew(given, str(error))
                stream.first = given

    def _lost_worker(self) -> bool:
        """Whether a worker has died, which may take the system a moment to tell."""
        workers = [] if self._iterator is None else self._iterator._workers  # type: ignore[attr-defined]
        return bool(multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=1.0))

    def _start_anew(self, given: int, why: str) -> None:
        """Throw away the workers and what they had prepared; the next iterator makes others."""
        self._end_workers()
        if self.restarts == 0:
            raise WorkerError(
                f"a process that reads audio has died again and again ({why}); look at the memory that is free, and "
                "at the system's log for what killed it; fewer data.workers need less"
            )
        self.restarts -= 1
        self.warn(
            f"warning: a process that reads audio has died ({why}); all are started again behind part {given}, nothing "
            "is lost or repeated"
        )

    def _end_workers(self) -> None:
        """As garbage they would take 5 s to end."""
        if self._iterator is not None:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._iterator = None


def _start_worker(training: int, worker: int) -> None:
    """Ctrl-C is for the training alone, which saves first; SIGTERM ends a worker whatever the parent made of it.

    `training` is that process's id: a worker of a fork server outlives a killed training unless it looks for itself.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with, args=(training,), daemon=True).start()


def _leave_with(training: int) -> None:
    """End this process soon after the one with the id `training` has ended."""
    while True:
        try:
            os.kill(training, 0)
        except ProcessLookupError:
            os._exit(1)
        time.sleep(WATCH_S)


def _pad(rows: list[np.ndarray], dtype: type) -> np.ndarray:
    padded = np.zeros((len(rows), max(len(row) for row in rows)), dtype)
    for line, row in zip(padded, rows, strict=True):
        line[: len(row)] = row
    return padded
