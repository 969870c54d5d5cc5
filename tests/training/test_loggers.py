"""TensorBoard and Weights & Biases get what `metrics.csv` gets; without their packages the extra is named."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from hybrid_asr.cli import main
from tests.tones import CHECKOUT, process, rows, train, words


class NotInstalled:
    """What Python finds where the packages are not installed: nothing."""

    packages = ("wandb", "tensorboard", "tensorboardX")

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] in cls.packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_tensorboard_gets_all_rows(tones, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    assert train(tones, run, "trainer.epochs=1", "presets.logger=tensorboard") == 0
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    for name in ("train.loss", "train.lr", "valid.ctc_greedy.wer"):
        written = events.Scalars(name)
        assert [event.value for event in written] == pytest.approx(rows(run, name), rel=1e-6)
    assert [event.step for event in events.Scalars("train.loss")] == list(range(1, len(rows(run, "train.loss")) + 1))


@pytest.mark.slow
def test_tensorboard_shows_no_step_twice_where_training_went_on(tones, tmp_path):
    """A second process may do steps again whose rows the first had written already."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = tmp_path / "run"
    settings = ("presets.logger=tensorboard", "trainer.epochs=3")
    assert train(tones, run, *settings) == 0
    for name in ("last.ckpt", "model.pt"):
        (
            run / ("" if name == "model.pt" else "checkpoints") / name
        ).unlink()  # as if killed: only the one before is left
    assert train(tones, run, *settings) == 0
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    steps = [event.step for event in events.Scalars("train.loss")]
    assert steps == sorted(set(steps)) == list(range(1, len(rows(run, "train.loss")) + 1))


@pytest.mark.slow
def test_wandb_writes_offline(tones, tmp_path):
    run = tmp_path / "run"
    settings = ("trainer.epochs=1", "trainer.attention_pictures=1", "presets.logger=wandb_offline")
    done = process(*words(tones, run, *settings))
    assert done.returncode == 0, done.stderr
    [log] = run.glob("wandb/offline-run-*/run-*.wandb")
    content = log.read_bytes()
    assert b"valid.ctc_greedy.wer" in content
    assert b"ctc_weight" in content, "the configuration travels along"
    assert "warning: no picture" not in done.stderr
    [picture] = log.parent.glob("files/media/images/attention/*.png")
    assert picture.name.startswith("leading_head")


@pytest.mark.slow
def test_wandb_goes_on_with_a_run_that_was_killed_before_it_saved_a_state(tones, tmp_path):
    run = tmp_path / "run"
    command = words(tones, run, "trainer.epochs=2", "presets.logger=wandb_offline")
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen([sys.executable, "-m", "hybrid_asr.cli", *command], env=environment)
    while not list(run.glob("wandb/offline-run-*/run-*.wandb")):
        time.sleep(0.02)
        assert started.poll() is None
    started.kill()
    started.wait(timeout=60)
    shutil.rmtree(run / "checkpoints")  # in case that it was quick
    done = process(*command)
    assert done.returncode == 0, done.stderr
    logs = list(run.glob("wandb/offline-run-*/run-*.wandb"))
    assert len(logs) == 2 and len({log.stem for log in logs}) == 1


def test_a_run_keeps_its_identity_without_a_state(tones, tmp_path):
    run = tmp_path / "run"
    assert train(tones, run, "trainer.epochs=1") == 0
    first = (run / "wandb.id").read_text()
    shutil.rmtree(run / "checkpoints")  # as of a training that was killed before it saved any
    assert train(tones, run, "trainer.epochs=1") == 0
    assert (run / "wandb.id").read_text() == first


def test_a_missing_package_is_named_with_its_extra(tones, tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] in NotInstalled.packages]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NotInstalled, *sys.meta_path])
    run = tmp_path / "run"
    for package in ("tensorboard", "wandb"):
        assert main(words(tones, run, f"presets.logger={package}")) == 2
        told = capsys.readouterr().err
        assert f"logger.kind: {package} is not installed; run pip install 'hybrid-asr[{package}]'" in told
        assert "Traceback" not in told
    assert not run.exists()
