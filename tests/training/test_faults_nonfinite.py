"""A loss or gradient that is not finite: nothing of it is applied, it is counted, written down, and can be replayed."""

import json
import math
import os
import signal
import subprocess
import sys

import pytest
import torch

from hybrid_asr.cli import main
from hybrid_asr.commands.show_batch import replay
from hybrid_asr.models.bundle import Bundle, read_torch
from hybrid_asr.run.folder import Run
from hybrid_asr.training.divergence import Divergence
from hybrid_asr.training.module import SpeechModule
from tests.tones import CHECKOUT, rows, train, words

DRAWN = (
    *("augment.speeds=[0.9,1.0,1.1]", "augment.join_share=0.4", "augment.join_max_s=2.0"),
    *("augment.spec.time_masks=2", "augment.spec.freq_masks=1", "model.encoder.dropout=0.1"),
)
BAD = 5  # the update, from 1, that is spoilt


def spoil(monkeypatch, at: int = BAD, then=lambda: None) -> None:
    """Let the losses of one update overflow, as a float does in a large model."""
    losses = SpeechModule.losses

    def spoilt(self, batch, *, step, part, rank):
        found, masked = losses(self, batch, step=step, part=part, rank=rank)
        if step == at - 1:
            found = found._replace(total=found.total * 1e30 * 1e30)
            then()
        return found, masked

    monkeypatch.setattr(SpeechModule, "losses", spoilt)


@pytest.fixture(scope="module")
def blown(tones, tmp_path_factory):
    """A training with a learning rate that no model survives."""
    run = tmp_path_factory.mktemp("runs") / "blown"
    assert train(tones, run, "optim.lr=1e6", "trainer.nonfinite_limit=4", *DRAWN) == 2
    return run


def test_an_update_that_is_not_finite_changes_nothing(trained):
    """Neither weights nor the optimizer's state, its count of steps included."""
    from hybrid_asr.audio.augment import SpecAugment, SpecAugmentConfig
    from hybrid_asr.losses import LossConfig
    from hybrid_asr.training.optim import OptimConfig

    bundle = Bundle.load(trained / "model.pt")
    optim = OptimConfig(schedule="constant", lr=0.1, warmup=0)
    mask = SpecAugment(SpecAugmentConfig())
    module = SpeechModule(bundle, loss=LossConfig(ctc_weight=0.5), optim=optim, mask=mask, mask_from=0, seed=1)
    optimizer = module.configure_optimizers()

    def update(value: float) -> list[torch.Tensor]:
        for weight in bundle.model.parameters():
            weight.grad = torch.full_like(weight, 0.1)
        next(bundle.model.parameters()).grad.flatten()[0] = value
        module._add(loss=torch.tensor(value))
        module.configure_gradient_clipping(optimizer)
        optimizer.step()
        state = optimizer.state_dict()["state"].values()
        return [
            *map(torch.clone, bundle.weights().values()),
            *(one.clone() for entry in state for one in entry.values()),
        ]

    first = update(1.0)
    assert module.take_sums()[0]["skipped"] == 0
    for value in (math.nan, math.inf, -math.inf):
        again = update(value)
        assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
        sums = module.take_sums()[0]
        assert sums["skipped"] == 1
        assert all(torch.isfinite(value) for value in sums.values()), "metrics stay numbers"
    after = update(1.0)
    assert not any(torch.equal(one, other) for one, other in zip(first, after, strict=True) if one.numel() > 1)
    assert module.take_sums()[0]["skipped"] == 0


def test_a_loss_that_is_not_finite_spoils_the_gradient(tones, tmp_path, monkeypatch):
    """Its own gradient may be finite, as that of an overflow which a maximum hides; all devices must learn of it."""
    losses = SpeechModule.losses

    def hidden(self, batch, *, step, part, rank):
        found, masked = losses(self, batch, step=step, part=part, rank=rank)
        if step == BAD - 1:
            found = found._replace(total=found.total + torch.inf)
        return found, masked

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(SpeechModule, "losses", hidden)
        assert train(tones, run, "trainer.epochs=1") == 0
    assert sum(rows(run, "train.skipped")) == 1
    assert all(math.isfinite(loss) for loss in rows(run, "train.loss"))


def test_one_bad_update_is_skipped_and_counted_and_resumed_over(tones, tmp_path, monkeypatch, capsys):
    settings = ("trainer.epochs=2", "trainer.log_every=3", "trainer.save_minutes=1e-9", *DRAWN)
    whole, run = tmp_path / "whole", tmp_path / "run"
    with monkeypatch.context() as patch:
        spoil(patch)
        assert train(tones, whole, *settings) == 0
    told = capsys.readouterr().err
    assert f"step {BAD}: the loss or its gradient is not finite, the update is left out" in told
    assert "1 updates were left out" in told
    assert rows(whole, "train.skipped")[:3] == [0, 1, 0]
    assert all(math.isfinite(value) for name in ("train.loss", "train.gradient_norm") for value in rows(whole, name))
    [line] = (whole / "nonfinite.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert (entry["step"], entry["part"], entry["rank"], entry["weights_step"]) == (BAD, 0, 0, BAD)
    assert len(entry["ids"]) == len(entry["speeds"]) == len(entry["loss"]) > 1
    assert set(entry["loss"]) == {"inf"}
    with monkeypatch.context() as patch:  # stopped right after the bad update, and gone on
        spoil(patch, then=lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train(tones, run, *settings) == 143
    assert train(tones, run, *settings) == 0
    assert (run / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    one, other = (read_torch(place / "model.pt")["weights"] for place in (run, whole))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert json.loads((run / "nonfinite.jsonl").read_text()) == entry


def test_the_policy_stop_stops_at_the_first(tones, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        spoil(patch)
        assert train(tones, run, "trainer.epochs=2", "trainer.nonfinite=stop") == 2
    told = capsys.readouterr().err
    assert f"the loss or the gradient of the update of step {BAD} was not finite; nothing of it was applied" in told
    assert f"hybrid-asr show batch {run} {BAD}" in told
    assert f"the last saved state is that of step {BAD} in" in told
    assert train(tones, run, "trainer.epochs=2", "trainer.nonfinite=stop") == 0, "it goes on behind that batch"


def test_a_blown_up_training_stops_with_finite_weights_and_a_replay(blown, capsys):
    state = read_torch(blown / "checkpoints/last.ckpt")
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values())
    entries = [json.loads(line) for line in (blown / "nonfinite.jsonl").read_text().splitlines()]
    assert len(entries) == 4
    assert len(list((blown / "checkpoints").glob("nonfinite-*.ckpt"))) == 1, (
        "the weights stay the same in a row of them"
    )
    assert sum(rows(blown, "train.skipped")) == 4
    status = Run(blown).status()
    assert status is not None and status.state == "failed" and "4 updates in a row" in status.message
    capsys.readouterr()
    for entry in entries:
        assert main(["show", "batch", str(blown), str(entry["step"])]) == 0
        told = capsys.readouterr().out
        assert all(name in told for name in entry["ids"])
        assert "gradient not finite in" in told
        assert "the losses are those that training had" in told


@pytest.fixture(scope="module")
def sound(tones, tmp_path_factory):
    """Two epochs in which all that can be drawn is drawn, in several parts."""
    run = tmp_path_factory.mktemp("runs") / "sound"
    assert train(tones, run, "trainer.epochs=2", "data.device_seconds=3.0", *DRAWN) == 0
    return run


def test_any_step_can_be_replayed_exactly(sound):
    """The first step of epoch 2 began with the weights that epoch 1 ended with."""
    steps = len(rows(sound, "train.loss")) // 2
    found = replay(Run(sound), steps + 1, str(sound / "checkpoints/epoch-001.ckpt"))
    assert found.loss == pytest.approx(rows(sound, "train.loss")[steps], rel=1e-6)
    assert found.gradient_norm == pytest.approx(rows(sound, "train.gradient_norm")[steps], rel=1e-5)
    assert len({row.part for row in found.rows}) > 2
    assert not found.spoiled
    assert all(row.gradient > 0 and math.isfinite(row.loss) for row in found.rows)


def test_what_is_odd_about_an_utterance_is_told(sound, tones, capsys):
    assert main(["show", "batch", str(sound), "99999"]) == 2
    assert "has the steps 1 to" in capsys.readouterr().err
    assert main(["show", "batch", str(sound)]) == 2
    assert "show batch takes one step" in capsys.readouterr().err
    assert main(["show", "batch", str(sound), "1", "--checkpoint", "best"]) == 0
    told = capsys.readouterr().out
    assert "a filler, which does not count" in told or told.count("train-") > 1


def test_divergence_is_told_once_and_noise_is_not():
    noise = torch.Generator().manual_seed(3)
    falling = [6 * math.exp(-step / 40) + 0.4 for step in range(200)]
    rough = [loss * (1 + 0.5 * float(torch.rand((), generator=noise))) for loss in falling]
    watch = Divergence(2.0, 10)
    assert not any(watch.add(step, loss) for step, loss in enumerate(rough))
    alarms = [alarm for step in range(200, 260) if (alarm := watch.add(step, 3.0))]
    assert len(alarms) == 1
    assert "training diverges: the loss," in alarms[0] and "at step 19" in alarms[0]
    low = Divergence(2.0, 3)
    assert not any(low.add(step, loss) for step, loss in enumerate([0.01] * 5 + [0.2] * 5)), "near 0 chance doubles"


def test_a_diverging_training_names_the_last_good_checkpoint(tones, tmp_path, capsys):
    """The learning rate rises until nothing is learned any more, and gradients are not bounded."""
    run = tmp_path / "run"
    watched = ("trainer.epochs=6", "trainer.divergence_rows=3", "trainer.divergence_factor=1.5")
    assert train(tones, run, *watched, "optim.lr=3.0", "optim.warmup=150", "optim.clip=1000.0") == 0
    told = capsys.readouterr().err
    [alarm] = [line for line in told.splitlines() if "training diverges" in line]
    assert "The last good checkpoint is" in alarm
    assert (run / "checkpoints" / alarm.split("init.from=")[1].split()[0].rpartition("/")[2]).is_file()
    status = Run(run).status()
    assert status is not None and status.state == "finished"
    assert f"warning: {status.alarms[0]}" == alarm


@pytest.mark.slow
def test_two_processes_leave_out_the_same_updates_which_one_replays(tones, tmp_path):
    run = tmp_path / "run"
    settings = ("optim.lr=1e6", "trainer.devices=2", "trainer.nonfinite_limit=4")
    command = [sys.executable, "-m", "hybrid_asr.cli", *words(tones, run, *settings)]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 2, done.stderr
    assert "4 updates in a row" in done.stderr
    entries = [json.loads(line) for line in (run / "nonfinite.jsonl").read_text().splitlines()]
    assert sorted({entry["rank"] for entry in entries}) == [0, 1]
    assert len({entry["step"] for entry in entries}) == 5, "all know of it, and stop, a step later"
    assert sum(rows(run, "train.skipped")) == 5
    replayed = replay(Run(run), entries[0]["step"])
    assert {row.rank for row in replayed.rows} == {0, 1}
    assert replayed.spoiled
    assert replayed.remarks[-1] == "the losses are those that training had"
