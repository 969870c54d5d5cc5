"""Runs of pytest that start in no time: forks of a process that has imported torch and the like already."""

import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# What tests import of others and takes long; nothing of the checkout, and no module that jaxtyping's hook has to see.
SLOW_IMPORTS = (
    "torch",
    "torch._dynamo",
    "lightning.pytorch",
    "pytest",
    "pytest.__main__",
    "hypothesis.strategies",
    "beartype",
    "jaxtyping",
    "numpy",
    "omegaconf",
    "pydantic",
    "soundfile",
    "soxr",
    "sentencepiece",
    "jiwer",
    "matplotlib.figure",
    "PIL.Image",
    "jinja2",
)
HERE = Path(__file__).resolve().parent
LONGEST_TEST_S = 120
LONGEST_RUN_S = 1800
OPTIONS = ["-q", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist"]
QUIET = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins that are imported already
FORK = multiprocessing.get_context("fork")


class Result(NamedTuple):
    """What pytest said: its exit status (None: it was stopped), the first test that failed, its last lines."""

    status: int | None
    failed: str | None
    tail: str


class FirstFailure:
    """A plugin of pytest that remembers the first test that failed."""

    def __init__(self) -> None:
        self.test: str | None = None

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed and self.test is None:
            self.test = report.nodeid


def import_slow_modules() -> None:
    """Import what every run of pytest would import for itself."""
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in SLOW_IMPORTS:
        importlib.import_module(name)


def run_pytest(tree: Path, *arguments: str) -> Result:
    """Run tests of `tree` in a fork of this process, with one thread and always the same examples."""
    with tempfile.TemporaryDirectory(prefix="pytest-") as folder:
        output, answer = Path(folder) / "output", Path(folder) / "answer.json"
        process = FORK.Process(target=_be_pytest, args=(tree, arguments, output, answer))
        process.start()
        process.join(LONGEST_RUN_S)
        _end_group(process.pid)
        process.join()
        tail = "\n".join(output.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])
        status, failed = json.loads(answer.read_text(encoding="utf-8")) if answer.is_file() else (None, None)
        return Result(status, failed, tail)


def _be_pytest(tree: Path, arguments: Sequence[str], output: Path, answer: Path) -> None:
    """In the fork: look like `python -m pytest`, started in the tree, to the tests and to processes that they start."""
    os.setsid()
    file = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.chdir(tree)
    os.environ |= {"PYTHONPATH": str(tree), "CI": "1", "PYTEST_VERSION": "0"}
    sys.path[:] = [str(tree), *(path for path in sys.path if Path(path).resolve() not in (HERE, *HERE.parents[:2]))]
    sys.modules["__main__"] = sys.modules["pytest.__main__"]
    sys.argv = [str(Path(sys.modules["pytest"].__file__ or "").parent / "__main__.py"), *arguments]
    first_failure = FirstFailure()
    status = sys.modules["pytest"].main(
        [*OPTIONS, *QUIET, f"--timeout={LONGEST_TEST_S}", *arguments], plugins=[first_failure]
    )
    answer.write_text(json.dumps([int(status), first_failure.test]), encoding="utf-8")


def _end_group(group: int | None) -> None:
    """End what a run left behind, and the run itself where it did not end."""
    assert group
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
