"""What is done where memory runs out, or one utterance is bad: the batch is cut in two, and again, down to one."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import release_unused

T = TypeVar("T")

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
    """Do `work` on all rows at once; where memory runs out or a row is bad (UserError), on halves, down to one row.

    A row that fails alone is given to `failed`, the others go on. `ran_out_with` gets the number that was too large.
    """
    waiting = [list(rows)] if rows else []
    while waiting:
        piece = waiting.pop()
        result = _attempt(work, piece)
        if isinstance(result, Problem):
            if isinstance(result.error, OutOfMemory):
                release_unused()
                ran_out_with(len(piece))
            if len(piece) == 1:
                failed(piece[0], result.error)
            else:
                waiting += [piece[len(piece) // 2 :], piece[: len(piece) // 2]]
            continue
        yield piece, result
        del result  # while the next piece is worked on, this one's memory is free


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
