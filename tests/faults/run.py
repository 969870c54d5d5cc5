"""Do the tests notice?  Plants the faults of this folder, one at a time, in copies of the source, and runs their tests.

    python tests/faults/run.py                                # all
    python tests/faults/run.py --since HEAD~3                 # of packages that changed since then, or whose tests did
    python tests/faults/run.py --only blank-is-eos end-unscored
    python tests/faults/run.py --list

The working tree is only read. First the tests must be green without a fault; then each fault must turn one of its own
tests red, or else one of the quick tests of the same folder, which is marked (!). A fault that keeps its tests from
being collected proves nothing and counts as survived. The last line says how many were caught; the exit status is 0 if
all were, 1 if one survived or the tests were not green before.

Several run at a time, each in a copy of its own, as forks of this process, which has imported torch once for all. So
this process must import nothing of the checkout: a fork imports the library and the tests of its copy.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import NamedTuple

from forked import FORK, Result, import_slow_modules, run_pytest
from planted import CHECKOUT, Fault, locate, package_of, read_faults

LEFT_OUT = {".git", ".venv", ".venv-peers", "data", "runs", "dist", "wandb", "lightning_logs"}  # of the checkout's root
FREE_TREES: SimpleQueue = FORK.SimpleQueue()  # copies of the checkout in which nobody runs tests now


class Outcome(NamedTuple):
    """What became of a fault. `test` caught it, None: nobody did; `expected` says whether it was one of its own."""

    fault: str
    file: str
    test: str | None
    expected: bool
    seconds: float
    tail: str = ""

    @property
    def caught_by(self) -> str:
        """The test, marked where it was not one of the fault's own."""
        return f"{self.test or 'SURVIVED'}{'' if self.expected or not self.test else ' (!)'}"


def main() -> int:
    """Read the command line, plant, print; 0 if every fault was caught."""
    options = _parser().parse_args()
    faults = chosen(read_faults(), options.only, options.since)
    if options.list:
        print(table(["fault", "file", "tests"], [[f.name, str(locate(f)), " ".join(f.tests)] for f in faults]))
        return 0
    began, workers = time.monotonic(), max(1, min(options.workers, len(faults)))
    import_slow_modules()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        for number in range(workers):
            FREE_TREES.put(copy_tree(Path(folder) / str(number)))
        with ProcessPoolExecutor(workers, mp_context=FORK) as pool:
            green = run_unchanged(pool, faults, workers)
            outcomes = plant_all(pool, faults) if green else []
    if not green:
        print("the tests are not green without a fault: fix that first")
        return 1
    print(f"\n{summary(outcomes, time.monotonic() - began)}")
    return int(any(outcome.test is None for outcome in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these faults alone (see --list)")
    parser.add_argument("--since", metavar="REV", help="faults of packages that changed since this revision")
    parser.add_argument(
        "--workers", type=int, default=2, metavar="N", help="run so many at a time (default %(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="print the faults and their tests, plant nothing")
    return parser


def chosen(faults: list[Fault], names: Sequence[str] | None, since: str | None) -> list[Fault]:
    """The faults with these names, and of packages that changed since a revision, or whose tests did."""
    if unknown := set(names or ()) - {fault.name for fault in faults}:
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}; --list shows them")
    if names:
        faults = [fault for fault in faults if fault.name in names]
    if since:
        changed = changed_files(since)
        packages = {package_of(file) for file in changed} | {
            Path(file).stem for file in changed if Path(file).match("tests/faults/*.yaml")
        }
        faults = [
            fault
            for fault in faults
            if {fault.package, package_of(locate(fault))} & packages
            or changed & {test.partition("::")[0] for test in fault.tests}
        ]
    return faults


def changed_files(since: str) -> set[str]:
    """What differs between a revision and the working tree, files that git does not know yet included."""
    names: set[str] = set()
    for command in (["diff", "--name-only", since, "--"], ["ls-files", "--others", "--exclude-standard"]):
        done = subprocess.run(["git", *command], cwd=CHECKOUT, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"git {' '.join(command)}: {done.stderr.strip()}")
        names.update(done.stdout.splitlines())
    return names


def copy_tree(folder: Path) -> Path:
    """Copy the checkout; `../shared` of the copy is that of the working tree, where there is one."""
    tree = folder / "checkout"
    tree.mkdir(parents=True)
    for path in CHECKOUT.iterdir():
        if path.is_file():
            shutil.copy2(path, tree)
        elif path.name not in LEFT_OUT and not path.name.endswith("_cache"):
            shutil.copytree(path, tree / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    if (CHECKOUT.parent / "shared").is_dir():
        (folder / "shared").symlink_to(CHECKOUT.parent / "shared", target_is_directory=True)
    return tree


def run_unchanged(pool: ProcessPoolExecutor, faults: Sequence[Fault], workers: int) -> bool:
    """Run all tests that faults name, without a fault. Are they green?"""
    began = time.monotonic()
    tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    folders = list(dict.fromkeys(Path(test.partition("::")[0]).parent for test in tests))  # these share fixtures
    shares = [
        [test for test in tests if Path(test.partition("::")[0]).parent in folders[number::workers]]
        for number in range(workers)
    ]
    red = [result for result in pool.map(run_in_free_tree, filter(None, shares)) if result.status != 0]
    print("\n".join(result.tail for result in red), end="\n" if red else "")
    if not red:
        print(f"{len(tests)} tests are green without a fault ({time.monotonic() - began:.0f} s)", flush=True)
    return not red


def plant_all(pool: ProcessPoolExecutor, faults: Sequence[Fault]) -> list[Outcome]:
    """Plant each fault, print what became of it as soon as it is known, and return all in the order of the list."""
    outcomes = {}
    for future in as_completed([pool.submit(plant, fault, locate(fault)) for fault in faults]):
        outcome = future.result()
        outcomes[outcome.fault] = outcome
        print(outcome.tail, end="\n" if outcome.tail else "")
        print(f"{outcome.seconds:6.1f} s  {outcome.fault}: {outcome.caught_by}", flush=True)
    return [outcomes[fault.name] for fault in faults]


def run_in_free_tree(tests: Sequence[str]) -> Result:
    """Run tests in a copy that nobody uses."""
    with free_tree() as tree:
        return run_pytest(tree, *tests)


@contextmanager
def free_tree() -> Iterator[Path]:
    """A copy of the checkout for as long as the block takes; there are as many as processes in the pool."""
    tree = FREE_TREES.get()
    try:
        yield tree
    finally:
        FREE_TREES.put(tree)


def plant(fault: Fault, file: Path) -> Outcome:
    """Change a copy, run the fault's own tests, then the other quick tests of their folder; change it back."""
    began = time.monotonic()
    with free_tree() as tree:
        path = tree / file
        text = path.read_text(encoding="utf-8")
        try:
            write_source(path, text.replace(fault.before, fault.after))
            result = run_pytest(tree, "-x", *fault.tests)
            expected = result.failed is not None
            if result.status == 0:
                result = run_pytest(tree, "-x", "-m", "not slow", *neighbors(fault.tests))
        finally:
            write_source(path, text)
    tail = "" if result.failed or result.status == 0 else f"{result.tail}\n{fault.name}: the tests did not run"
    return Outcome(fault.name, str(file), result.failed, expected, round(time.monotonic() - began, 1), tail)


def write_source(path: Path, text: str) -> None:
    """Write a source file and remove its bytecode: Python knows a change only by the size and the second of writing."""
    path.write_text(text, encoding="utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def neighbors(tests: Sequence[str]) -> list[str]:
    """The folders of tests, or the file where it lies at the top."""
    files = [Path(test.partition("::")[0]) for test in tests]
    return list(dict.fromkeys(str(file if file.parent.name == "tests" else file.parent) for file in files))


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """The table for people, and the counts."""
    rows = [[outcome.fault, outcome.file, outcome.caught_by, f"{outcome.seconds:.1f}"] for outcome in outcomes]
    caught = sum(outcome.test is not None for outcome in outcomes)
    stray = sum(outcome.test is not None and not outcome.expected for outcome in outcomes)
    lines = [table(["fault", "file", "test that caught it", "seconds"], rows), ""]
    lines += [f"(!) {stray} caught by another test than its own"] if stray else []
    return "\n".join([*lines, f"{caught} of {len(outcomes)} faults caught in {seconds / 60:.1f} minutes"])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    )


if __name__ == "__main__":
    sys.exit(main())
