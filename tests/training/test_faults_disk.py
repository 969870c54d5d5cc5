"""A full disk, a quota, a folder that vanishes, a damaged state: one message, nothing good lost, and a way on."""

import dataclasses
import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
import torch

from hybrid_asr.models.bundle import read_torch
from hybrid_asr.run.folder import Run
from hybrid_asr.training.checkpoint import Checkpoints
from tests.tones import process, train, words

SETTINGS = ("trainer.epochs=3", "trainer.save_minutes=1e-9", "augment.speeds=[0.9,1.0,1.1]")


@pytest.fixture(scope="module")
def whole(tones, tmp_path_factory):
    """A training that nothing disturbs."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert train(tones, run, *SETTINGS) == 0
    return run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1.3 MB: enough for one state and the next, not for the one before as well."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", place], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"needs the right to mount a file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def assert_equal(run, whole):
    assert (run / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    one, other = (read_torch(place / "model.pt")["weights"] for place in (run, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)


def no_traces(run):
    """No temporary file, no lock."""
    return not [path.name for path in run.glob("**/.*.tmp")] and not (run / "train.lock").exists()


def test_a_full_disk_stops_training_with_the_last_good_state(whole, tones, small_disk, capsys):
    run = small_disk / "run"
    assert train(tones, run, *SETTINGS) == 2
    told = capsys.readouterr().err.partition("hybrid-asr train: ")[2]
    assert re.match(rf"{re.escape(str(run))}/\S+: No space left on device\n", told), told
    step = re.search(r"the last saved state is that of step (\d+) in (\S+); once that is fixed, continue with:", told)
    assert step, told
    assert read_torch(run / "checkpoints/last.ckpt")["step"] == int(step[1]) > 0
    assert told.strip().splitlines()[-1].split()[:2] == ["hybrid-asr", "train"]
    assert no_traces(run)
    subprocess.run(["mount", "-o", "remount,size=20m", small_disk], check=True)
    assert train(tones, run, *SETTINGS) == 0
    assert f"continuing {run} at step {step[1]} of" in capsys.readouterr().err
    assert_equal(run, whole)


@pytest.mark.slow
def test_a_quota_stops_training_before_anything_is_saved(whole, tones, tmp_path):
    """The system refuses files of more than 100 kB: the very first state cannot be written."""
    run = tmp_path / "run"
    code = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    done = process(*words(tones, run, *SETTINGS), code=code)
    assert done.returncode == 2, done.stderr
    assert f"hybrid-asr train: {run}/checkpoints/last.ckpt: File too large\nno state is saved in" in done.stderr
    assert "begin again with:\n  hybrid-asr train" in done.stderr
    assert "Traceback" not in done.stderr
    status = Run(run).status()
    assert status is not None and status.state == "failed" and "File too large" in status.message
    assert no_traces(run)
    assert train(tones, run, *SETTINGS) == 0
    assert_equal(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_metrics_that_cannot_be_written_stop_training_too(whole, tones, tmp_path, logger):
    """States are saved once an epoch only: what grows over the quota is a log."""
    run = tmp_path / "run"
    size = 1_200 if logger == "csv" else 3_000
    grow = f"""
import resource, threading, time
def watch():
    while not __import__("pathlib").Path({str(run / "metrics.csv")!r}).is_file():
        time.sleep(0.001)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
threading.Thread(target=watch, daemon=True).start()
"""
    rare = ("trainer.save_minutes=60", f"presets.logger={logger}", "trainer.valid_every=3")
    done = process(*words(tones, run, *SETTINGS, *rare), code=grow)
    assert done.returncode == 2, done.stderr
    assert re.search(rf"hybrid-asr train: (a file in )?{re.escape(str(run))}\S*: File too large", done.stderr), (
        done.stderr
    )
    assert "Traceback" not in done.stderr
    assert train(tones, run, *SETTINGS) == 0
    assert_equal(run, whole)


def vanish(path: Path, after: Path, lines: int) -> threading.Thread:
    """Remove `path` as soon as the file `after` has so many lines."""

    def watch() -> None:
        while not after.is_file() or len(after.read_text().splitlines()) < lines:
            time.sleep(0.001)
        away = path.with_name("away")
        os.replace(path, away)  # at once
        shutil.rmtree(away)

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def test_a_vanished_checkpoint_folder_stops_training_and_the_state_is_saved_anew(tones, tmp_path, capsys):
    run = tmp_path / "run"
    thread = vanish(run / "checkpoints", run / "metrics.csv", 6)
    assert train(tones, run, *SETTINGS) == 2
    thread.join()
    told = capsys.readouterr().err.partition("hybrid-asr train: ")[2]
    assert re.match(rf"{re.escape(str(run))}/\S+: (the folder has vanished|No such file or directory)\n", told), told
    step = re.search(r"the last saved state is that of step (\d+)", told)
    assert step, told
    assert read_torch(run / "checkpoints/last.ckpt")["step"] == int(step[1]) >= 5
    assert train(tones, run, *SETTINGS) == 0
    assert f"at step {step[1]} of" in capsys.readouterr().err


def test_a_vanished_run_is_not_made_anew(tones, tmp_path, capsys):
    """It may be a disk that is no longer there."""
    run = tmp_path / "run"
    thread = vanish(run, run / "metrics.csv", 6)
    assert train(tones, run, *SETTINGS) == 2
    thread.join()
    told = capsys.readouterr().err.partition("hybrid-asr train: ")[2]
    assert re.match(rf"{re.escape(str(run))}/\S+: (the folder has vanished|No such file or directory)\n", told), told
    assert "no state is saved in" in told
    assert not run.exists()


def test_a_damaged_state_is_found_and_the_one_before_goes_on(whole, tones, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "model.pt").unlink()
    last = run / "checkpoints/last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1  # one bit of a tensor
    last.write_bytes(content)
    before = read_torch(run / "checkpoints/previous.ckpt")["step"]
    assert train(tones, run, *SETTINGS) == 0
    told = capsys.readouterr().err
    assert re.search(
        rf"warning: {re.escape(str(last))}: damaged.* does not match its checksum\); "
        rf"going on from previous\.ckpt, step {before}\n",
        told,
    ), told
    assert_equal(run, whole)


def test_a_damaged_state_never_becomes_the_one_before_the_next(whole, tmp_path):
    """Else a kill between the two renames of the next saving would leave nothing."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(whole / "checkpoints", folder)
    (folder / "last.ckpt").write_bytes(b"damaged")
    checkpoints = Checkpoints(folder, "last", 2)
    state = checkpoints.load_last()
    assert state is not None
    checkpoints.save_last(dataclasses.replace(state, step=1000))
    assert read_torch(folder / "previous.ckpt")["step"] == state.step
    assert read_torch(folder / "last.ckpt")["step"] == 1000


def test_at_every_moment_of_saving_there_is_a_whole_state(whole, tmp_path, monkeypatch):
    """Whatever is renamed or removed, in whichever order: before and after, a state can be read."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(whole / "checkpoints", folder)
    checkpoints = Checkpoints(folder, "last", 2)
    state = checkpoints.load_last()
    assert state is not None
    steps: list[int] = []

    def watched(act):
        """`act`, and a look at what lies there just before and just after it."""

        def acting(*arguments, **options):
            for do in (lambda: None, lambda: act(*arguments, **options)):
                do()
                found = Checkpoints(folder, "last", 2).load_last()
                assert found is not None, "killed here, the training would be lost"
                steps.append(found.step)

        return acting

    for name in ("replace", "rename", "unlink", "remove"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    checkpoints.save_last(dataclasses.replace(state, step=1000))
    assert steps[0] == state.step
    assert steps[-1] == 1000
    assert len(steps) >= 4
