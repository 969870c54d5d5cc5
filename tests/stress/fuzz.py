"""Damage everything that hybrid-asr reads, in named ways, and look at what it says.

    python -m tests.stress.fuzz --seed 1 --cases 2000            # minutes; exit status 1 if anything fails
    python -m tests.stress.fuzz --only yaml-alias-bomb truncated --json fuzz.json
    python -m tests.stress.fuzz --seed 1 --case 137 --keep DIR   # one case, its files left in DIR/137
    python -m tests.stress.fuzz --list                           # the operators

A case is a kind of file and an operator that damages it. It is good if the file is refused with a message that names
file, place and cause, or if what is read is right all the same: equal to what the undamaged file gives, or told to be
in doubt, or, where nothing could tell the damage from other contents, valid. A failure is anything else: another
exception, a generic message, a hang, much memory, something executed or written, words of a library on standard error.
Between the cases undamaged files are read, which must give what they gave before.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.stress.fuzzing import (  # noqa: F401
    damage_audio,
    damage_bytes,
    damage_json,
    damage_text,
    damage_torch,
    damage_yaml,
    verdict,
)
from tests.stress.fuzzing.pool import Worker
from tests.stress.fuzzing.table import ALL, OPERATORS

CONTROL_EVERY = 50  # cases
LIMIT_S = 10.0


class Planned(NamedTuple):
    """A case: its number, the kind of its file, its operator."""

    number: int
    kind: str
    operator: str


class Done(NamedTuple):
    """What became of a case: refused, harmless, failed, or hang; what is wrong; what was said of which file."""

    number: int
    kind: str
    operator: str
    outcome: str
    problems: list[str]
    detail: str
    file: str


def plan(seed: int, cases: int, kinds: Sequence[str] = ALL) -> list[Planned]:
    """All pairs of kind and operator, in an order of their own for each seed, again and again."""
    pairs = [(kind, name) for name, operator in OPERATORS.items() for kind in kinds if kind in operator.kinds]
    rng, found = random.Random(seed), []
    while len(found) < cases:
        found += rng.sample(pairs, len(pairs))
    return [Planned(number, *pair) for number, pair in enumerate(found[:cases])]


class Fuzzer:
    """Runs cases in worker processes beneath `folder`, with controls in between."""

    def __init__(self, worker: Worker, folder: Path, seed: int, limit_s: float = LIMIT_S):
        self.worker, self.seed, self.limit_s = worker, seed, limit_s
        self.controls, self.place = folder / "controls", folder / "case"
        self.controls.mkdir(parents=True)
        self.same: dict[str, str] = {}
        self.control_failures: list[str] = []
        self._ask({"do": "inputs", "folder": str(self.controls)})

    def control(self, kind: str) -> None:
        """Read an undamaged file; what it gives must not change."""
        request = {"do": "control", "kind": kind, "controls": str(self.controls), "place": str(self.place)}
        how, detail, *said = self._ask(request)
        if how != "read" or said or self.same.setdefault(kind, detail) != detail:
            self.control_failures.append(f"{kind}: {how} {detail} {' '.join(said)}")

    def run(self, case: Planned) -> Done:
        """Run one case."""
        if case.kind not in self.same:
            self.control(case.kind)
        request = case._asdict() | {"seed": self.seed, "same": self.same.get(case.kind, "")}
        request |= {"do": "case", "controls": str(self.controls), "place": str(self.place)}
        how, answer = self.worker.ask(request, self.limit_s)
        if how == "answer":
            return Done(*case, **answer)
        return Done(*case, "hang" if how == "hang" else "failed", [f"{how}: {answer}"], "", "")

    def _ask(self, request: dict[str, Any]) -> Any:
        how, answer = self.worker.ask(request, 120.0)
        assert how == "answer", f"the undamaged files cannot be read: {how} {answer}"
        return answer


def fuzz(fuzzer: Fuzzer, planned: Sequence[Planned]) -> Iterator[Done]:
    """Run cases; every so often, and at the end, a control of each kind among them."""
    kinds = dict.fromkeys(case.kind for case in planned)
    for place, case in enumerate(planned):
        if place % CONTROL_EVERY == 0:
            for kind in kinds:
                fuzzer.control(kind)
        yield fuzzer.run(case)
    for kind in kinds:
        fuzzer.control(kind)


def table(done: Sequence[Done], by: str) -> str:
    """A line for each operator or kind."""
    rows: dict[str, Counter[str]] = {}
    for one in done:
        rows.setdefault(getattr(one, by), Counter())[one.outcome] += 1
    width = max(map(len, rows), default=0)
    lines = [f"{by:{width}}  {'cases':>5} {'refused':>7} {'harmless':>8} {'failures':>8} {'hangs':>5}"]
    for name in sorted(rows):
        row = rows[name]
        counts = f"{row.total():5} {row['refused']:7} {row['harmless']:8} {row['failed']:8} {row['hang']:5}"
        lines.append(f"{name:{width}}  {counts}")
    return "\n".join(lines)


def grid(done: Sequence[Done]) -> list[dict[str, Any]]:
    """Operator x kind, for JSON."""
    cells = Counter((one.operator, one.kind, one.outcome) for one in done)
    pairs = sorted({(one.operator, one.kind) for one in done})
    outcomes = ("refused", "harmless", "failed", "hang")
    return [
        {"operator": operator, "kind": kind, **{name: cells[operator, kind, name] for name in outcomes}}
        for operator, kind in pairs
    ]


def closing(done: Sequence[Done], control_failures: Sequence[str]) -> str:
    """The last line."""
    counts = Counter(one.outcome for one in done)
    failures = counts["failed"] + len(control_failures)
    return f"cases {len(done)}, failures {failures}, hangs {counts['hang']}"


def main() -> int:
    """Read the command line, run, print; 0 if nothing failed, 1 otherwise."""
    options = _parser().parse_args()
    if options.worker:
        from tests.stress.fuzzing.worker import serve

        serve()
        return 0
    if options.list:
        for name, operator in OPERATORS.items():
            print(f"{name}: {operator.about}\n    {', '.join(kind for kind in ALL if kind in operator.kinds)}")
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-", ignore_cleanup_errors=True) as folder:
        add_ffmpeg(Path(folder) / "bin")
        with Worker() as worker:
            return run(options, Fuzzer(worker, Path(folder) / "work", options.seed))


def run(options: argparse.Namespace, fuzzer: Fuzzer) -> int:
    """Run what the options ask for, and tell."""
    began, done = time.monotonic(), []
    kinds = [kind for kind in options.kinds or ALL if kind != "m4a" or shutil.which("ffmpeg")]
    planned = plan(options.seed, max(options.cases, (options.case or 0) + 1), kinds)
    chosen = [case for case in planned if not options.only or case.operator in options.only]
    chosen = chosen if options.case is None else [planned[options.case]]
    for one in fuzz(fuzzer, chosen):
        done.append(one)
        if options.keep and (one.outcome in ("failed", "hang") or options.case is not None):
            keep(fuzzer.place, options.keep / str(one.number))
        if one.outcome in ("failed", "hang") or options.verbose:
            print(f"{one.number} {one.kind} {one.operator}: {one.outcome}: {'; '.join(one.problems)}")
            print("".join(f"    {line[:300]}\n" for line in one.detail.split("\n")[:8] if line), end="", flush=True)
    by_command = [command_line(fuzzer, case) for case in chosen[: options.command_line]]
    print(f"\n{table(done, 'operator')}\n\n{table(done, 'kind')}\n")
    for failure in [*fuzzer.control_failures, *filter(None, by_command)]:
        print(f"FAILED {failure}")
    if options.command_line:
        print(f"command line: {len(by_command)} cases, failures {sum(map(bool, by_command))}")
    print(f"{len(fuzzer.same)} kinds of undamaged files, {len(done)} cases in {time.monotonic() - began:.0f} s")
    print(closing(done, fuzzer.control_failures))
    if options.json:
        content = {"closing": closing(done, fuzzer.control_failures), "grid": grid(done)}
        content |= {"cases": [one._asdict() for one in done]}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    bad = any(one.outcome in ("failed", "hang") for one in done) or fuzzer.control_failures or any(by_command)
    return int(bool(bad))


def keep(place: Path, folder: Path) -> None:
    """Copy the files of a case; pipes stay behind, a link remains a link."""

    def pipes(inside: str, names: list[str]) -> list[str]:
        return [name for name in names if (Path(inside) / name).is_fifo()]

    shutil.copytree(place, folder, symlinks=True, dirs_exist_ok=True, ignore=pipes)


def command_line(fuzzer: Fuzzer, case: Planned) -> str:
    """The same case through `hybrid-asr`: what is wrong with it, or nothing."""
    from tests.stress.fuzzing.inputs import KINDS

    done = fuzzer.run(case)
    place = fuzzer.place
    file = done.file or str(place / KINDS[case.kind].files[0])
    words = [word.replace("{0}", file) for word in KINDS[case.kind].command]
    code = f"import sys; from hybrid_asr.cli import main; sys.exit(main({words!r}))"
    settings = {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")])
    }
    try:
        ran = subprocess.run(
            [sys.executable, "-c", code], cwd=place, env=os.environ | settings, capture_output=True, timeout=90
        )
    except subprocess.TimeoutExpired:
        return f"{case}: hybrid-asr {' '.join(words)}: hangs"
    said = ran.stderr.decode("utf-8", "replace")
    wanted = (2,) if done.outcome == "refused" else (0, 2)
    if ran.returncode not in wanted or "Traceback" in said or (ran.returncode == 2 and not said.strip()):
        return f"{case}: hybrid-asr {' '.join(words)}: exit status {ran.returncode}: {said.strip()[-400:]}"
    return ""


def add_ffmpeg(folder: Path) -> None:
    """Put the ffmpeg of the package imageio-ffmpeg on PATH where there is none."""
    if shutil.which("ffmpeg"):
        return
    try:
        import imageio_ffmpeg
    except ImportError:
        print("no ffmpeg on PATH: m4a is left out")
        return
    folder.mkdir()
    (folder / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=verdict.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument(
        "--only", nargs="+", metavar="OPERATOR", choices=sorted(OPERATORS), help="these operators alone"
    )
    parser.add_argument("--kinds", nargs="+", metavar="KIND", choices=ALL, help="these kinds of files alone")
    parser.add_argument("--case", type=int, metavar="N", help="this case alone (with the same --seed and --kinds)")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="copy the files of failed cases, and of --case, to DIR/N"
    )
    parser.add_argument(
        "--command-line", type=int, default=0, metavar="N", help="N of the cases through hybrid-asr, too"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write operator x kind and all cases here")
    parser.add_argument("--list", action="store_true", help="print the operators and the kinds that they damage")
    parser.add_argument("--verbose", action="store_true", help="print every case")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
