"""A study from its file to its verdicts: interrupted, continued, enlarged; each training once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hybrid_asr.common.errors import UserError
from hybrid_asr.study import load
from tests.tones import CHECKOUT, train

pytestmark = pytest.mark.slow
STUDY = """
recipe: {root}/tiny.yaml
metric: [test.joint.wer, test.ctc_greedy.wer]
baseline: joint
seeds: [1, 2, 3]
settings: {{data.root: {root}, trainer.epochs: 6, trainer.average_count: 1}}
variants:
  joint: {{}}
  beam: {{decode.beam: 2}}
  ctc: {{loss.ctc_weight: 1.0}}
"""


def start(file: Path, to: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hybrid_asr.cli", "study", str(file), "--to", str(to), "--jobs", "2"]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(file: Path, to: Path) -> tuple[int, str, str]:
    process = start(file, to)
    out, told = process.communicate(timeout=300)
    return process.returncode, out, told


def test_a_study_that_is_stopped_goes_on_and_trains_only_what_is_new(tones, tmp_path):
    file, to = tmp_path / "small.yaml", tmp_path / "out"
    file.write_text(STUDY.format(root=tones))
    process = start(file, to)
    while len(list(to.glob("trainings/*/metrics.csv"))) < 2:
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=120)[1]
    assert process.returncode != 0 and "Traceback" not in told
    states = [json.loads(path.read_text())["state"] for path in to.glob("trainings/*/status.json")]
    assert states and set(states) <= {"stopped", "finished"}, "each has saved what it has"

    code, out, told = run(file, to)
    assert code == 0, told
    trained = {path.parent: path.stat().st_mtime_ns for path in to.glob("trainings/*/model.pt")}
    assert len(trained) == 6 and "beam: 3 trainings" in out
    content = json.loads((to / "study.json").read_text())
    assert [verdict["variant"] for verdict in content["verdicts"]] == ["beam", "ctc"]
    assert len(content["outputs"]) == 9 and content["unit"] == "speaker"
    assert (to / "study.md").read_text() in out and "## Verdicts" in out
    assert len((to / "runs.csv").read_text().splitlines()) == 10

    file.write_text(file.read_text() + "  slow: {optim.lr: 0.003}\n")
    code, out, told = run(file, to)
    assert code == 0, told
    assert {path.parent for path in to.glob("trainings/*/model.pt")} > trained.keys()
    assert all((folder / "model.pt").stat().st_mtime_ns == when for folder, when in trained.items())
    table = load(to / "study.json")
    assert len(table) == 12 * 8 and {"joint", "beam", "ctc", "slow"} == set(table["variant"])

    alone = tmp_path / "alone"
    assert train(tones, alone, "trainer.epochs=6", "trainer.average_count=1", "seed=2") == 0
    [same] = [path for path in to.glob("trainings/joint-2-*") if path.is_dir()]
    assert (alone / "metrics.csv").read_bytes() == (same / "metrics.csv").read_bytes(), "the same seed, the same model"


def test_a_training_that_fails_is_told_and_holds_up_no_other(tones, tmp_path):
    file, to = tmp_path / "small.yaml", tmp_path / "out"
    text = STUDY.format(root=tones).replace("[1, 2, 3]", "[1]").replace("  beam: {decode.beam: 2}\n", "")
    file.write_text(text + "  wild: {optim.lr: 1.0e+30, optim.warmup: 1, trainer.nonfinite: stop}\n")
    code, out, told = run(file, to)
    assert code == 1 and "wild-1: failed" in out and "ctc: no" not in out
    assert "with one seed a verdict is about these trainings" in told
    with pytest.raises(UserError, match=r"no study\.json of this version"):
        (to / "study.json").write_text('{"form": 99}')
        load(to / "study.json")
