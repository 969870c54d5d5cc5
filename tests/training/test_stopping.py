"""Several processes stop together: saved at one step after a signal to any; where one is lost, all end and say why."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hybrid_asr.models.bundle import read_torch
from tests.ranks import Ranks
from tests.tones import CHECKOUT, words

pytestmark = pytest.mark.slow

LONG = "trainer.epochs=60"
IN_STEP_3 = """
from hybrid_asr.common.errors import UserError
from hybrid_asr.training.module import SpeechModule
former = SpeechModule.training_step
def training_step(self, batch, batch_idx):
    if rank == 1 and self.step == 3:
        {act}
    return former(self, batch, batch_idx)
SpeechModule.training_step = training_step
"""
# A step may take nine tenths of that; the watch, which looks once a second, must see it before torch gives up.
SHORT = "from hybrid_asr.training import process_group\nprocess_group.COLLECTIVE_S = 12.5\n"
SLOW_PAGE = """
import time
import hybrid_asr.commands.training_fit as fit
page = fit.refresh
def refresh(*arguments, **options):
    time.sleep(14)
    return page(*arguments, **options)
fit.refresh = refresh
"""


def status(run: Path) -> dict:
    return json.loads((run / "status.json").read_text())


def in_step(ranks: Ranks) -> bool:
    return ranks.rows() >= 3


def in_validation(ranks: Ranks) -> bool:
    return ranks.rows() >= 7


def while_saving(ranks: Ranks) -> bool:
    return any((ranks.run / "checkpoints").glob(".*.tmp"))


def while_preparing(ranks: Ranks) -> bool:
    return (ranks.run / "train.lock").exists()


@pytest.mark.parametrize(
    ("number", "rank", "moment"),
    [(signal.SIGTERM, 1, in_step), (signal.SIGUSR1, 0, in_validation), (signal.SIGINT, 1, while_saving)],
)
def test_a_signal_to_any_process_stops_all_at_one_step(tones, tmp_path, number, rank, moment):
    run = tmp_path / "run"
    ranks = Ranks(tones, run, LONG, "trainer.save_minutes=1e-9")
    ranks.wait_for(lambda: moment(ranks))
    ranks.processes[rank].send_signal(number)
    assert ranks.end() == [0, 0], ranks.told()
    saved = read_torch(run / "checkpoints/last.ckpt")["step"]
    told = status(run)
    assert (told["state"], told["step"], told["saved_step"]) == ("stopped", saved, saved)
    assert ranks.told()[0].count(f"stopped after step {saved}, everything is saved") == 1
    assert ranks.told()[1] == "", "the first process speaks for all"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_while_data_are_prepared_ends_all(tones, tmp_path, rank):
    ranks = Ranks(tones, tmp_path / "run", LONG)
    ranks.wait_for(lambda: while_preparing(ranks))
    ranks.processes[rank].send_signal(signal.SIGTERM)
    assert ranks.end(60) == [0, 0], ranks.told()
    assert ranks.told()[0].count("terminated") == 1 and ranks.told()[1] == ""
    assert not (tmp_path / "run/status.json").exists() or status(tmp_path / "run")["state"] == "stopped"


@pytest.mark.parametrize("moment", [while_preparing, in_step, in_validation, while_saving])
def test_a_process_that_is_killed_ends_all_within_a_minute_and_is_named(tones, tmp_path, moment):
    run = tmp_path / "run"
    ranks = Ranks(tones, run, LONG, "trainer.save_minutes=1e-9")
    ranks.wait_for(lambda: moment(ranks))
    killed = time.monotonic()
    ranks.processes[1].kill()
    assert ranks.end(60) == [1, -9], ranks.told()
    assert time.monotonic() - killed < 60
    [told, _] = ranks.told()
    assert told.count("process 1 of 2, pid ") == 1 and "killed, perhaps for memory" in told and "Traceback" not in told
    if moment != while_preparing:
        assert status(run)["state"] == "killed" and "process 1 of 2, pid " in status(run)["message"]


def test_a_first_process_that_is_killed_is_named_by_the_next(tones, tmp_path):
    run = tmp_path / "run"
    ranks = Ranks(tones, run, LONG)
    ranks.wait_for(lambda: in_step(ranks))
    ranks.processes[0].kill()
    assert ranks.end(60) == [-9, 1], ranks.told()
    assert "process 0 of 2" in ranks.told()[1] and "begin again with" in ranks.told()[1]
    assert status(run)["state"] == "killed" and "process 0 of 2" in status(run)["message"]


@pytest.mark.parametrize(
    ("act", "statuses", "cause"),
    [
        ("raise UserError('x.wav: cannot be read')", [2, 2], "x.wav: cannot be read"),
        ("raise ZeroDivisionError('a bug')", [1, 1], "ZeroDivisionError: a bug"),
        ("import time; time.sleep(600)", [1, 1], "no step has ended for"),
    ],
)
def test_an_error_of_one_process_and_a_hang_end_all(tones, tmp_path, act, statuses, cause):
    run = tmp_path / "run"
    ranks = Ranks(tones, run, LONG, code=SHORT + IN_STEP_3.format(act=act))
    assert ranks.end(120) == statuses, ranks.told()
    [first, second] = ranks.told()
    assert first.count(cause) == 1 and "process 1" in first
    assert cause in status(run)["message"] and status(run)["state"] == "failed"
    assert ("Traceback" in second) == ("a bug" in act), second


def test_a_folder_that_vanishes_ends_all_with_the_status_of_a_users_mistake(tones, tmp_path):
    run = tmp_path / "run"
    ranks = Ranks(tones, run, LONG)
    ranks.wait_for(lambda: in_step(ranks))
    shutil.rmtree(run / "checkpoints")
    assert ranks.end(60) == [2, 2], ranks.told()
    assert "the folder has vanished" in ranks.told()[0] and ranks.told()[1] == ""


def test_a_worker_of_another_process_that_is_killed_is_told_and_started_again(tones, tmp_path):
    kill = """
        if not hasattr(os, "killed"):
            os.killed = True
            import multiprocessing
            [worker] = multiprocessing.active_children()
            worker.kill()"""
    code = IN_STEP_3.format(act=kill.strip())
    ranks = Ranks(tones, tmp_path / "run", "trainer.epochs=2", "data.workers=1", code=code)
    assert ranks.end() == [0, 0], ranks.told()
    assert "process 1: warning: a process that reads audio has died" in ranks.told()[1]
    assert status(tmp_path / "run")["state"] == "finished"


def test_long_work_of_the_first_process_lets_nobody_wait_into_the_timeout(tones, tmp_path):
    run = tmp_path / "run"
    ranks = Ranks(tones, run, "trainer.epochs=2", code=SHORT + SLOW_PAGE)
    assert ranks.end() == [0, 0], ranks.told()
    assert status(run)["state"] == "finished"
    assert "process 0" in ranks.told()[1] and "drawing the page" in ranks.told()[1]


def test_torchrun_does_not_restart_a_clean_stop(tones, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "3", "-m", "hybrid_asr.cli", *words(tones, run, LONG)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    metrics = run / "metrics.csv"
    while not metrics.is_file() or metrics.read_text().count("\n") < 4:
        time.sleep(0.02)
        assert process.poll() is None
    listed = subprocess.run(["ps", "--ppid", str(process.pid), "-o", "pid="], capture_output=True, text=True).stdout
    os.kill(int(listed.split()[-1]), signal.SIGTERM)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 0, told
    assert told.count("first epoch:") == 1, "it was not begun again"
    assert status(run)["state"] == "stopped"
