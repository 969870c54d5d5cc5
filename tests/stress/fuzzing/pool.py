"""Worker processes with a limit of time: what hangs or dies is told, and the next case has a fresh process."""

import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
START_S = 120.0  # to import everything


class Worker:
    """A process of `worker.py`, started when it is needed and renewed after `cases` requests."""

    def __init__(self, cases: int = 400):
        self._cases, self._asked = cases, 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ask(self, request: dict[str, Any], limit_s: float) -> tuple[str, Any]:
        """`answer` and what was answered, `hang`, or `died` and of which signal."""
        if self._asked >= self._cases:
            self.stop()
        process = self._process or self._start()
        assert process.stdin and process.stdout
        self._asked += 1
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        if not _readable(process, limit_s + (START_S if self._asked == 1 else 0)):
            self.stop()
            return "hang", f"no answer within {limit_s:g} s"
        line = process.stdout.readline()
        if line:
            return "answer", json.loads(line)
        status = process.wait()
        self.stop()
        return "died", signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL) if self._process.poll() is None else None
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                stream.close() if stream else None
        self._process, self._asked = None, 0

    def _start(self) -> subprocess.Popen[bytes]:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stress.fuzz", "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | settings,
            start_new_session=True,
        )
        return self._process


def _readable(process: subprocess.Popen[bytes], seconds: float) -> bool:
    with selectors.DefaultSelector() as selector:
        assert process.stdout
        selector.register(process.stdout, selectors.EVENT_READ)
        return bool(selector.select(seconds))
