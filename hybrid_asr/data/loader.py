"""The DataLoader of a training: parts of batches in a given order, read by worker processes that may be restarted."""

import ctypes
import multiprocessing.connection
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import popen_forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.process import BaseProcess
from typing import Protocol, runtime_checkable

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.dataset import Batch, SpeechDataset
from hybrid_asr.data.manifest import ManifestError
from hybrid_asr.data.parallel import leave_with, prepare_fork_server
from hybrid_asr.data.plan import Part


class WorkerError(UserError):
    """Worker processes that die again and again."""


@runtime_checkable
class Parts(Protocol):
    """The parts that a loader loads, in their order."""

    def __len__(self) -> int: ...
    def __getitem__(self, position: int, /) -> Part: ...


class _PartsFrom(Sampler[Part]):
    """The parts from position `first` on."""

    def __init__(self, parts: Parts):
        self.parts, self.first = parts, 0

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[Part]:
        return (self.parts[position] for position in range(self.first, len(self.parts)))


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
    """A loader of `parts` in order. Its `workers` processes live on between epochs and prepare `prefetch` parts each.

    Workers come from a fork server, a process that has imported torch but run nothing: forking a training process with
    its threads (OpenMP, gloo, wandb) can hang, while starting Python anew for each worker is slower. The first loader
    of a process waits about 1.5 s for it, later ones 0.05 s. A script that trains must do so under
    `if __name__ == "__main__"`, since workers import it.

    Where a worker dies, all are started anew behind the last part that was handed out, up to `restarts` times, each
    reported to `warn`; then WorkerError is raised.
    """
    generator = torch.Generator()  # a loader draws a seed at each start, which must not advance torch's default one
    stream = _PartsFrom(parts)
    if workers == 0:
        return DataLoader(dataset, batch_size=None, sampler=stream, pin_memory=pin_memory, generator=generator)
    context = _Context()
    prepare_fork_server(context)
    loader = _Loader(
        _Guarded(dataset),
        batch_size=None,
        sampler=stream,
        pin_memory=pin_memory,
        generator=generator,
        num_workers=workers,
        prefetch_factor=prefetch,
        persistent_workers=True,
        multiprocessing_context=context,
        worker_init_fn=partial(_start_worker, os.getpid()),
    )
    loader.restarts, loader.warn = restarts, warn
    return loader


class _Flag:
    """A multiprocessing Event without a lock: a process killed while it holds one makes all others wait for ever."""

    def __init__(self, byte: "ctypes.c_byte"):
        self._byte = byte

    def set(self) -> None:
        """Raise the flag."""
        self._byte.value = 1

    def is_set(self) -> bool:
        """Whether it is raised."""
        return self._byte.value == 1


class _RunningWorker(popen_forkserver.Popen):
    """A worker's process; SIGTERM, by which torch and Python end one that does not end by itself, never reaches it."""

    def terminate(self) -> None:
        """End it at once."""
        self.kill()


class _Worker(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: BaseProcess) -> _RunningWorker:  # type: ignore[override]
        return _RunningWorker(process_obj)


class _Context(ForkServerContext):
    """A fork server whose events, by which torch ends its workers, survive a worker that is killed."""

    Process = _Worker

    def Event(self) -> _Flag:  # type: ignore[override]
        """An event without a lock."""
        return _Flag(self.RawValue("b", 0))


@dataclass(frozen=True)
class _Failure:
    """A UserError in a worker. As an exception it would arrive wrapped in the text of a traceback."""

    message: str


class _Guarded(Dataset):
    """A dataset that returns a UserError as a value."""

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
        assert isinstance(stream, _PartsFrom)
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
        """Whether a worker has died, which may show only after a moment."""
        workers = [] if self._iterator is None else self._iterator._workers  # type: ignore[attr-defined]
        return bool(multiprocessing.connection.wait([worker.sentinel for worker in workers], timeout=1.0))

    def _start_anew(self, given: int, why: str) -> None:
        """Discard the workers and what they had prepared; the next iterator starts others."""
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
        """Shut the workers down: collected as garbage they would take 5 s to end."""
        if self._iterator is not None:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._iterator = None


def _start_worker(training: int, worker: int) -> None:
    """Set up a worker.

    `training` is the training's process id: a worker of a fork server outlives a killed training unless it checks.
    """
    torch.set_num_threads(1)
    threading.Thread(target=leave_with, args=(training,), daemon=True).start()
