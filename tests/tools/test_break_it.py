"""The table of planted faults fits the source: each changes one place, which still stands there, and names a test."""

import ast
import re
from pathlib import Path

import pytest

from tools.faults import FAULTS, Fault, parse


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_one_place_and_leaves_python(fault: Fault, checkout: Path):
    source = (checkout / fault.file).read_text(encoding="utf-8")
    assert source.count(fault.old) == 1
    broken = source.replace(fault.old, fault.new)
    assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(source)), "a fault of the code, not of a comment"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_names_tests_that_exist_and_are_quick(fault: Fault, checkout: Path):
    assert fault.tests
    for test in fault.tests:
        file, _, name = test.partition("::")
        assert re.fullmatch(r"tests/[\w/]*test_\w+\.py", file)
        tree = ast.parse((checkout / file).read_text(encoding="utf-8"))
        [found] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
        assert "slow" not in "".join(map(ast.unparse, found.decorator_list))


def test_names_are_unique_and_faults_are_many():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 22
    assert len({(fault.file, fault.old, fault.new) for fault in FAULTS}) == len(FAULTS)
    assert all(re.fullmatch(r"[a-z0-9-]+", fault.name) for fault in FAULTS)


def test_a_paragraph_keeps_indentation():
    fault = parse("a-name: some/file.py\n  tests/test_x.py::test_y\n- if a:\n-     b\n+ if not a:\n+     b")
    assert fault == Fault("a-name", "some/file.py", "if a:\n    b", "if not a:\n    b", ("tests/test_x.py::test_y",))
