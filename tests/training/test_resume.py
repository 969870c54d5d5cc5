"""A training that was interrupted and repeated equals one that was not, bit for bit."""

import json
import re
import shlex
import shutil

import pytest
import torch

from hybrid_asr.cli import main
from hybrid_asr.config.compose import compose
from hybrid_asr.run.config import RunConfig
from hybrid_asr.run.folder import Run
from hybrid_asr.run.more_epochs import refuse_other_length
from tests.tones import process, rows, train, words

# Everything that draws random numbers; rows of three steps, so that a saved state falls within one.
SETTINGS = (
    *("augment.speeds=[0.9,1.0,1.1]", "augment.join_share=0.4", "augment.join_max_s=2.0"),
    *("augment.spec.time_masks=2", "augment.spec.time_width=10", "augment.spec.time_share=0.4"),
    *("augment.spec.freq_masks=1", "augment.spec.freq_width=5", "augment.spec.from_epoch=1"),
    *("model.encoder.dropout=0.1", "model.decoder.dropout=0.1"),
    *("trainer.epochs=4", "trainer.log_every=3", "trainer.save_minutes=1e-9"),
)
# Inside of the process that trains: as soon as a row of a step from 10 on is there, a signal.
SIGNAL = """
import os, signal, threading, time
def watch():
    while True:
        time.sleep(0.001)
        try:
            steps = [line.split(",")[0] for line in open({metrics!r}).read().splitlines()[1:]]
        except OSError:
            continue
        if any(int(step) >= 10 for step in steps):
            return os.kill(os.getpid(), signal.{name})
threading.Thread(target=watch, daemon=True).start()
"""


@pytest.fixture(scope="module")
def whole(tones, tmp_path_factory):
    """A training that nobody interrupts."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    assert train(tones, run, *SETTINGS) == 0
    return run


def stop(tones, run, name, *more):
    """Train in a process that gets the signal `name`; the finished process."""
    return process(
        *words(tones, run, *SETTINGS, *more), code=SIGNAL.format(metrics=str(run / "metrics.csv"), name=name)
    )


def assert_equal_runs(run, whole):
    """The same metrics, byte for byte, the same weights and the same state of the optimizer."""
    for name in ("metrics.csv", "attention.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    states = [torch.load(place / "checkpoints/last.ckpt", weights_only=True) for place in (run, whole)]
    models = [torch.load(place / "model.pt", weights_only=True) for place in (run, whole)]
    for one, other in (
        (states[0]["state_dict"], states[1]["state_dict"]),
        (models[0]["weights"], models[1]["weights"]),
    ):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    one, other = (state["optimizer"]["state"] for state in states)
    assert all(torch.equal(one[place][name], other[place][name]) for place in other for name in other[place])
    kept = [sorted(file.name for file in (place / "checkpoints").iterdir()) for place in (run, whole)]
    assert kept[0] == kept[1]


def test_what_is_drawn_is_on(whole):
    """Else the next tests would say little."""
    masked = rows(whole, "train.time_masked")
    assert masked[:2] == [0, 0], "the first epoch has seven steps"
    assert all(share > 0 for share in masked[2:])
    losses = rows(whole, "train.loss")
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_nothing_had_been(whole, tones, tmp_path, capsys):
    run = tmp_path / "run"
    done = stop(tones, run, "SIGKILL")
    assert done.returncode == -9, done.stderr
    assert not (run / "model.pt").exists()
    for name in ("checkpoints/.last.ckpt.999999999.tmp", ".status.json.999999999.tmp"):
        (run / name).write_bytes(b"what a process was writing when it was killed")
    status = Run(run).status()
    assert status is not None and status.state == "killed"
    saved = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["step"]
    assert train(tones, run, *SETTINGS) == 0
    said = capsys.readouterr().err
    assert "was left by process" in said
    assert not list(run.rglob(".*.tmp"))
    told = re.search(rf"continuing {re.escape(str(run))} at step (\d+) of (\d+)", said)
    assert told
    assert int(told[1]) == saved
    assert 10 <= saved < int(told[2])
    assert_equal_runs(run, whole)


def test_ctrl_c_saves_and_says_how_to_go_on(whole, tones, tmp_path, capsys):
    """With a worker process, which must not die of it; without one the training goes on."""
    run = tmp_path / "run"
    done = stop(tones, run, "SIGINT", "data.workers=1")
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    told = re.search(r"stopped after step (\d+), everything is saved; go on with:\n  (.*)", done.stderr)
    assert told, done.stderr
    assert told[2].split()[:2] == ["hybrid-asr", "train"] and str(run) in told[2]
    assert train(tones, run, *SETTINGS) == 0
    assert f"at step {told[1]} of" in capsys.readouterr().err
    assert_equal_runs(run, whole)


def test_more_epochs_give_what_a_training_that_was_longer_from_the_start_gives(whole, tones, tmp_path, capsys):
    """With a decoding of the shorter one, which is stale then; and no way leads back."""
    run = tmp_path / "run"
    shorter = [setting.replace("epochs=4", "epochs=2") for setting in SETTINGS]
    assert train(tones, run, *shorter) == 0
    assert main(["decode", str(run), "--decoders", "ctc_greedy"]) == 0
    before = json.loads((run / "decode/test/ctc_greedy/report.json").read_text())
    capsys.readouterr()
    assert train(tones, run, *SETTINGS) == 0
    said = capsys.readouterr().err
    assert (
        "note: 4 epochs in place of 2: the training goes on\n" in said and f"continuing {run} at step 14 of 28" in said
    )
    assert main(["decode", str(run), "--decoders", "ctc_greedy"]) == 0
    assert json.loads((run / "decode/test/ctc_greedy/report.json").read_text())["signatures"] != before["signatures"]
    shutil.rmtree(run / "decode")
    assert_equal_runs(run, whole)
    status = Run(run).status()
    assert status is not None and (status.state, status.step, status.total) == ("finished", 28, 28)
    assert train(tones, run, *shorter) == 2
    assert "run: holds a training of 4 epochs, and 2 are wanted: a training only goes on; leave trainer.epochs=4" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
def test_a_killed_training_of_more_epochs_goes_on_too(whole, tones, tmp_path):
    """The configuration has the new number then, and the last state the former one."""
    run = tmp_path / "run"
    assert train(tones, run, *[setting.replace("epochs=4", "epochs=1") for setting in SETTINGS]) == 0
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("\n  epochs: 1\n", "\n  epochs: 4\n"))
    (run / "model.pt").unlink()
    assert train(tones, run, *SETTINGS) == 0
    assert_equal_runs(run, whole)


def test_a_stopped_training_says_how_it_goes_on_where_its_number_of_epochs_was_forgotten():
    cosine = compose("spoken/conformer_s", ["presets.optim=cosine"]).parse(RunConfig)
    stopped, finished = (refuse_other_length(cosine, 3, "run", "train", finished=done) for done in (False, True))
    remedy = "to go on with the training that was stopped, give trainer.epochs=3; or\n"
    assert stopped and finished and stopped.replace(remedy, "") == finished != stopped


def test_where_the_schedule_ends_with_the_last_epoch_the_command_that_begins_anew_is_named(tones, tmp_path, capsys):
    run = tmp_path / "run"
    cosine = ("presets.optim=cosine", "optim.warmup=2", "trainer.threads=1")
    assert train(tones, run, *cosine, "trainer.epochs=1") == 0
    capsys.readouterr()
    assert train(tones, run, *cosine, "trainer.epochs=2") == 2
    said = capsys.readouterr().err
    assert (
        "holds a training of 1 epochs, and 2 are wanted: the learning rate of optim.schedule=cosine reaches its end "
        "with the last epoch, so that a longer training is another one from its first step on\n"
    ) in said
    assert "give trainer.epochs=1" not in said, "it is finished"
    program, *command = shlex.split(said.split("\n")[-2])
    assert program == "hybrid-asr" and command[-3:] == [f"init.from={run}", "--folder", f"{run}-2"]
    assert main(command) == 0
    assert "starting from" in capsys.readouterr().err and (tmp_path / "run-2/model.pt").is_file()
    assert (run / "model.pt").is_file()


def test_a_finished_training_is_not_done_again(whole, tones):
    """Repeating the command only writes model.pt again."""
    before = (whole / "metrics.csv").read_bytes(), (whole / "checkpoints/last.ckpt").stat().st_mtime_ns
    assert train(tones, whole, *SETTINGS) == 0
    assert before == ((whole / "metrics.csv").read_bytes(), (whole / "checkpoints/last.ckpt").stat().st_mtime_ns)
