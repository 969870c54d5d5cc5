"""The processes that train together, connected before the data are read: so they can agree before the first step.

A launcher has started them (`launch_environment`). They meet at a store, a server of torch's that the first process, or
torchrun, runs at MASTER_ADDR:MASTER_PORT. Lightning finds the connection made and uses it.

Exchanges over a group are matched by their order alone, also those that are read later. So only the main thread makes
them, at points that are the same in all processes: fixed by the number of the step, or by what an earlier exchange
gave; never by a process's own clock, signal or error.
"""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Literal, NoReturn, TypeVar, cast

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch import Tensor, distributed
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from hybrid_asr.common.errors import UserError
from hybrid_asr.training.launch_environment import Launch

T = TypeVar("T")
USER_MISTAKE = 2  # exit status
RENDEZVOUS_S = 60.0  # in which all processes must have come
COLLECTIVE_S = 600.0  # in which all must have come to an exchange, once they train
TELLING_S = 1.0  # that the first process has for its message before the others end
POLL_S = 0.5  # between two looks: a wait within torch is deaf to signals
EVERY_SHOWN = 8  # missing processes that are named


class RendezvousError(UserError):
    """Processes that did not find each other; the message says who is missing, and where."""


class _Connection:
    """What is kept of the connection: the store, and a group over gloo for what lies on the host."""

    store: Store | None = None
    host: distributed.ProcessGroup | None = None


@contextlib.contextmanager
def connected(launch: Launch | None) -> Iterator[None]:
    """Connect this process with the others of `launch`, if there are any, until the block ends.

    Raises RendezvousError where they have not all come within RENDEZVOUS_S. After an error nothing is torn down in an
    orderly way: the others may wait in an exchange that this process will not come to, and its end tells them.
    """
    if launch is None or launch.processes == 1:
        yield
        return
    _connect(launch)
    yield
    _Connection.store = _Connection.host = None
    distributed.destroy_process_group()


def _connect(launch: Launch) -> None:
    address, port = _meeting_point(launch)
    deadline = time.monotonic() + RENDEZVOUS_S
    store = _open_store(launch, address, port, deadline)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun's store outlives a restart
    store = PrefixStore(f"hybrid-asr/{attempt}", store)
    _await_all(store, launch, deadline)
    distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        store=PrefixStore("group", store),
        rank=launch.rank,
        world_size=launch.processes,
        timeout=timedelta(seconds=COLLECTIVE_S),
    )
    _Connection.store = store
    group = distributed.new_group(backend="gloo", timeout=timedelta(seconds=COLLECTIVE_S))
    assert isinstance(group, distributed.ProcessGroup), "this process is one of it"
    _Connection.host = group


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


def broadcast(value: T) -> T:
    """What the first process gives, in all; waits for them."""
    if not is_connected():
        return value
    values = [value]
    distributed.broadcast_object_list(values, src=0, group=host_group())
    return values[0]


def gather(value: T) -> list[T]:
    """What each process gives, in the order of their ranks, in all; waits for them."""
    if not is_connected():
        return [value]
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
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(TELLING_S)
    os._exit(USER_MISTAKE)


def _meeting_point(launch: Launch) -> tuple[str, int]:
    """The host and port of the store; they are put into the environment, too, where Lightning looks."""
    if launch.launcher == "srun":
        os.environ["SLURM_NTASKS_PER_NODE"] = str(launch.per_node)  # not set by srun -n2, and Lightning insists on it
        slurm = SLURMEnvironment(auto_requeue=False)
        address, port = slurm.main_address, slurm.main_port
    else:
        address, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), os.environ.get("MASTER_PORT", "29500")
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address, str(port)
    return address, int(port)


def _open_store(launch: Launch, address: str, port: int, deadline: float) -> Store:
    """Open the store, or connect to it. What can be waited for in Python is, since it hears signals."""
    mine = launch.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True)
    where = f"the first process of this training, at {address}:{port} (MASTER_ADDR:MASTER_PORT)"
    while not mine:
        try:
            socket.create_connection((address, port), timeout=POLL_S).close()
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise RendezvousError(
                    f"{where}, cannot be reached from {socket.gethostname()} within {RENDEZVOUS_S:.0f} s: "
                    f"{error.strerror or error}; see whether it runs, and whether the name is known on all nodes and "
                    "the port is open between them"
                ) from None
            time.sleep(POLL_S)
    try:
        return TCPStore(
            address,
            port,
            launch.processes,
            is_master=mine,
            timeout=timedelta(seconds=COLLECTIVE_S),
            wait_for_workers=False,
            multi_tenant=mine,
        )
    except (distributed.DistError, ValueError) as error:
        raise RendezvousError(f"{where}: {str(error).splitlines()[0]}; is the port free there?") from None


def _await_all(store: Store, launch: Launch, deadline: float) -> None:
    """Wait until all processes have come; those that have not are named."""
    names = [f"came/{rank}" for rank in range(launch.processes)]
    store.set(names[launch.rank], socket.gethostname())
    while not store.check(names):
        if time.monotonic() > deadline:
            missing = [str(rank) for rank, name in enumerate(names) if not store.check([name])]
            shown = ", ".join(missing[:EVERY_SHOWN]) + (", …" if len(missing) > EVERY_SHOWN else "")
            raise RendezvousError(
                f"{len(missing)} of {launch.processes} processes have not come within {RENDEZVOUS_S:.0f} s, those of "
                f"rank {shown}; see why they have not started, or have ended"
            )
        time.sleep(min(POLL_S, 0.05))
