"""A run that has been decoded, with its page."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def decoded(trained, tmp_path_factory) -> Path:
    """A copy of the trained run, decoded by three decoders; nobody writes to it."""
    from hybrid_asr.commands.decode import decode_run

    run = tmp_path_factory.mktemp("pages") / "decoded"
    shutil.copytree(trained, run)
    decode_run(run, sets=["test", "valid"], decoders=["ctc_greedy", "attention", "joint"])
    return run


@pytest.fixture
def copy(decoded, tmp_path) -> Path:
    """A copy of the decoded run that a test may change."""
    return Path(shutil.copytree(decoded, tmp_path / "copy"))
