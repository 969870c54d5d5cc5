"""Trainings by several processes that are started as a cluster starts them, to be disturbed."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.tones import CHECKOUT, words


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ranks:
    """`count` processes that train the tones in the folder `run`; `code` runs first in each, with its `rank`."""

    def __init__(self, tones: Path, run: Path, *settings: str, count: int = 2, code: str = "", **environment: str):
        self.run = run
        start = f"import os, sys\nrank = int(os.environ['RANK'])\n{code}\nfrom hybrid_asr.cli import main\n"
        start += f"sys.exit(main({words(tones, run, *settings)!r}))"
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(count)}
        shared |= {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"} | environment
        self.outputs = [tempfile.TemporaryFile("w+") for _ in range(count)]  # noqa: SIM115 (they live as long as this)
        self.processes = [
            subprocess.Popen(
                [sys.executable, "-c", start],
                env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                stderr=output,
            )
            for rank, output in enumerate(self.outputs)
        ]

    def rows(self) -> int:
        """Lines of metrics.csv, but for the first."""
        file = self.run / "metrics.csv"
        return max(file.read_text().count("\n") - 1, 0) if file.is_file() else 0

    def wait_for(self, moment: Callable[[], object], seconds: float = 240) -> None:
        """Wait until `moment` is true."""
        deadline = time.monotonic() + seconds
        while not moment():
            assert time.monotonic() < deadline, self.told()
            assert all(process.poll() is None for process in self.processes), self.told()
            time.sleep(0.002)

    def end(self, seconds: float = 240) -> list[int]:
        """Wait for all; gives their exit statuses."""
        deadline = time.monotonic() + seconds
        try:
            return [process.wait(max(deadline - time.monotonic(), 0.1)) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def told(self) -> list[str]:
        """What each has printed."""
        for output in self.outputs:
            output.seek(0)
        return [output.read() for output in self.outputs]
