"""Do the tests notice?  Plants the faults of `faults.py`, one at a time, in a copy of the source, and runs their tests.

    python tools/break_it.py                               # all, some minutes; exit status 1 if a fault survives
    python tools/break_it.py --only blank-is-eos end-unscored --json broken.json
    python tools/break_it.py --list

The working tree is only read. First the tests must be green without a fault; then each fault must turn one of its own
tests red, or else one of the quick tests of the same folder, which is told. A fault that keeps its tests from being
collected proves nothing and counts as survived.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("hybrid_asr", "conf", "recipes", "tests", "tools", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md")
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?::.+?)(?: - |$)", re.MULTILINE)


class Ran(NamedTuple):
    """What pytest said: its exit status, the first test that failed, its last lines."""

    status: int
    failed: str | None
    tail: str


class Outcome(NamedTuple):
    """What became of a fault. `test` caught it, None: nobody did; `expected` tells whether it was one of its own."""

    fault: str
    file: str
    test: str | None
    expected: bool
    seconds: float


def main() -> int:
    """Read the command line, plant, print; 0 if every fault was caught, 1 if one survived, 2 if nothing can be told."""
    options = _parser().parse_args()
    known = {fault.name: fault for fault in FAULTS}
    chosen = [known[name] for name in options.only] if options.only else FAULTS
    if options.list:
        print(table(["fault", "file", "tests"], [[f.name, f.file, " ".join(f.tests)] for f in chosen]))
        return 0
    with tempfile.TemporaryDirectory(prefix="break-it-") as folder:
        tree = copy_tree(Path(folder))
        tests = list(dict.fromkeys(test for fault in chosen for test in fault.tests))
        began = time.monotonic()
        ran = pytest(tree, *tests)
        if ran.status != 0:
            print(f"{ran.tail}\nthe tests are not green without a fault: mend that first", file=sys.stderr)
            return 2
        print(f"{len(tests)} tests are green without a fault ({time.monotonic() - began:.0f} s)", flush=True)
        outcomes = [_told(plant(tree, fault)) for fault in chosen]
    print(f"\n{summary(outcomes, time.monotonic() - began)}")
    if options.json:
        options.json.write_text(json.dumps([one._asdict() for one in outcomes], indent=1) + "\n", encoding="utf-8")
    return int(any(one.test is None for one in outcomes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [fault.name for fault in FAULTS]
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=names, help="these faults alone (see --list)")
    parser.add_argument("--list", action="store_true", help="print the faults and their tests, plant nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the outcomes here")
    return parser


def copy_tree(folder: Path) -> Path:
    """Copy what the tests need; `../shared` of the copy is that of the working tree, where there is one."""
    tree = folder / "checkout"
    tree.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).is_file():
            shutil.copy2(ROOT / name, tree / name)
    if (ROOT.parent / "shared").is_dir():
        (folder / "shared").symlink_to(ROOT.parent / "shared", target_is_directory=True)
    return tree


def plant(tree: Path, fault: Fault) -> Outcome:
    """Change the copy, run the fault's own tests, then the other quick tests of their folder; change it back."""
    path, began = tree / fault.file, time.monotonic()
    sound = path.read_text(encoding="utf-8")
    assert sound.count(fault.old) == 1, f"{fault.name}: the text before does not stand once in {fault.file}"
    path.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
    try:
        ran = pytest(tree, "-x", *fault.tests)
        caught = _caught(ran, fault)
        expected = caught is not None
        if ran.status == 0:
            caught = _caught(pytest(tree, "-x", "-m", "not slow", *neighbors(fault.tests)), fault)
    finally:
        path.write_text(sound, encoding="utf-8")
    return Outcome(fault.name, fault.file, caught, expected, round(time.monotonic() - began, 1))


def _caught(ran: Ran, fault: Fault) -> str | None:
    """The test that failed, if one ran and did."""
    if ran.status == 0 or (ran.status == 1 and ran.failed):
        return ran.failed
    print(f"{ran.tail}\n{fault.name}: the tests did not run", file=sys.stderr)
    return None


def neighbors(tests: Sequence[str]) -> list[str]:
    """The folders of tests, or the file where it lies at the top."""
    files = [Path(test.partition("::")[0]) for test in tests]
    return list(dict.fromkeys(str(file if file.parent.name == "tests" else file.parent) for file in files))


def pytest(tree: Path, *arguments: str) -> Ran:
    """Run tests of `tree` by this interpreter, with one thread and always the same examples."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=line", "-p", "no:cacheprovider", *arguments]
    # No bytecode: Python tells a changed source by its size and the second of its change.
    settings = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "CI": "1"}
    done = subprocess.run(command, cwd=tree, env=os.environ | settings, capture_output=True, text=True)
    found = FAILED.search(done.stdout)
    return Ran(done.returncode, found[1] if found else None, "\n".join((done.stdout + done.stderr).splitlines()[-25:]))


def _told(outcome: Outcome) -> Outcome:
    caught = outcome.test or "SURVIVED"
    print(f"{outcome.seconds:6.1f} s  {outcome.fault}: {caught}{'' if outcome.expected else ' (!)'}", flush=True)
    return outcome


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """The table for people, and the counts."""
    rows = [
        [one.fault, one.file, (one.test or "SURVIVED") + ("" if one.expected else " (!)"), f"{one.seconds:.1f}"]
        for one in outcomes
    ]
    caught = sum(one.test is not None for one in outcomes)
    stray = sum(one.test is not None and not one.expected for one in outcomes)
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
