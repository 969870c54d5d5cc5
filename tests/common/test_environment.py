"""What a result was computed with."""

import os
import subprocess
import sys

import numpy as np
import torch

from hybrid_asr import __version__
from hybrid_asr.common.environment import commit, environment
from tests.conftest import CHECKOUT


def git(folder, *words: str) -> str:
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    done = subprocess.run(
        ["git", *words], cwd=folder, env=os.environ | names, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_versions_and_the_machine_are_told():
    found = environment()
    assert all(isinstance(value, str) and value for value in found.values())
    assert found["hybrid-asr"] == __version__
    assert found["torch"] == torch.__version__
    assert found["numpy"] == np.__version__
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found.get("commit", "") == commit(CHECKOUT), "of this package's checkout"
    assert {"lightning", "CPU", "cores", "memory", "host", "system", "OMP threads"} <= found.keys()


def test_the_commit_is_that_of_a_checkout_of_its_own_and_changes_are_told(tmp_path):
    assert commit(tmp_path) == ""
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit(tmp_path.resolve()) == head
    (tmp_path / "new.txt").write_text("a file that is not tracked changes no result\n")
    assert commit(tmp_path.resolve()) == head
    (tmp_path / "code.py").write_text("2\n")
    assert commit(tmp_path.resolve()) == f"{head} +changes"
    inside = tmp_path / "site-packages"
    inside.mkdir()
    assert commit(inside.resolve()) == ""
