"""Starts the processes of one machine that train together where no launcher has: by the agent that torchrun is."""

import logging
import os
import re
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
STOP_S = 600  # that processes have for saving, once they were asked to stop
LEAVE_S = 20.0  # that a process has, once the agent is gone
WATCH_S = 0.5  # between two looks whether the agent is still there
AGENT = "HYBRID_ASR_AGENT"  # tells a process whom to end with


def run_processes(count: int, arguments: Sequence[str]) -> int:
    """Run `hybrid-asr` with `arguments` in `count` processes; gives the exit status of them all.

    That is 0 where all ended with 0, 128 + the signal that this process was sent and passed on, else the status of the
    process that failed first. Where one fails the others are ended.
    """
    for name in filter(re.compile(r"torch\.distributed\.elastic").match, list(logging.root.manager.loggerDict)):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # our own messages name what happened
    former = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    os.environ[AGENT] = str(os.getpid())
    try:
        with tempfile.TemporaryDirectory(prefix="hybrid-asr-") as folder:
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=count,
                run_id=uuid.uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                local_addr="localhost",
                max_restarts=0,
                logs_specs=DefaultLogsSpecs(log_dir=folder),
                signals_to_handle=",".join(number.name for number in STOP_SIGNALS),
                shutdown_timeout=STOP_S,
            )
            elastic_launch(config, sys.executable)("-m", "hybrid_asr.cli", *arguments)
    except ChildFailedError as error:
        status = error.get_first_failure()[1].exitcode
        return status if status > 0 else 1
    except SignalException as stop:
        return 128 + stop.sigval
    finally:
        del os.environ[AGENT]
        for number, handler in former.items():
            signal.signal(number, handler)
    return 0


def end_with_agent() -> None:
    """Let this process end soon after the one that started it by `run_processes`, however that ends."""
    agent = os.environ.get(AGENT, "")
    if agent:
        threading.Thread(target=_watch, args=(int(agent),), daemon=True).start()


def _watch(agent: int) -> None:
    while os.getppid() == agent:
        time.sleep(WATCH_S)
    time.sleep(LEAVE_S)  # in which the watch of the processes says what has happened
    os._exit(1)
