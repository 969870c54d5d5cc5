"""The planted faults fit the source: each changes one place, which is found, and names quick tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.faults.planted import Fault, FaultError, locate, package_of, read_faults

FAULTS = read_faults()


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def dumped(path: Path) -> str:
    return ast.dump(parsed(path))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_one_place_and_leaves_python(fault: Fault, checkout: Path):
    path = checkout / locate(fault, checkout)
    source = path.read_text(encoding="utf-8")
    broken = source.replace(fault.before, fault.after)
    assert ast.dump(ast.parse(broken)) != dumped(path), "a fault of the code, not of a comment"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_names_tests_that_exist_and_are_quick(fault: Fault, checkout: Path):
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        assert re.fullmatch(r"tests/[\w/]*test_\w+\.py", file)
        definitions = [node for node in parsed(checkout / file).body if isinstance(node, ast.FunctionDef)]
        [function] = [node for node in definitions if node.name == name]
        assert "slow" not in "".join(map(ast.unparse, function.decorator_list))


def test_names_are_unique_and_faults_are_many():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 180
    assert len({(fault.before, fault.after, fault.package) for fault in FAULTS}) == len(FAULTS)
    assert all(re.fullmatch(r"[a-z0-9-]+", fault.name) for fault in FAULTS)


def test_a_fault_is_found_by_what_it_replaces(tmp_path: Path):
    (tmp_path / "hybrid_asr" / "nn").mkdir(parents=True)
    (tmp_path / "hybrid_asr" / "nn" / "moved.py").write_text("if a:\n    b\nc\nc\n")
    (tmp_path / "hybrid_asr" / "losses.py").write_text("if a:\n    b\nd\n")

    def found(package: str, before: str) -> str:
        return str(locate(Fault("name", package, before, "", ()), tmp_path))

    assert found("nn", "if a:\n    b") == "hybrid_asr/nn/moved.py"
    assert found("losses", "if a:\n    b") == "hybrid_asr/losses.py"
    assert found("nn", "d") == "hybrid_asr/losses.py", "where the package has none, the library is searched"
    with pytest.raises(FaultError, match=r"moved.py \(2 times\); make it longer"):
        found("losses", "c\n")
    with pytest.raises(FaultError, match=r"hybrid_asr/losses.py .*, hybrid_asr/nn/moved.py .*make it longer"):
        found("training", "if a:")
    with pytest.raises(FaultError, match="stands nowhere"):
        found("nn", "e")


@pytest.mark.parametrize(
    ("file", "package"),
    [
        ("hybrid_asr/nn/moved.py", "nn"),
        ("hybrid_asr/losses.py", "losses"),
        ("recipes/an4/prepare.py", "recipes"),
        ("tools/peers/x.py", "tools"),
        ("tests/stress/fuzzing/x.py", "stress"),
        ("tests/nn/test_linear.py", None),
        ("README.md", None),
    ],
)
def test_a_file_belongs_to_a_package(file: str, package: str | None):
    assert package_of(file) == package


def test_an_entry_keeps_indentation(tmp_path: Path):
    head = "a-name:\n  tests:\n    - tests/test_x.py::test_y\n"
    texts = "  before: |2-\n      if a:\n          b\n  after: |2-\n      c\n"
    (tmp_path / "nn.yaml").write_text(head + texts)
    assert read_faults(tmp_path) == [Fault("a-name", "nn", "  if a:\n      b", "  c", ("tests/test_x.py::test_y",))]
