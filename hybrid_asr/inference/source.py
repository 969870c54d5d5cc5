"""Where audio comes from, and how it is read ahead: a manifest's utterances, or audio files."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64

from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.inference.out_of_memory import OutOfMemory


@runtime_checkable
class AudioSource(Protocol):
    """Audio to be evaluated, by index: a manifest's utterances, or audio files."""

    @property
    def durations(self) -> np.ndarray:
        """The seconds of each."""
        ...

    def read_audio(self, index: int, rate: int) -> np.ndarray:
        """The samples at `rate` Hz. Raises UserError that names what cannot be read."""
        ...


@dataclasses.dataclass(frozen=True)
class AudioFiles:
    """Whole audio files, of which nothing is known but how many seconds each lasts.

    Read is the mean of their channels, or `channel`, the first of which is 1.
    """

    paths: Sequence[Path]
    durations: Float64[np.ndarray, " files"]
    channel: int | None = None

    def read_audio(self, index: int, rate: int) -> Float32[np.ndarray, " samples"]:
        """The samples of a file at `rate` Hz. Raises AudioError that names it."""
        return io.read(self.paths[index], rate=rate, channel=self.channel)


class AudioBatch(NamedTuple):
    """The waveforms of a batch by their indices in the source, and why others could not be read."""

    indices: list[int]
    samples: list[np.ndarray]
    unreadable: dict[int, UserError]


def read_ahead(source: AudioSource, batches: Iterable[list[int]], rate: int) -> Iterator[AudioBatch]:
    """Batches of waveforms, each read while the one before is in use; the next batch is asked for that early, too."""

    def read(index: int) -> np.ndarray | UserError:
        try:
            return source.read_audio(index, rate)
        except MemoryError:
            return OutOfMemory("no memory is left to read it")
        except UserError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        reading: list[tuple[int, Future[np.ndarray | UserError]]] = []
        for indices in chain(batches, [[]]):
            before, reading = reading, [(index, pool.submit(read, index)) for index in indices]
            batch = AudioBatch([], [], {})
            for index, future in before:
                outcome = future.result()
                if isinstance(outcome, UserError):
                    batch.unreadable[index] = outcome
                else:
                    batch.indices.append(index)
                    batch.samples.append(outcome)
            if before:
                yield batch
            del batch
