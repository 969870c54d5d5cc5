"""Signals and locks: whenever a training is told to end, it says what is saved; and nobody else works in its folder."""

import os
import re
import signal
import subprocess
import sys

import pytest
import torch

import hybrid_asr.commands.training_model
import hybrid_asr.commands.validation
import hybrid_asr.training.signals
from hybrid_asr.cli import main
from hybrid_asr.commands import training_fit
from hybrid_asr.models.bundle import read_torch
from hybrid_asr.run.folder import Run
from tests.tones import CHECKOUT, train, words

MODULES = (hybrid_asr.commands.training_model, hybrid_asr.commands.validation)
SETTINGS = ("trainer.epochs=3", "augment.speeds=[0.9,1.0,1.1]")


@pytest.fixture(scope="module")
def whole(tones, tmp_path_factory):
    """A training that nobody disturbs."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert train(tones, run, *SETTINGS) == 0
    return run


def assert_equal(run, whole):
    assert (run / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    one, other = (read_torch(place / "model.pt")["weights"] for place in (run, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)


def signalled(monkeypatch, name: str, times: int = 1) -> None:
    """Let the function `name` of the training begin with SIGTERM, the first time that it is called."""
    module = next(module for module in MODULES if hasattr(module, name))
    function, left = getattr(module, name), [times]

    def with_signal(*arguments, **options):
        while left[0]:
            left[0] -= 1
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*arguments, **options)

    monkeypatch.setattr(module, name, with_signal)


@pytest.mark.slow
def test_sigterm_while_validating_saves_and_goes_on(whole, tones, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        signalled(patch, "evaluate_set")
        assert train(tones, run, *SETTINGS) == 143
    told = capsys.readouterr().err
    step = re.search(r"stopped after step (\d+), everything is saved; go on with:\n  hybrid-asr train", told)
    assert step, told
    stopped = read_torch(run / "checkpoints/last.ckpt")
    assert stopped["step"] == int(step[1])
    status = Run(run).status()
    assert status is not None
    assert (status.state, status.step, status.saved_step) == ("stopped", int(step[1]), int(step[1]))
    assert f"stopped after step {step[1]}" in status.message
    assert main(["show", "run", str(run)]) == 0
    assert f"stopped at step {step[1]} of {status.total}" in capsys.readouterr().out
    assert train(tones, run, *SETTINGS) == 0
    assert_equal(run, whole)
    ended = read_torch(run / "checkpoints/last.ckpt")
    assert all(ended[name] > stopped[name] > 0 for name in ("elapsed_s", "processor_s")), "of both processes"
    status = Run(run).status()
    assert status is not None and status.state == "finished"


def test_sigterm_before_the_first_step_leaves_nothing(tones, tmp_path, monkeypatch, capsys):
    run = tmp_path / "new" / "run"
    signalled(monkeypatch, "label_counts")
    assert train(tones, run, *SETTINGS) == 143
    assert (
        "terminated (exit status 143); what was saved before stays, go on with:\n  hybrid-asr"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("owner", "name", "state"), [(Run, "write_config", None), (training_fit, "write_text", "stopped")]
)
def test_sigterm_while_the_folder_is_opened_leaves_a_run_or_nothing(owner, name, state, tones, tmp_path, monkeypatch):
    """What begins there next finds no folder of other people."""
    run = Run(tmp_path / "run")
    function = getattr(owner, name)

    def with_signal(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return function(*arguments)

    monkeypatch.setattr(owner, name, with_signal)
    assert train(tones, run.folder) == 143
    status = run.status()
    assert (status and status.state) == state
    run.refuse_unless_run_or_empty()


@pytest.mark.slow
def test_the_second_sigterm_stops_at_once_and_the_saved_state_stays(whole, tones, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(hybrid_asr.training.signals, "SAME_S", 0.0)
        signalled(patch, "evaluate_set", times=2)
        assert train(tones, run, *SETTINGS, "trainer.save_minutes=1e-9") == 143
    status = Run(run).status()
    assert status is not None and status.state == "stopped"
    assert not (run / "train.lock").exists()
    saved = read_torch(run / "checkpoints/last.ckpt")["step"]
    assert 0 < saved < status.total / 3, "before the validation that was cut"
    assert f"the last saved state is that of step {saved}" in status.message
    assert train(tones, run, *SETTINGS) == 0
    assert f"continuing {run} at step {saved} of" in capsys.readouterr().err
    assert_equal(run, whole)


def test_a_second_training_is_refused_also_a_fresh_one(whole, tones, capsys):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom hybrid_asr.common.lock import FolderLock\n"
        "FolderLock(Path(sys.argv[1])).take()\nprint('held', flush=True)\ntime.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(whole)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None and other.stdout.readline() == "held\n"
    changing = ("report.html", "train.lock")  # the page, which decoding refreshes, and the lock with its heartbeat
    files = [path for path in whole.rglob("*") if path.name not in changing]
    before = {path: path.stat().st_mtime_ns for path in files}
    try:
        for more in ([], ["--fresh"]):
            assert main([*words(tones, whole, *SETTINGS), *more]) == 2
            told = capsys.readouterr().err
            assert f"{whole}: a training runs here, process {other.pid} on " in told
            assert "--folder DIR" in told
        assert main(["decode", str(whole), "--decoders", "ctc_greedy"]) == 0, "decoding while training is allowed"
        assert {path: path.stat().st_mtime_ns for path in before if path != whole} == {
            path: time for path, time in before.items() if path != whole
        }
    finally:
        other.kill()
        other.wait()
    assert train(tones, whole, *SETTINGS) == 0
    assert f"was left by process {other.pid} on" in capsys.readouterr().err


def test_a_run_whose_process_is_dead_is_shown_as_killed(whole, tmp_path):
    run = Run(tmp_path)
    text = (whole / "status.json").read_text().replace('"finished"', '"running"')
    run.status_file.write_text(text)
    status = run.status()
    assert status is not None and status.state == "killed"
    assert status.elapsed_s is not None and status.updated and status.environment
    run.status_file.write_text("{")
    assert run.status() is None
