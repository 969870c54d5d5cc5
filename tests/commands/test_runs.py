"""`hybrid-asr runs` tells of every folder that is a run what it is and where; what is damaged is named, not hidden."""

import json
import time
from pathlib import Path

import pytest

from hybrid_asr.cli import main
from hybrid_asr.run.listing import list_runs
from hybrid_asr.training.status import StatusFile

METRICS = "step,epoch,train.loss,valid.ctc_greedy.wer,valid.joint.wer,valid.joint.cer\n"


def write_run(folder: Path, state: str, *, step: int = 7, metrics: str = "", **more) -> Path:
    """A folder as a training leaves it."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 1\n")
    (folder / "metrics.csv").write_text(METRICS + metrics)
    status = {
        "state": state,
        "step": step,
        "saved_step": step - 2,
        "total": 100,
        "updated": "2026-01-02T03:04:05+00:00",
    }
    (folder / "status.json").write_text(json.dumps(status | more))
    return folder


@pytest.fixture
def runs(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = "1,1,2.0,,,\n7,1,,0.5,0.25,0.1\n14,2,,0.4,0.3,0.1\n15,3,1.0,,,\n16,3"  # the last line is torn
    place = {"environment": {"host": "n1", "SLURM job": "70_1"}, "audio_per_s": 123.4}
    write_run(tmp_path / "runs/c/ended", "finished", step=100, metrics=rows, **place)
    write_run(tmp_path / "runs/c/broken", "failed", message="a disk\nwas full")
    write_run(tmp_path / "runs/early", "stopped")
    write_run(tmp_path / "runs/late", "stopped", updated="2026-02-02T03:04:05+00:00")
    write_run(tmp_path / "runs/dead", "running")  # nobody holds its lock
    (write_run(tmp_path / "runs/torn", "stopped") / "status.json").write_text('{"state"')
    (write_run(tmp_path / "runs/text", "stopped") / "metrics.csv").write_text("nothing\n")
    (write_run(tmp_path / "runs/bare", "stopped") / "config.yaml").unlink()
    (tmp_path / "runs/c/ended/checkpoints").mkdir()
    return tmp_path / "runs"


def test_every_run_is_told_with_its_state_and_place(runs, capsys):
    assert main(["runs", "--json"]) == 0
    told = {each.pop("folder"): each for each in json.loads(capsys.readouterr().out)}
    assert list(told)[:5] == ["runs/late", "runs/early", "runs/dead", "runs/c/broken", "runs/c/ended"]
    assert {name: each["state"] for name, each in told.items()} == {
        **{"runs/late": "stopped", "runs/early": "stopped", "runs/dead": "killed", "runs/c/broken": "failed"},
        **{"runs/c/ended": "finished", "runs/torn": "damaged", "runs/text": "damaged", "runs/bare": "damaged"},
    }
    ended = told["runs/c/ended"]
    assert [ended[name] for name in ("epoch", "step", "saved_step", "total", "wer")] == [3, 100, 98, 100, 0.25]
    assert [ended[name] for name in ("speed", "host", "job")] == [123.4, "n1", "70_1"]


def test_the_table_names_what_is_damaged_and_why(runs, capsys):
    assert main(["runs"]) == 0
    told = capsys.readouterr().out
    for each in (r"100/100  25.00%  123 s/s  n1 (job 70_1)", "a disk", "config.yaml is missing"):
        assert each in told
    assert "status.json: is no JSON" in told and "metrics.csv: has no column 'epoch'" in told


def test_scripts_get_state_and_saved_step(runs, tmp_path, capsys):
    for folder, expected in {"early": "stopped 5", "dead": "killed 5", "torn": "damaged 0", "new": "none 0"}.items():
        assert main(["runs", "--state", str(runs / folder)]) == 0
        assert capsys.readouterr().out == f"{expected}\n"
    assert main(["runs", "--state"]) == 0  # a folder of runs is none
    assert capsys.readouterr().out == "none 0\n"


def test_a_folder_that_is_not_there_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["runs"]) == 2
    assert "runs: no such folder" in capsys.readouterr().err
    (tmp_path / "runs").mkdir()
    assert main(["runs"]) == 0
    assert capsys.readouterr().out == "no runs below runs\n"


def test_hundreds_of_runs_take_no_second(tmp_path):
    rows = "".join(f"{step},1,2.0,,,\n" for step in range(1, 200))
    for number in range(200):
        write_run(tmp_path / f"{number:03d}", "stopped", metrics=rows)
    started = time.process_time()
    assert len(list_runs([tmp_path])) == 200
    assert time.process_time() - started < 1


def test_the_status_keeps_speed_and_reads_one_without(tmp_path):
    status = StatusFile(tmp_path / "status.json", total=3)
    status.write("stopped")
    assert json.loads((tmp_path / "status.json").read_text())["audio_per_s"] is None
    status.pace = lambda: 81.26
    status.write("stopped")
    assert json.loads((tmp_path / "status.json").read_text())["audio_per_s"] == 81.3
