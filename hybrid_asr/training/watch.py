"""Each of the processes that train together says that it lives, and watches the next one: no death goes unnoticed.

A process whose main thread waits in an exchange for one that has died hears no signal and runs no Python. So two
threads of each watch: one talks to the store at which the processes met, the other sees that the first gets answers.
Why the training ends is told to all by the store; the first process that lives writes it down and prints it.
"""

import dataclasses
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from torch._C._distributed_c10d import Store

from hybrid_asr.common.lock_holder import process_started
from hybrid_asr.training.messages import print_stderr
from hybrid_asr.training.rendezvous import agent_holds_store
from hybrid_asr.training.signals import STOP

BEAT_S = 1.0
SILENT_S = 30.0  # of a process that is not seen to be dead: on another machine, or stopped
GRACE_S = 15.0  # that the main thread has to leave when a signal says so; it may wait in an exchange for ever
TELL_S = 3.0  # that a process waits for the one before it to tell why the training ends
FIRST_TELLS_S = 30.0  # that the first process has to tell of its own error
LEAVE_S = 5.0  # that a process waits for others: to tell, to leave
NAMED = 8  # processes that a message lists
TRAINING = "training"
AWAITS_DATA, COMPUTES, ADDS_UP = (f"{TRAINING}: {what}" for what in ("awaits data", "computes", "adds up gradients"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """Why the training ends: process `rank` is `gone`, has met an error, or was sent `signal` (0: none).

    Rank -1 stands for all of them, whose training has `stalled`, or for what has started them.
    """

    rank: int
    cause: str
    status: int = 1  # with which the others exit
    gone: bool = False
    stalled: bool = False
    signal: int = 0


class Beat(NamedTuple):
    """What a process says of itself: `place` is its host and its space of process ids."""

    place: str
    pid: int
    started: str
    count: int = 0
    step: int = 0
    doing: str = "preparing"

    @classmethod
    def current(cls) -> "Beat":
        """This process."""
        space = os.readlink("/proc/self/ns/pid") if os.path.exists("/proc/self/ns/pid") else ""
        return cls(f"{socket.gethostname()} {space}", os.getpid(), process_started(os.getpid()))

    @property
    def host(self) -> str:
        """The name of its machine."""
        return self.place.split(" ")[0]

    def has_ended(self, place: str) -> bool:
        """Whether it has certainly ended, seen from a process at `place`."""
        return self.place == place and process_started(self.pid) != self.started


class Watch:
    """The threads that watch. `store` must be a connection of their own: another thread may wait on one for long.

    `report` gets why the training ends, where this process is the one to tell. `stalled_s` is how long a step may take.
    """

    def __init__(self, store: Store, *, rank: int, processes: int, stalled_s: float):
        self.rank, self.processes, self.stalled_s = rank, processes, stalled_s
        self.report: Callable[[End, str], None] = lambda end, text: print_stderr(f"hybrid-asr train: {text}")
        self.end: End | None = None
        self._store, self._beat = store, Beat.current()
        self._next: Beat | None = None
        self._silent = self._unanswered = 0  # beats since the next process, or the store, was heard
        self._leaving = 0  # beats since a signal ended this process
        self._still_since = time.monotonic()
        self._ended, self._stopped = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._talk, self._guard)]

    def start(self) -> None:
        """Begin to watch."""
        self._store.set(_beat(self.rank), json.dumps(self._beat))
        for thread in self._threads:
            thread.start()

    def note(self, doing: str, step: int | None = None) -> None:
        """Say what this process does, behind which step."""
        self._beat = self._beat._replace(doing=doing, step=self._beat.step if step is None else step)
        self._still_since = time.monotonic()

    @property
    def doing(self) -> str:
        """What this process does."""
        return self._beat.doing

    @property
    def step(self) -> int:
        """The last step that this process has made."""
        return self._beat.step

    def others(self) -> list[Beat | None]:
        """What each process last said; None of one that has not spoken yet."""
        names = [_beat(rank) for rank in range(self.processes)]
        return [_parsed(self._store.get(name)) if self._store.check([name]) else None for name in names]

    def propose(self, end: End) -> End:
        """Tell all why the training ends; gives what was told first."""
        told = self._store.compare_set("end", "", json.dumps(dataclasses.asdict(end)))
        self.end = End(**json.loads(told))
        self._ended.set()
        return self.end

    def wait_for_end(self, seconds: float) -> End | None:
        """Why the training ends, if any process tells within `seconds`."""
        self._ended.wait(seconds)
        return self.end

    def wait_until_told(self, seconds: float) -> None:
        """Wait until a process has told the user."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._store.check(["told"]):
            time.sleep(BEAT_S / 4)

    def stop(self) -> None:
        """End the watch. The first process waits for the others, since the store may end with it.

        A thread that is within torch while Python ends would abort the process.
        """
        self._stopped.set()
        if self.rank == 0:
            self._store.set("told", "")
        deadline = time.monotonic() + LEAVE_S
        left = self._store.add("left", 1)
        while self.rank == 0 and left < self.processes and time.monotonic() < deadline:
            time.sleep(0.05)
            left = self._store.add("left", 0)
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(LEAVE_S)

    def _talk(self) -> None:
        try:
            while not self._stopped.wait(BEAT_S):
                self._beat = self._beat._replace(count=self._beat.count + 1)
                self._store.set(_beat(self.rank), json.dumps(self._beat))
                self._unanswered = 0
                if self.end is None:
                    self._look()
                elif self.end.rank != self.rank or self.end.gone:
                    self._leave(self.end)
                    return
        except RuntimeError:  # torch's, of a connection that is gone
            if not self._stopped.is_set():
                self._lost_store()

    def _guard(self) -> None:
        """See that the store answers: a machine that has lost its power closes no connection."""
        while not self._stopped.wait(BEAT_S):
            self._unanswered += 1
            if self._unanswered * BEAT_S > (SILENT_S if self.end is None else 3 * SILENT_S):
                self._lost_store()
            if STOP.overdue(GRACE_S):  # the main thread does not hear
                self._tell(End(rank=self.rank, cause="stopped at once", signal=STOP.latest))
                os._exit(0)

    def _look(self) -> None:
        """Whether the training ends, since another process says so, the next one is gone, or nothing goes on."""
        if self._store.check(["end"]):
            self.propose(End(rank=self.rank, cause=""))
            return
        self._look_at_next()  # a launcher ends us by a signal, too, where another process has died
        self._leaving += STOP.left > 0
        if self._leaving * BEAT_S > LEAVE_S and self.end is None:
            self.propose(End(rank=self.rank, cause="stopped at once", signal=STOP.left))
            return
        doing, still_s = self._beat.doing, time.monotonic() - self._still_since
        if self.rank == 0 and doing.startswith(TRAINING) and still_s > self.stalled_s:
            cause = f"no step has ended for {still_s:.0f} s: {self.standing()}"
            self.propose(End(rank=-1, gone=True, stalled=True, cause=cause))

    def _look_at_next(self) -> None:
        rank = (self.rank + 1) % self.processes
        former = self._next
        if not self._store.check([_beat(rank)]):
            return
        self._next = beat = _parsed(self._store.get(_beat(rank)))
        self._silent = 0 if former is None or former.count != beat.count else self._silent + 1
        where = f"process {rank} of {self.processes}, pid {beat.pid} on {beat.host}"
        last = f"last heard of behind step {beat.step}, {beat.doing}"
        if beat.has_ended(self._beat.place):
            cause = "has ended without a word: killed, perhaps for memory; see the system's log"
        elif self._silent * BEAT_S > SILENT_S:
            cause = f"has not been heard of for {SILENT_S:.0f} s: its machine is down, out of reach, or it was stopped"
        else:
            return
        self.propose(End(rank=rank, cause=f"{where}, {last}: {cause}", gone=True))

    def standing(self) -> str:
        """Which processes are behind which step, those that are behind first."""
        beats = [(beat.step, beat.doing == ADDS_UP, rank, beat) for rank, beat in enumerate(self.others()) if beat]
        named = [
            f"process {rank} on {beat.host} behind step {beat.step}, {beat.doing}" for *_, rank, beat in sorted(beats)
        ]
        return "; ".join(named[:NAMED]) + ("; …" if len(named) > NAMED else "")

    def _leave(self, end: End) -> None:
        """End this process, since the training ends; whoever is the first that lives tells why."""
        if end.signal:
            STOP.send(end.signal)
            if not self._stopped.wait(GRACE_S):
                self._tell(end)
                os._exit(0)
            return
        turn = self.rank - (end.gone and 0 <= end.rank < self.rank)
        self.wait_until_told(TELL_S * min(turn, NAMED) + (FIRST_TELLS_S if end.rank == 0 and not end.gone else 0))
        if not self._store.check(["told"]):
            self._tell(end)
            self._store.set("told", "")
        time.sleep(BEAT_S)  # the one that tells ends first: a launcher ends the others as soon as one has
        self._store.add("left", 1)
        os._exit(end.status)

    def _lost_store(self) -> None:
        """The store is gone, and with it the process that held it: the first one, or the one that started them all."""
        if self.end is None:
            of_agent = agent_holds_store()
            who = "the process that started this training" if of_agent else f"process 0 of {self.processes}"
            self.end = End(
                rank=-1 if of_agent else 0, cause=f"{who} has ended, or cannot be reached any more", gone=True
            )
            if self.rank == (0 if of_agent else 1):
                self._tell(self.end)
        os._exit(self.end.status)

    def _tell(self, end: End) -> None:
        if not end.signal or self.rank == 0:
            self.report(end, end.cause)


def _beat(rank: int) -> str:
    return f"beat/{rank}"


def _parsed(content: bytes) -> Beat:
    return Beat(*json.loads(content))
