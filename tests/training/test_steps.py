"""A training of so many steps: that of as many epochs where it ends with one, and whole where it ends inside one."""

import csv
import dataclasses

import pytest
import torch

from hybrid_asr.config.compose import amend, compose
from hybrid_asr.config.schema import ConfigError
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.config import RunConfig, signature
from hybrid_asr.run.folder import Run
from hybrid_asr.training.checkpoint import Checkpoints, KeptEpoch
from tests.tones import process, train, words

COSINE = ("presets.optim=cosine", "optim.lr=0.01", "optim.warmup=3", "trainer.valid_decoder=ctc_greedy")
KILL = """
import os, signal, threading, time
def watch():
    while True:
        time.sleep(0.01)
        try:
            steps = [line.split(",")[0] for line in open({metrics!r}).read().splitlines()[1:]]
        except FileNotFoundError:
            continue
        if any(int(step) >= 8 for step in steps):
            os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
"""


def weights(run):
    return torch.load(run / "model.pt", weights_only=True)["weights"]


def validated(run):
    with (run / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if row.get("valid.ctc_greedy.wer")]


@pytest.fixture(scope="module")
def ten(tones, tmp_path_factory):
    """Ten steps, of which an epoch has seven."""
    run = tmp_path_factory.mktemp("steps") / "ten"
    assert train(tones, run, *COSINE, "trainer.steps=10") == 0
    return run


@pytest.mark.slow
def test_as_many_steps_as_epochs_have_give_the_very_weights(tones, tmp_path):
    for name, length in (("epochs", "trainer.epochs=1"), ("steps", "trainer.steps=7")):
        assert train(tones, tmp_path / name, *COSINE, length) == 0
    one, other = weights(tmp_path / "epochs"), weights(tmp_path / "steps")
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (tmp_path / "epochs/metrics.csv").read_bytes() == (tmp_path / "steps/metrics.csv").read_bytes()


def test_a_training_that_ends_inside_an_epoch_is_whole(ten):
    status = Run(ten).status()
    assert status is not None and (status.state, status.step, status.total) == ("finished", 10, 10)
    assert validated(ten) == [7, 10]
    last = torch.load(ten / "checkpoints/last.ckpt", weights_only=True)
    assert last["step"] == 10
    assert [(entry["epoch"], entry["step"]) for entry in last["history"]] == [(1, 7), (2, 10)]
    ends = [torch.load(ten / f"checkpoints/epoch-{n:03d}.ckpt", weights_only=True)["state_dict"] for n in (1, 2)]
    mean = {name: (ends[0][name].double() + ends[1][name].double()).div(2).float() for name in ends[0]}
    name = next(name for name, value in mean.items() if value.ndim > 1)
    assert torch.equal(weights(ten)[name], mean[name])
    with (ten / "metrics.csv").open(newline="") as file:
        rates = {int(row["step"]): float(row["train.lr"]) for row in csv.DictReader(file) if row["train.lr"]}
    assert rates[10] == 0, "cosine has ended"
    assert rates[3] == pytest.approx(0.01)


def test_more_steps_are_refused_where_the_schedule_ends_with_the_last(ten, tones, capsys):
    assert train(tones, ten, *COSINE, "trainer.steps=12") == 2
    assert "holds a training of 10 steps, and 12 are wanted: the learning rate" in capsys.readouterr().err
    assert train(tones, ten, *COSINE, "trainer.steps=9") == 2
    assert "a training only goes on; leave trainer.steps=10" in capsys.readouterr().err
    assert train(tones, ten, *COSINE, "trainer.epochs=2") == 2
    assert "trainer.steps: 10 there" in capsys.readouterr().err


def test_the_length_that_is_written_later_counts_and_one_source_of_both_is_refused(tones):
    recipe = tones / "tiny.yaml"
    assert compose(recipe).parse(RunConfig).trainer.length == ("epochs", 4)
    cfg = compose(recipe, ["trainer.steps=9"]).parse(RunConfig)
    assert cfg.trainer.length == ("steps", 9)
    assert (cfg.trainer.total_steps(7), compose(recipe).parse(RunConfig).trainer.total_steps(7)) == (9, 28)
    with pytest.raises(ConfigError, match=r"trainer.epochs and trainer.steps: give one of them, not both \(command"):
        compose(recipe, ["trainer.steps=9", "trainer.epochs=2"])
    with pytest.raises(ConfigError, match=r"how long to train is not given; set trainer\.epochs or trainer.steps"):
        compose(recipe, ["trainer.epochs=null"]).parse(RunConfig)
    kept = {"trainer": {"epochs": 4, "steps": None}}
    assert amend(kept, ["trainer.steps=9"], source="run").tree == {"trainer": {"steps": 9}}


def test_a_run_from_before_there_were_steps_is_the_one_that_it_was(tones):
    cfg = compose(tones / "tiny.yaml").parse(RunConfig)
    other = dataclasses.replace(cfg, trainer=dataclasses.replace(cfg.trainer, epochs=None, steps=28))
    assert signature(cfg) != signature(other)


def test_the_end_of_an_epoch_takes_the_place_of_what_was_kept_inside_it(trained, tmp_path):
    bundle, checkpoints = Bundle.load(trained / "model.pt"), Checkpoints(tmp_path, "last", 2)
    for kept in (KeptEpoch(1, 7, 0.5), KeptEpoch(2, 10, 0.2), KeptEpoch(2, 14, 0.6)):
        checkpoints.save_epoch(bundle.describe(), bundle.weights(), kept)
    assert [entry.step for entry in checkpoints.chosen()] == [7, 14]
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["step"] == 7


@pytest.mark.slow
def test_a_killed_training_that_ends_inside_an_epoch_goes_on_bit_for_bit(ten, tones, tmp_path):
    run = tmp_path / "run"
    settings = (*COSINE, "trainer.steps=10", "trainer.save_steps=2")
    killed = process(*words(tones, run, *settings), code=KILL.format(metrics=str(run / "metrics.csv")))
    assert killed.returncode == -9
    assert train(tones, run, *settings) == 0
    one, other = weights(run), weights(ten)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert (run / "metrics.csv").read_bytes() == (ten / "metrics.csv").read_bytes()


@pytest.mark.slow
def test_more_steps_give_what_a_training_that_was_longer_from_the_start_gives(tones, tmp_path, capsys):
    settings = ("trainer.valid_decoder=ctc_greedy", "optim.warmup=3")
    for name, steps in (("run", 10), ("run", 16), ("whole", 16)):
        assert train(tones, tmp_path / name, *settings, f"trainer.steps={steps}") == 0
    assert "note: 16 steps in place of 10: the training goes on" in capsys.readouterr().err
    one, other = weights(tmp_path / "run"), weights(tmp_path / "whole")
    assert all(torch.equal(one[name], other[name]) for name in other)
