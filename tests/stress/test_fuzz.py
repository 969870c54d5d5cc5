"""The fuzzer itself: what it calls a good refusal, that it notices planted faults of readers, and a short run of it."""

import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from hybrid_asr.common.errors import UserError
from tests.stress.fuzzing import worker
from tests.stress.fuzzing.inputs import KINDS, Kind
from tests.stress.fuzzing.table import ALL, OPERATORS, Case, Operator
from tests.stress.fuzzing.verdict import faults

GOOD = {
    "wav": "/d/a.wav: is truncated: its header promises 48000 bytes of samples, the file holds 100; copy it again",
    "flac": "/d/a.flac: is a named pipe, not a file; name a sound file",
    "manifest": "/d/m.jsonl:3: the field 'text' is missing; add it",
    "recipe": "optim.lr: Input should be greater than 0, got -1 (r.yaml)",
    "model": "/d/model.pt: damaged, or not a checkpoint (its record data/3 does not match its checksum); use another",
}
NAMES = {"wav": "/d/a.wav", "flac": "/d/a.flac", "manifest": "/d/m.jsonl", "recipe": "r.yaml", "model": "/d/model.pt"}
BAD = {
    "does not name the file": ("wav", "is truncated: its header promises 48000 bytes of samples; copy it again"),
    "names no cause": ("model", "/d/model.pt: damaged, or not a checkpoint; use another"),
    "names no place": ("manifest", "/d/m.jsonl: the field 'text' is wrong somewhere; add it"),
    "shows Python's 'RuntimeError'": ("model", "/d/model.pt: 'weights' damaged (RuntimeError while it was read)"),
    "shows Python's 'Errno'": ("wav", "/d/a.wav: [Errno 5] the 7 bytes were not read; copy it again"),
    "is too long": ("manifest", "/d/m.jsonl:3: the field is " + "x" * 2001),
    "has control characters": ("manifest", "/d/m.jsonl:3: the field '\x1b[2J' is unknown; remove it"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_a_message_with_file_place_and_cause_is_good(kind):
    assert faults(kind, GOOD[kind], [NAMES[kind]]) == []


@pytest.mark.parametrize("fault", BAD)
def test_each_rule_is_applied(fault):
    kind, message = BAD[fault]
    assert any(fault in found for found in faults(kind, message, [NAMES[kind]]))


@pytest.mark.parametrize("reason", ["", ";", "None", "damaged", "an error", "unknown error", "invalid file"])
def test_a_message_without_a_reason_is_generic(reason):
    for kind, name in NAMES.items():
        assert faults(kind, f"{name}: {reason}", [name])


def test_the_table_is_complete():
    assert {kind for operator in OPERATORS.values() for kind in operator.kinds} == set(ALL) >= set(KINDS)
    assert all(operator.about.endswith(".") and operator.unseen <= operator.kinds for operator in OPERATORS.values())
    assert len(OPERATORS) >= 90


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "legacy-format"])  # which holds addresses
def test_an_operator_does_the_same_damage_each_time(name, inputs, tmp_path):
    """On one of its kinds; what it makes of the file is what counts, a folder, a pipe and a giant by their kind."""
    kind = next((kind for kind in ALL if kind in OPERATORS[name].kinds & set(KINDS)), None)
    if kind is None:
        pytest.skip("needs ffmpeg on PATH")
    found = []
    for turn in range(2):
        place = tmp_path / "case"
        worker.prepare(place, inputs, kind)
        case = Case(kind, place / KINDS[kind].files[0], place, inputs, random.Random(7))
        OPERATORS[name].damage(case)
        path = case.path
        plain = path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 30
        found.append(path.read_bytes() if plain else os.path.lexists(path) and os.lstat(path).st_mode)
        assert turn == 0 or found[0] == found[1]
        assert not case.marker.exists()


@pytest.fixture(scope="session")
def inputs(tmp_path_factory) -> Path:
    """The undamaged inputs."""
    folder = tmp_path_factory.mktemp("inputs")
    former = Path.cwd()
    os.chdir(folder)
    try:
        worker.write_inputs(folder)
    finally:
        os.chdir(former)
    return folder


def planted(monkeypatch, tmp_path, read, damage, notes=lambda folder: ()) -> list[str]:
    """What the fuzzer says of a reader and an operator of our own."""
    (tmp_path / "controls").mkdir()
    (tmp_path / "controls" / "file").write_bytes(b"content")
    monkeypatch.setitem(KINDS, "planted", Kind(("file",), read, (), notes=notes))
    monkeypatch.setitem(OPERATORS, "own", Operator("own", damage, frozenset({"planted"}), frozenset()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)
    same = worker.digest(b"content")
    answer = worker.run_case(1, "planted", "own", 1, tmp_path / "controls", tmp_path / "case", same)
    assert (answer["outcome"] == "failed") == bool(answer["problems"])
    return answer["problems"]


def change(case: Case) -> None:
    case.data = b"other"


def refuse(message: str):
    def read(folder: Path) -> None:
        raise UserError(message.replace("PATH", str(folder / "file")))

    return read


class Attack:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def attack(case: Case) -> None:
    case.data = pickle.dumps(Attack(case.marker))


def test_planted_faults_of_readers_are_noticed(monkeypatch, tmp_path):
    cases = {
        "does not name the file": (refuse("line 3: the field 'text' is missing"), change),
        "names no cause": (refuse("PATH:3: damaged"), change),
        "KeyError": (lambda folder: {}["text"], change),
        "another result is read": (lambda folder: (folder / "file").read_bytes(), change),
        "refuses a file that was not damaged": (refuse("PATH:3: the field 'text' is missing"), lambda case: None),
        "was executed": (lambda folder: pickle.loads((folder / "file").read_bytes()), attack),
        "standard error": (lambda folder: os.write(2, b"a library speaks\n") and b"content", change),
    }
    for number, (problem, (read, damage)) in enumerate(cases.items()):
        (tmp_path / str(number)).mkdir()
        found = planted(monkeypatch, tmp_path / str(number), read, damage)
        assert any(problem in one for one in found), (problem, found)
    (tmp_path / "good").mkdir()
    assert planted(monkeypatch, tmp_path / "good", refuse("PATH:3: the field 'text' is missing; add it"), change) == []


def test_another_result_is_a_failure_unless_the_reader_tells_of_it(monkeypatch, tmp_path):
    def read(folder: Path) -> bytes:
        return (folder / "file").read_bytes()

    for number, (told, problems) in enumerate({(): 1, ("file: is doubtful",): 0}.items()):
        (tmp_path / str(number)).mkdir()
        found = planted(monkeypatch, tmp_path / str(number), read, change, notes=lambda folder, told=told: told)
        assert len(found) == problems


@pytest.mark.slow
def test_a_short_run(checkout, tmp_path):
    """The whole of it with processes of its own: no failure, no hang, exit status 0."""
    command = [sys.executable, "-m", "tests.stress.fuzz", "--seed", "4", "--cases", "20"]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "f.json")], cwd=checkout, capture_output=True, text=True, timeout=240
    )
    assert done.stdout.splitlines()[-1:] == ["cases 20, failures 0, hangs 0"], done.stdout[-3000:] + done.stderr[-2000:]
    assert done.returncode == 0
    cases = json.loads((tmp_path / "f.json").read_text())["cases"]
    assert len(cases) == 20 and len({case["operator"] for case in cases}) > 12
