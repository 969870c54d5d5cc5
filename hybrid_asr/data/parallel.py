"""Work on the pieces of something large by processes, one a core, with a line that says how far it is."""

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext
from typing import Any, TypeVar

from hybrid_asr.common.errors import UserError, printable
from hybrid_asr.common.lock_holder import process_started
from hybrid_asr.data.socket_folder import place_sockets

Job = TypeVar("Job")
Result = TypeVar("Result")

PRELOADED = ["hybrid_asr.data.loader"]  # by the fork server of a process, so that its workers start at once
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # ask a training to stop
WATCH_S = 2.0  # how often a worker checks whether the process that it works for is still running
_QUIET_S = {True: 2.0, False: 10.0}  # what takes less needs no line on a terminal, in a file
_EVERY_S = {True: 0.5, False: 30.0}  # between two lines, on a terminal and in a file
_work: Callable[[Any], Any] | None = None


class WorkError(UserError):
    """Processes that died at their work."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def map_in_processes(
    work: Callable[[Job], Result], jobs: Sequence[Job], *, what: str, processes: int | None = None
) -> Iterator[Result]:
    """The results of `work` for each of `jobs`, in order; `what` is done is told on stderr, with the time that is left.

    `processes` is their number, by default one a core; one, and a single job, run in this process. Workers come from a
    fork server, as those of `build_loader`: a script that gets here must do so under `if __name__ == "__main__"`.
    Errors of `work` are raised here; WorkError where a process died.
    """
    progress = _Progress(what, len(jobs))
    processes = min(processes or cores(), len(jobs))
    if processes <= 1:
        for job in jobs:
            yield work(job)
            progress.step()
    else:
        yield from _in_pool(work, jobs, processes, progress)
    progress.end()


def _in_pool(
    work: Callable[[Job], Result], jobs: Sequence[Job], processes: int, progress: "_Progress"
) -> Iterator[Result]:
    context = ForkServerContext()
    prepare_fork_server(context)
    waiting: deque[Future[Result]] = deque()
    pool = ProcessPoolExecutor(processes, context, _begin, (os.getpid(), work))
    try:
        for job in jobs:
            waiting.append(pool.submit(_do, job))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
                progress.step()
        while waiting:
            yield waiting.popleft().result()
            progress.step()
    except BrokenProcessPool as error:
        raise WorkError(
            f"{progress.what}: a process that helps has died; look at the memory that is free, and at the system's log "
            "for what killed it; a script must be written so that it begins under 'if __name__ == \"__main__\":'"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def prepare_fork_server(context: ForkServerContext) -> None:
    """Start it. Raises UserError where there is no folder for its socket.

    It, and its processes if they do not decide otherwise, never get the signals that ask a training to stop: a
    terminal, `timeout`, a supervisor or SLURM sends these to all processes of a group, and the training still needs
    its workers for the step under way.
    """
    place_sockets()
    context.set_forkserver_preload(PRELOADED)
    former = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)  # a new process inherits what is blocked
    try:
        resource_tracker.ensure_running()  # unblocks some of them
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _begin(employer: int, work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # by which the pool ends those that are left
    threading.Thread(target=leave_with, args=(employer,), daemon=True).start()


def _do(job: Any) -> Any:
    assert _work is not None
    return _work(job)


def leave_with(employer: int) -> None:
    """End this process soon after the one with the id `employer` has ended, be it that nobody has waited for it."""
    known = process_started(employer)  # of one that has ended, and still has its number, /proc tells
    while True:
        try:
            os.kill(employer, 0)
        except ProcessLookupError:
            os._exit(1)
        if known and process_started(employer) != known:
            os._exit(1)
        time.sleep(WATCH_S)


class _Progress:
    """One line on stderr: written over on a terminal, anew from time to time elsewhere; none for what is quick."""

    def __init__(self, what: str, total: int):
        self.what, self._total, self._done = what, total, 0
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._told = self._began + _QUIET_S[self._terminal] - _EVERY_S[self._terminal]
        self._shown = False

    def step(self) -> None:
        """Note that one more piece is done."""
        self._done += 1
        now = time.monotonic()
        if now - self._told >= _EVERY_S[self._terminal] and self._done < self._total:
            left = (now - self._began) / self._done * (self._total - self._done)
            text = printable(f"{self.what}: {self._done / self._total:.0%}, {_duration(left)} left")
            print(
                f"\r\033[K{text}" if self._terminal else f"note: {text}",
                end="" if self._terminal else "\n",
                file=sys.stderr,
                flush=True,
            )
            self._told, self._shown = now, True

    def end(self) -> None:
        """Erase the line of a terminal."""
        if self._shown and self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
