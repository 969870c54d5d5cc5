"""A process that damages inputs, reads them and judges what comes of it, one case after the other.

It answers each line of JSON on its standard input with one on its standard output. Whoever started it watches the time:
a case that hangs is ended with its process.
"""

import contextlib
import dataclasses
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from hybrid_asr.common.errors import UserError

from . import damage_audio, damage_bytes, damage_json, damage_text, damage_torch, damage_yaml  # noqa: F401  (the table)
from .inputs import AGAIN, KINDS, digest, write_inputs
from .table import OPERATORS, Case
from .verdict import faults

MEMORY = 3 << 30  # bytes that a case may take on top of what the process has
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")


@dataclasses.dataclass
class Watch:
    """Notes what a reader must not do: run a program, write outside of its folder, open a connection."""

    folder: Path = Path("/")
    seen: list[str] = dataclasses.field(default_factory=list)
    on: bool = False

    def hook(self, event: str, arguments: tuple) -> None:
        """For `sys.addaudithook`."""
        if not self.on:
            return
        if event in ("os.system", "os.exec", "os.posix_spawn", "socket.connect", "os.fork", "pty.spawn"):
            self.seen.append(f"{event} {arguments[:2]!r:.100}")
        elif event == "subprocess.Popen" and Path(os.fsdecode(arguments[0])).name != "ffmpeg":
            self.seen.append(f"{event} {arguments[1]!r:.100}")
        elif (event == "open" and isinstance(arguments[0], str | bytes) and arguments[2] & WRITING) or (
            event in CHANGING and isinstance(arguments[0], str | bytes)
        ):
            self._outside(event, arguments[0])

    def _outside(self, event: str, path: str | bytes) -> None:
        full = os.path.abspath(os.fsdecode(path))
        if not full.startswith(str(self.folder.parent)) and full != os.devnull:
            self.seen.append(f"{event} {full}")


WATCH = Watch()


def prepare(place: Path, controls: Path, kind: str) -> None:
    """A fresh copy of what a kind needs, in which to do damage."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(controls, place)


def file_of(kind: str, rng: random.Random) -> str:
    """The one of its files that is damaged."""
    return rng.choice(KINDS[kind].files)


def outcome_of(kind: str, folder: Path) -> tuple[str, str]:
    """Read; `read` or `told` and a digest, `refused` and the message, or `failed` and what was raised.

    `told`: the reader says itself what is doubtful about what it reads.
    """
    try:
        found = digest(KINDS[kind].read(folder))
        return "told" if KINDS[kind].notes(folder) else "read", found
    except UserError as error:
        return "refused", str(error)
    except MemoryError:
        return "failed", f"takes more than {MEMORY >> 30} GiB of memory"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return "failed", f"{type(error).__name__}: {str(error)[:200]} ({Path(last.filename).name}:{last.lineno})"


@contextlib.contextmanager
def watched(folder: Path):
    """Collect what is printed to standard error, and what the process does to the world."""
    with tempfile.TemporaryFile(dir=folder.parent) as log:
        former = os.dup(2)
        os.dup2(log.fileno(), 2)
        WATCH.folder, WATCH.seen, WATCH.on = folder, [], True
        said: list[str] = []
        try:
            yield said
        finally:
            WATCH.on = False
            sys.stderr.flush()
            os.dup2(former, 2)
            os.close(former)
            log.seek(0)
            said += log.read().decode("utf-8", "replace").strip().splitlines()


def run_case(
    number: int, kind: str, operator: str, seed: int, controls: Path, place: Path, same: str
) -> dict[str, Any]:
    """Do the damage, read, judge. `same` is the digest of the undamaged file."""
    prepare(place, controls, kind)
    os.chdir(place)
    tempfile.tempdir = str(place)
    rng = random.Random(f"{seed} {number} {operator} {kind}")
    case = Case(kind, place / file_of(kind, rng), place, controls, rng)
    before = case.path.read_bytes()
    OPERATORS[operator].damage(case)
    regular = case.path.is_file() and not case.path.is_symlink() and case.path.stat().st_size < 1 << 26
    changed = not (regular and case.path.read_bytes() == before)
    with watched(place) as said:
        verdict, detail = outcome_of(kind, place)
    names = names_of(case)
    problems = judged(kind, operator, verdict, detail, names, same, changed, regular)
    if case.marker.exists():
        problems.append("something from the file was executed")
    problems += [f"did: {one}" for one in dict.fromkeys(WATCH.seen)]
    said = [line for line in said if str(case.path) not in line]  # a warning of ours
    problems += [f"printed to standard error: {said[0][:150]}"] if said else []
    outcome = "failed" if problems else "refused" if verdict == "refused" else "harmless"
    return {
        "outcome": outcome,
        "problems": problems,
        "detail": detail if verdict not in ("read", "told") else "",
        "file": str(case.path),
    }


def names_of(case: Case) -> list[str]:
    """The ways in which a message may name the file: a run by its folder, a preset that is missing by its recipe."""
    relative = case.path.relative_to(case.folder)
    others = [case.folder / name for name in KINDS[case.kind].files] if not KINDS[case.kind].alone else []
    others += [case.path.parent] if relative.name in ("config.yaml", "metrics.csv") else []
    return [str(case.path), *map(str, others), relative.as_posix(), *(["recipe.yaml"] if case.kind == "preset" else [])]


def judged(
    kind: str, operator: str, verdict: str, detail: str, names: list[str], same: str, changed: bool, regular: bool
) -> list[str]:
    """What is wrong with an outcome."""
    if verdict == "failed":
        return [detail]
    if verdict == "refused":
        wrong = [] if changed else ["refuses a file that was not damaged"]
        return wrong + [f"the message {one}" for one in faults(kind, detail, names)]
    if kind == "report" and detail in (same, digest(AGAIN)):
        return []  # of what can be made again, a message is not needed
    if kind == "last" and detail == digest(AGAIN) and not regular:
        return []
    if verdict == "told":
        return []
    if detail != same and (kind == "report" or kind not in OPERATORS[operator].unseen):
        return ["damage that is not noticed: another result is read"]
    return []


def serve() -> None:
    """Answer requests until the standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints must not disturb the answers
    sys.addaudithook(WATCH.hook)
    limited = False
    for line in sys.stdin:
        request = json.loads(line)
        match request.pop("do"):
            case "inputs":
                os.chdir(request["folder"])
                write_inputs(Path(request["folder"]))
                answer: Any = None
            case "control":
                place = Path(request["place"])
                prepare(place, Path(request["controls"]), request["kind"])
                os.chdir(place)
                with watched(place) as said:
                    found = outcome_of(request["kind"], place)
                answer = [*found, *said]
            case _:
                folders: dict[str, Any] = {name: Path(request.pop(name)) for name in ("controls", "place")}
                answer = run_case(**request, **folders)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if not limited:  # after the first answer all libraries are in
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            limited = True
