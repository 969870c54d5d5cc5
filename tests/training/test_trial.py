"""`trainer.try_steps`: all that belongs to a training, in a few steps, beside the run that it stands for."""

import shutil
from pathlib import Path

import pytest

from hybrid_asr.cli import main
from hybrid_asr.models.bundle import Bundle, read_torch
from hybrid_asr.run.folder import Run
from tests.tones import rows, train


def contents(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """All files below a folder, and when they were written."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_trial_does_all_that_belongs_to_a_training_beside_the_run(tones, trained, tmp_path, capsys):
    run, trial = tmp_path / "run", tmp_path / "run-try"
    shutil.copytree(trained, run)
    before = contents(run)
    assert train(tones, run, "trainer.epochs=12", "trainer.try_steps=2", "optim.lr=0.005") == 0
    assert contents(run) == before
    assert "trying 2 steps" in capsys.readouterr().err
    assert len(rows(trial, "train.loss")) == 2
    assert len(rows(trial, "valid.ctc_greedy.cer")) == 1, "an epoch ends with them"
    assert read_torch(trial / "checkpoints/last.ckpt")["step"] == 2
    assert Bundle.load(trial / "model.pt").model.encoder is not None
    assert Run(trial).page_file.is_file()
    status = Run(trial).status()
    assert status is not None and (status.state, status.step, status.total) == ("finished", 2, 2)


@pytest.mark.slow
def test_a_trial_is_made_anew_and_its_model_decodes(tones, tmp_path):
    run, trial = tmp_path / "run", tmp_path / "run-try"
    for steps in (3, 2):
        assert train(tones, run, f"trainer.try_steps={steps}") == 0
        assert len(rows(trial, "train.loss")) == steps
    assert not run.exists()
    assert main(["decode", str(trial), "--sets", "test", "--decoders", "ctc_greedy"]) == 0
    assert (trial / "decode/test/ctc_greedy/report.json").is_file()
