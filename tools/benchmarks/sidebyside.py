"""Workers that take turns: one process a contestant, one of them at work at a time, so that drift hits all alike.

A benchmark gives each worker a name and starts itself again as `--worker NAME`; there it answers requests on standard
input with JSON on standard output (`serve`). The other side is `Contest`: it starts the workers and asks them in turn.
"""

import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, Any]


@contextlib.contextmanager
def undisturbed(wanted: bool) -> Iterator[None]:
    """Put every thread of this process before all others (SCHED_FIFO; root only).

    On a shared machine a thread that loses its core stalls every barrier of OpenMP, for a factor of up to 30.
    Afterwards the process rests as long as it ran, for at most 3 s.
    """
    if not wanted:
        yield
        return
    _schedule(os.SCHED_FIFO, 10)
    began = time.perf_counter()
    try:
        yield
    finally:
        _schedule(os.SCHED_OTHER, 0)
        time.sleep(min(3.0, time.perf_counter() - began))


def _schedule(policy: int, priority: int) -> None:
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(int(thread), policy, os.sched_param(priority))


def timed(work: Callable[[], Any], *, realtime: bool) -> tuple[float, Any]:
    """Seconds that `work` took, and its result."""
    with undisturbed(realtime):
        began = time.perf_counter()
        result = work()
        return time.perf_counter() - began, result


def serve(build: Callable[[], Callable[[Row], Row]]) -> int:
    """Build what answers, then answer requests until there are no more; all that is printed goes to standard error."""
    reply = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    answer = build()
    print(json.dumps({"ready": True}), file=reply, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=reply, flush=True)
    return 0


class Contest:
    """The workers of one comparison; `asked` counts the requests of all comparisons."""

    asked = 0

    def __init__(self, module: str, names: Sequence[str], *, threads: int, options: Sequence[str] = ()) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
        self.workers = {
            name: subprocess.Popen(
                [sys.executable, "-m", module, "--worker", name, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment,
            )
            for name in names
        }
        for name in names:
            self._hear(name)

    def ask(self, name: str, **request: Any) -> Row:
        """One request to one worker."""
        Contest.asked += 1
        pipe = self.workers[name].stdin
        assert pipe is not None
        print(json.dumps(request), file=pipe, flush=True)
        return self._hear(name)

    def rounds(self, count: int, **request: Any) -> dict[str, list[Row]]:
        """Ask everyone once without keeping the answer, then `count` times in turn."""
        answers: dict[str, list[Row]] = {name: [] for name in self.workers}
        for turn in range(count + 1):
            for name in self.workers:
                answer = self.ask(name, **request)
                if turn:
                    answers[name].append(answer)
        return answers

    def close(self) -> None:
        """Let the workers end."""
        for worker in self.workers.values():
            assert worker.stdin is not None
            worker.stdin.close()
            worker.wait(60)

    def _hear(self, name: str) -> Row:
        pipe = self.workers[name].stdout
        assert pipe is not None
        line = pipe.readline()
        if not line:
            raise SystemExit(
                f"{name}: the worker ended with status {self.workers[name].wait(60)}; see its message above"
            )
        return json.loads(line)


def closing(rows: Sequence[Row], measured: int) -> tuple[str, int]:
    """The last line of a benchmark, and its exit status: 1 if a comparison that should have a ratio has none."""
    without = [row["what"] for row in rows if row["ratio"] is None and "of its own" not in row.get("why", "")]
    if without:
        return f"{measured} measurements; no ratio, since results differ: {', '.join(without)}", 1
    return f"{measured} measurements, all results that are compared are equal", 0


def installed(name: str) -> bool:
    """Whether a toolkit can be imported; says so where it cannot."""
    if importlib.util.find_spec(name) is None:
        print(f"{name} is not installed here: make peers, then .venv-peers/bin/python")
        return False
    return True


def medians(answers: Mapping[str, Sequence[Row]], key: str) -> dict[str, tuple[float, float, float]]:
    """Median, least and most of one figure, by worker."""
    figures = {name: [row[key] for row in rows] for name, rows in answers.items()}
    return {name: (statistics.median(values), min(values), max(values)) for name, values in figures.items()}


def ratio(what: str, ours: float, other: float, unit: str) -> Row:
    """A line of `--json`: how many times as fast ours is, from seconds."""
    return {
        "what": what,
        "ours": round(ours, 5),
        "other": round(other, 5),
        "ratio": round(other / ours, 3),
        "unit": unit,
    }
