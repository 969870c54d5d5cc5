"""How the processes that train together find each other: at a store, a server of torch's, within a minute.

What can be waited for in Python is, since a wait within torch is deaf to signals.
"""

import os
import socket
import threading
import time
from datetime import timedelta

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from torch import distributed
from torch._C._distributed_c10d import Store, TCPStore

from hybrid_asr.common.errors import UserError
from hybrid_asr.training.launch_environment import Launch

USER_MISTAKE = 2  # exit status
RENDEZVOUS_S = 60.0  # in which all processes must have come
POLL_S = 0.5  # between two looks
EVERY_SHOWN = 8  # missing processes that are named


class RendezvousError(UserError):
    """Processes that did not find each other; the message says who is missing, and where."""


def meeting_point(launch: Launch) -> tuple[str, int]:
    """The host and port of the store; they are put into the environment, too, where Lightning looks."""
    if launch.launcher == "srun":
        os.environ["SLURM_NTASKS_PER_NODE"] = str(launch.per_node)  # not set by srun -n2, and Lightning insists on it
        slurm = SLURMEnvironment(auto_requeue=False)
        address, port = slurm.main_address, slurm.main_port
    else:
        address, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), os.environ.get("MASTER_PORT", "29500")
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = address, str(port)
    return address, int(port)


def agent_holds_store() -> bool:
    """Whether the store is torchrun's own; else the first process opens it."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == str(True)


def open_store(launch: Launch, address: str, port: int, deadline: float) -> TCPStore:
    """Open the store, or connect to it, until `deadline`, of `time.monotonic`. Raises RendezvousError."""
    mine = launch.rank == 0 and not agent_holds_store()
    where = f"the first process of this training, at {address}:{port} (MASTER_ADDR:MASTER_PORT)"
    while True:
        try:
            if mine:
                socket.getaddrinfo(address, port)
            else:
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
    opened: list[TCPStore | Exception] = []

    def connect() -> None:
        try:
            opened.append(
                TCPStore(
                    address,
                    port,
                    launch.processes,
                    is_master=mine,
                    timeout=timedelta(seconds=RENDEZVOUS_S),
                    wait_for_workers=False,
                    multi_tenant=mine,
                )
            )
        except (distributed.DistError, ValueError) as error:
            opened.append(error)

    thread = threading.Thread(target=connect, daemon=True)  # torch waits for ever for the answer of another program
    thread.start()
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(POLL_S)
    match opened:
        case [TCPStore() as store]:
            return store
        case [Exception() as error]:
            raise RendezvousError(f"{where}: {str(error).splitlines()[0]}; is the port free there?")
    raise RendezvousError(f"{where}, does not answer: another program listens there; give another MASTER_PORT")


def name_attempt(store: Store, launch: Launch) -> str:
    """A prefix of names at the store for those who have come to it together.

    To the port of one training may come the processes of another, and torchrun's own store outlives its restarts. So
    each is with those that have come as often as itself, or in whose place torchrun has restarted as often.
    """
    same = f"hybrid-asr/{os.environ.get('TORCHELASTIC_RUN_ID', '')}/{launch.processes}"
    mine = f"{same}/starts/{launch.rank}"
    restarts = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if agent_holds_store() else 0
    return f"{same}/{store.add(mine, max(1, restarts + 1 - store.add(mine, 0)))}"


def await_all(store: Store, launch: Launch, deadline: float) -> None:
    """Wait until all processes have come. Raises RendezvousError, once, that names those that have not."""
    names = [f"came/{rank}" for rank in range(launch.processes)]
    store.set(names[launch.rank], socket.gethostname())
    while not store.check(names):
        if time.monotonic() > deadline:
            missing = [rank for rank, name in enumerate(names) if not store.check([name])]
            if any(rank not in missing for rank in range(launch.rank)):  # which says so
                raise SystemExit(USER_MISTAKE)
            shown = ", ".join(map(str, missing[:EVERY_SHOWN])) + (", …" if len(missing) > EVERY_SHOWN else "")
            raise RendezvousError(
                f"{len(missing)} of {launch.processes} processes have not come within {RENDEZVOUS_S:.0f} s, those of "
                f"rank {shown}; see why they have not started, or have ended"
            )
        time.sleep(min(POLL_S, 0.05))
