"""Checkpoints are written while the training goes on: a copy of the state is made at once, a thread writes the copy."""

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hybrid_asr.training.checkpoint import Checkpoints, KeptEpoch, TrainingState
from hybrid_asr.training.status import StatusFile


class CheckpointWriter:
    """Does one piece of writing at a time, in a thread; the next one waits for it.

    What goes wrong there is raised in the training: by the next call of any method.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def begin(self, write: Callable[[], None]) -> None:
        """Let `write` run in the background, after what was begun before it."""
        self.finish()
        self._thread = threading.Thread(target=self._run, args=(write,), name="checkpoint writer")
        self._thread.start()

    def finish(self) -> None:
        """Wait until all is written."""
        self.wait()
        self.raise_error()

    def wait(self) -> None:
        """Wait for the end of the thread, whatever becomes of it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def raise_error(self) -> None:
        """Raise what went wrong so far, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:
            self._error = error


class Snapshot:
    """A copy on the host of plain containers and tensors: what is trained on does not change it.

    A GPU copies to pinned memory on a stream of its own, behind the work that was queued before; what is queued later
    waits there for the copies, and the host for nothing. Tensors that share their memory share it in the copy.
    """

    def __init__(self, tree: Any) -> None:
        self._seen: dict[tuple[Any, ...], Tensor] = {}
        self._ready: torch.cuda.Event | None = None
        if not torch.cuda.is_available():
            self._tree = self._copy(tree)
            return
        stream, training = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(training)
        with torch.cuda.stream(stream):
            self._tree = self._copy(tree)
            self._ready = torch.cuda.Event()
            self._ready.record()
        training.wait_stream(stream)

    def read(self) -> Any:
        """The copy, in the thread that writes; waits until a GPU has made it."""
        if self._ready is not None:
            self._ready.synchronize()
        return self._tree

    def _copy(self, value: Any) -> Any:
        match value:
            case Tensor():
                return self._copy_tensor(value.detach())
            case dict():
                return {key: self._copy(entry) for key, entry in value.items()}
            case list():
                return [self._copy(entry) for entry in value]
            case tuple():
                return tuple(self._copy(entry) for entry in value)
            case _:
                return value

    def _copy_tensor(self, value: Tensor) -> Tensor:
        place = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride())
        if place not in self._seen or not value.numel():
            on_gpu = value.is_cuda
            self._seen[place] = torch.empty_like(value, device="cpu", pin_memory=on_gpu).copy_(
                value, non_blocking=on_gpu
            )
        return self._seen[place]


def write_state(
    checkpoints: Checkpoints, status: StatusFile, state: TrainingState, copy: Snapshot, kept: KeptEpoch | None
) -> None:
    """Write a state with the weights and the optimizer's state of `copy`, and the weights of the epoch `kept`.

    Only what is on the disk is told as saved.
    """
    weights, optimizer = copy.read()
    if kept is not None:
        checkpoints.save_epoch(state.bundle, weights, kept)
    checkpoints.save_last(dataclasses.replace(state, state_dict=weights, optimizer=optimizer))
    status.tell_saved(state.step)
