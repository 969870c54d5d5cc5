"""The processes that train together, connected before the data are read: so they can agree before the first step.

A launcher has started them (`launch_environment`). They meet at a store, a server of torch's that the first process, or
torchrun, runs at MASTER_ADDR:MASTER_PORT. Lightning finds the connection made and uses it.

Exchanges over a group are matched by their order alone, also those that are read later. So only the main thread makes
them, at points that are the same in all processes: fixed by the number of the step, or by what an earlier exchange
gave; never by a process's own clock, signal or error.
"""

import contextlib
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Literal, NoReturn, TypeVar, cast

import torch
from torch import Tensor, distributed
from torch._C._distributed_c10d import PrefixStore, Store

from hybrid_asr.common.errors import UserError
from hybrid_asr.training import rendezvous
from hybrid_asr.training.launch_environment import Launch
from hybrid_asr.training.messages import print_stderr
from hybrid_asr.training.rendezvous import (
    POLL_S,
    USER_MISTAKE,
    RendezvousError,
    await_all,
    meeting_point,
    name_attempt,
    open_store,
)
from hybrid_asr.training.signals import STOP, StoppedAtOnce
from hybrid_asr.training.watch import BEAT_S, LEAVE_S, SILENT_S, End, Watch

T = TypeVar("T")
COLLECTIVE_S = 600.0  # in which all must have come to an exchange, once they train
TELLING_S = 1.0  # that the first process has for its message before the others end
STALLED_SHARE = 0.9  # of COLLECTIVE_S, in which a step must end: those behind are named before torch gives up
WAITING = "waiting for the others"
_OF_EXCHANGES = re.compile(r"gloo|nccl|connection|timed out|time out|DistNetworkError|DistBackendError", re.IGNORECASE)


class _Connection:
    """What is kept of the connection: the store, a group over gloo for what lies on the host, and the watch."""

    store: Store | None = None
    host: distributed.ProcessGroup | None = None
    watch: Watch | None = None
    meetings = 0


@contextlib.contextmanager
def connected(launch: Launch | None) -> Iterator[None]:
    """Connect this process with the others of `launch`, if there are any, until the block ends, and all are there.

    Raises RendezvousError where they have not all come within RENDEZVOUS_S. After an error nothing is torn down in an
    orderly way: the others may wait in an exchange that this process will not come to, and are told by the watch.
    """
    if launch is None or launch.processes == 1:
        yield
        return
    STOP.quiet = True
    try:
        _connect(launch)
        yield
        meet()
    except BaseException as error:
        if _Connection.watch is not None:
            _end_by(error, _Connection.watch)
            _forget()
        raise
    assert _Connection.watch is not None, "it is connected"
    _Connection.watch.stop()
    _forget()
    distributed.destroy_process_group()


def _forget() -> None:
    _Connection.store = _Connection.host = _Connection.watch = None
    _Connection.meetings = 0


def _end_by(error: BaseException, watch: Watch) -> None:
    """Tell the others that this process ends by `error`; where another is the cause, the watch ends this process.

    Of an error that the user can correct the first process speaks for all.
    """
    if isinstance(error, StoppedAtOnce):
        former = watch.wait_for_end(2 * BEAT_S)  # a launcher ends us, too, where another process has died
        end = former or watch.propose(End(rank=watch.rank, cause="stopped at once", signal=error.signal_number))
        if not end.signal:
            time.sleep(SILENT_S)
        return watch.stop()
    if isinstance(error, SystemExit):  # of an error that all have met together
        return watch.stop()
    if _OF_EXCHANGES.search(f"{type(error).__name__} {error}") and not isinstance(error, UserError):
        watch.wait_for_end(SILENT_S + 2 * BEAT_S)
    is_users = isinstance(error, UserError | OSError)
    file = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else ""
    cause = (file or str(error)) if is_users else f"{type(error).__name__}: {str(error)[:500]}"
    where = "" if watch.rank == 0 else f"process {watch.rank} of {watch.processes} on {socket.gethostname()}: "
    end = watch.propose(End(rank=watch.rank, cause=where + cause, status=USER_MISTAKE if is_users else 1))
    if end.rank != watch.rank or end.gone:
        time.sleep(3 * SILENT_S)  # the watch ends this process
    if watch.rank > 0:
        watch.wait_until_told(LEAVE_S)
    watch.stop()
    if watch.rank > 0 and is_users:
        raise SystemExit(USER_MISTAKE)


def _connect(launch: Launch) -> None:
    address, port = meeting_point(launch)
    deadline = time.monotonic() + rendezvous.RENDEZVOUS_S
    connection = open_store(launch, address, port, deadline)
    attempt = name_attempt(connection, launch)
    store = PrefixStore(attempt, connection)
    _Connection.watch = watch = Watch(
        PrefixStore(f"{attempt}/watch", connection.clone()),  # pyright: ignore[reportAttributeAccessIssue]
        rank=launch.rank,
        processes=launch.processes,
        stalled_s=STALLED_SHARE * COLLECTIVE_S,
    )
    watch.start()
    await_all(store, launch, deadline)
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            store=PrefixStore("group", store),
            rank=launch.rank,
            world_size=launch.processes,
            timeout=timedelta(seconds=rendezvous.RENDEZVOUS_S),
        )
        group = distributed.new_group(backend="gloo", timeout=timedelta(seconds=rendezvous.RENDEZVOUS_S))
    except RuntimeError as error:
        if watch.wait_for_end(2 * BEAT_S):
            raise
        interface = os.environ.get("GLOO_SOCKET_IFNAME", "which is not set")
        raise RendezvousError(
            f"the processes have met, but cannot connect from {socket.gethostname()}: {str(error).splitlines()[0]}; "
            f"set GLOO_SOCKET_IFNAME ({interface}) to the network that connects the nodes, and open its ports"
        ) from None
    assert isinstance(group, distributed.ProcessGroup), "this process is one of it"
    for each in (None, group):
        distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=COLLECTIVE_S), each)
    _Connection.store, _Connection.host = store, group


def is_connected() -> bool:
    """Whether several processes train together, this one being one of them."""
    return _Connection.host is not None


def host_group() -> distributed.ProcessGroup:
    """The group of all processes for what lies on the host, apart from the one that sums gradients."""
    assert _Connection.host is not None, "this process trains alone"
    return _Connection.host


def store() -> Store:
    """The store at which the processes met: small values by name that all can set and see."""
    assert _Connection.store is not None, "this process trains alone"
    return _Connection.store


def note(doing: str, step: int | None = None) -> None:
    """Say what this process does, behind which step: for the message, if it or another is missed."""
    if _Connection.watch is not None:
        _Connection.watch.note(doing, step)


def on_end(report: Callable[[End, str], None]) -> None:
    """Let `report` write down and print why the training ends, where that is another process's doing."""
    if _Connection.watch is not None:
        _Connection.watch.report = report


def last_step() -> int:
    """The last step that this process has made, as `note` was told."""
    return 0 if _Connection.watch is None else _Connection.watch.step


def meet() -> None:
    """Wait for all processes, however long: the work of the first one, on a slow disk, is no reason to give up.

    Signals are heard meanwhile, and the death of a process. In the training another process than the first that has not
    come within COLLECTIVE_S is taken to hang.
    """
    if not is_connected():
        return
    watch, here = _Connection.watch, store()
    assert watch is not None, "it is connected"
    _Connection.meetings += 1
    name = f"meeting/{_Connection.meetings}"
    before = watch.doing
    watch.note(WAITING)
    if here.add(name, 1) == watch.processes:
        here.set(f"{name}/all", "")
    began, due, pause = time.monotonic(), COLLECTIVE_S, 0.002
    while not here.check([f"{name}/all"]):
        time.sleep(pause)
        pause = min(1.5 * pause, POLL_S)
        if (waited := time.monotonic() - began) > due:
            due += COLLECTIVE_S
            _tell_who_is_missing(watch, waited)
    watch.note(before)


def _tell_who_is_missing(watch: Watch, waited_s: float) -> None:
    first = watch.others()[0]
    if watch.rank == 0 and watch.step > 0:
        raise UserError(f"not all processes have come to where they meet in {waited_s:.0f} s: {watch.standing()}")
    if watch.rank == (1 if first is not None and first.doing != WAITING else 0):
        print_stderr(f"waiting for {waited_s:.0f} s: {watch.standing()}")


def broadcast(value: T) -> T:
    """What the first process gives, in all; waits for them."""
    if not is_connected():
        return value
    meet()
    values = [value]
    distributed.broadcast_object_list(values, src=0, group=host_group())
    return values[0]


def gather(value: T) -> list[T]:
    """What each process gives, in the order of their ranks, in all; waits for them."""
    if not is_connected():
        return [value]
    meet()
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value, group=host_group())
    return values


def reduce_later(values: Tensor, how: Literal["sum", "max"]) -> Callable[[], Tensor]:
    """Begin to add up `values`, which lie on the host, or to take the largest; what is returned waits for that."""
    operation = distributed.ReduceOp.SUM if how == "sum" else distributed.ReduceOp.MAX
    work = distributed.all_reduce(values, operation, group=host_group(), async_op=True)
    assert work is not None, "this process is one of the group"

    def result() -> Tensor:
        work.wait()
        return values

    return result


def together(action: Callable[[], T]) -> T:
    """What `action` gives in each process; where it raises a UserError in any, all end.

    The first process then raises the error, which names the processes that had it where these are not all; the others
    end without a word, with the same status.
    """
    if not is_connected():
        return action()
    result, problem = None, ""
    try:
        result = action()
    except UserError as error:
        problem = str(error)
    problems = gather(problem)
    if not any(problems):
        return cast(T, result)
    if distributed.get_rank() > 0:
        end_silently()
    first = next(text for text in problems if text)
    ranks = [rank for rank, text in enumerate(problems) if text]
    others = "" if len(ranks) == len(problems) else f"process {', '.join(map(str, ranks))} of {len(problems)}: "
    raise UserError(f"{others}{first}")


def end_silently() -> NoReturn:
    """End this process for a mistake that the first one tells.

    A moment later than that: a launcher ends all when one has ended. And at once: while Python shuts down in an orderly
    way, torch's threads may abort the process with a status and a message of their own.
    """
    if _Connection.watch is not None:
        _Connection.watch.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(TELLING_S)
    os._exit(USER_MISTAKE)
