"""Room in memory: how much audio makes a batch, and how a batch that does not fit is cut.

Seconds are seconds of audio with padding: the utterances of a batch times the longest of them.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import free_bytes, release_unused
from hybrid_asr.config.schema import plain
from hybrid_asr.decoding.settings import DecoderSettings
from hybrid_asr.models.bundle import Bundle

T = TypeVar("T")

SHARE = 0.5  # of what is free that a batch may be expected to take: estimates are rough, and others run here, too
MOST_CPU_S = 120.0  # more at once is no faster: AN4 took 1.8 s at 30, 2.0 at 60, 2.1 at 120 and 2.2 at 240 s
MOST_GPU_S = 1500.0
_PHRASES = (
    *("can't allocate memory", "out of memory", "bad_alloc", "bad allocation", "cannot allocate memory"),
    *("could not create a memory", "could not create a primitive"),  # oneDNN's
)


class OutOfMemory(UserError):
    """Memory ran out; the message says what would take less."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, in the words of Python, torch, oneDNN or CUDA."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in _PHRASES)


def split_on_failure(
    rows: Sequence[int],
    work: Callable[[list[int]], T],
    *,
    failed: Callable[[int, UserError], None],
    ran_out_with: Callable[[int], None] = lambda rows: None,
) -> Iterator[tuple[list[int], T]]:
    """Do `work` on all rows at once; where that fails for lack of memory or for what a row is, on halves, down to one.

    A row that fails alone is told to `failed`, the others go on. `ran_out_with` is told how many rows were too many.
    """
    waiting = [list(rows)] if rows else []
    while waiting:
        piece = waiting.pop()
        found = _attempt(work, piece)
        if isinstance(found, Problem):
            if isinstance(found.error, OutOfMemory):
                release_unused()
                ran_out_with(len(piece))
            if len(piece) == 1:
                failed(piece[0], found.error)
            else:
                waiting += [piece[len(piece) // 2 :], piece[: len(piece) // 2]]
            continue
        yield piece, found
        del found  # while the next piece is worked on, this one's memory is free


class Problem(NamedTuple):
    """Why a piece of work could not be done."""

    error: UserError


def _attempt(work: Callable[[list[int]], T], piece: list[int]) -> T | Problem:
    """The result, or the problem; without the traceback, which would keep all tensors of the attempt alive."""
    try:
        return work(piece)
    except UserError as error:
        return Problem(error.with_traceback(None))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return Problem(OutOfMemory("memory ran out; take a smaller decode.beam, shorter audio, or more memory"))


class Cost(NamedTuple):
    """What a batch is expected to take: bytes for a second of audio with padding, and for an utterance besides."""

    per_second: float
    per_row: float

    def of(self, rows: int, seconds: float) -> float:
        """Bytes of a batch of `rows` utterances that has `seconds` with padding."""
        return self.per_second * seconds + self.per_row * rows


@dataclasses.dataclass
class Batching:
    """Sizes batches by memory: by an estimate at first, then by what the largest batch so far really took."""

    device: torch.device
    cost: Cost
    most_s: float
    factor: float = 1.0  # measured over estimated

    @classmethod
    def of(cls, device: torch.device, cost: Cost) -> "Batching":
        """The room of a device."""
        return cls(device, cost, MOST_GPU_S if device.type == "cuda" else MOST_CPU_S)

    def rows(self, longest_s: float) -> int:
        """How many utterances a batch may have whose longest one is the next, at least one."""
        each = self.factor * self.cost.of(1, longest_s)
        return max(1, int(min(self.most_s / longest_s, SHARE * free_bytes(self.device) / each)))

    def batches(self, durations: np.ndarray) -> Iterator[list[int]]:
        """Places of utterances, the longest first: as many at a time as fit when they are asked for, at least one."""
        waiting = np.argsort(-durations, kind="stable").tolist()
        while waiting:
            rows = self.rows(float(durations[waiting[0]]))
            yield waiting[:rows]
            waiting = waiting[rows:]

    def learn(self, rows: int, seconds: float, took: int) -> None:
        """What a batch took at most, beyond what was held before."""
        self.factor = took / self.cost.of(rows, seconds)

    def note_out_of_memory(self, seconds: float) -> None:
        """Memory ran out with a batch of this size."""
        self.most_s = min(self.most_s, seconds / 2)


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)


def expected_cost(bundle: Bundle, settings: Sequence[DecoderSettings]) -> Cost:
    """A guess at the bytes that a batch takes in the most demanding of some decoders; what batches take corrects it.

    Of each second the encoder's widest layers, the posteriors as logarithms and as float64, and of each hypothesis of
    the beam (twice as many where search errors are looked for) a dozen float64 a frame; of each utterance some tables
    of hypotheses times labels.
    """
    frames = 1 / bundle.frame_s
    vocab_size, width = bundle.tokenizer.vocab_size, bundle.model.encoder.width
    beam = 2 * max(plain(one).get("beam", 1) for one in settings)
    return Cost(frames * (64 * 4 * width + 24 * vocab_size + 96 * beam), 64.0 * beam * vocab_size)


def refuse_wide_beams(bundle: Bundle, settings: Mapping[str, DecoderSettings], device: torch.device) -> None:
    """Raise UserError where a beam is so wide that one utterance alone has no room in memory.

    A beam wider than the vocabulary is none: its slots stay empty until there are as many hypotheses.
    """
    free = free_bytes(device)
    for name, one in settings.items():
        needed = expected_cost(bundle, [one]).per_row
        if needed > free:
            beam, vocab_size = plain(one)["beam"], bundle.tokenizer.vocab_size
            raise UserError(
                f"{name}: decode.beam={beam} takes about {needed / 1e9:.1f} GB for one utterance "
                f"and a vocabulary of {vocab_size}, {free / 1e9:.1f} GB are free; "
                f"take a beam of at most {max(1, int(beam * free / needed))}"
            )
