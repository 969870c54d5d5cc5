"""What is saved is a copy, written in the background, and told as saved once it is on the disk."""

import json
import os
import shutil
import threading

import pytest
import torch

from hybrid_asr.models.bundle import read_torch
from hybrid_asr.training.checkpoint import Checkpoints, KeptEpoch, NewerState
from hybrid_asr.training.checkpoint_writer import CheckpointWriter, Snapshot, write_state
from hybrid_asr.training.sharding import whole_optimizer_state
from hybrid_asr.training.status import StatusFile


def test_a_copy_stays_as_it_is_while_the_weights_go_on():
    weight = torch.nn.Parameter(torch.ones(3))
    tree = {"tied": [weight, weight.detach()], "step": torch.tensor(4.0), "lr": 0.5, "pair": (weight, 1)}
    copy = Snapshot(tree)
    weight.data += 1
    tree["step"] += 1
    tree["lr"] = 1.0
    read = copy.read()
    assert torch.equal(read["tied"][0], torch.ones(3)) and not read["tied"][0].requires_grad
    assert read["tied"][0] is read["tied"][1] is read["pair"][0], "what shares memory is written once"
    assert (read["step"].item(), read["lr"], read["pair"][1]) == (4.0, 0.5, 1)


def test_the_state_of_the_optimizer_stays_on_its_device_until_it_is_copied():
    weight = torch.nn.Parameter(torch.ones(3, device="meta"))
    weight.grad = torch.ones_like(weight)
    optimizer = torch.optim.SGD([weight], momentum=0.9)
    optimizer.step()
    kept = whole_optimizer_state(optimizer)["state"][0]["momentum_buffer"]
    assert kept is optimizer.state[weight]["momentum_buffer"]


def test_one_is_written_at_a_time_and_the_training_goes_on_meanwhile():
    writer, may_end, done = CheckpointWriter(), threading.Event(), []
    writer.begin(lambda: (may_end.wait(10), done.append(1)))  # type: ignore[arg-type]
    assert not done, "begin does not wait for it"
    threading.Timer(0.05, may_end.set).start()
    writer.begin(lambda: done.append(len(done) + 1))
    writer.finish()
    assert done == [1, 2]


@pytest.mark.parametrize("method", ["raise_error", "finish", "begin"])
def test_an_error_of_the_thread_is_raised_once_in_the_training(method):
    def full() -> None:
        raise OSError(28, "No space left on device", "last.ckpt")

    writer = CheckpointWriter()
    writer.raise_error()
    writer.begin(full)
    writer.wait()
    with pytest.raises(OSError, match="No space left"):
        getattr(writer, method)(*[lambda: None] * (method == "begin"))
    writer.finish()


def test_only_what_is_on_the_disk_is_told_as_saved(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    checkpoints = Checkpoints(tmp_path / "checkpoints", "last", 2)
    state = checkpoints.load_last()
    assert state is not None
    status = StatusFile(tmp_path / "status.json", total=99, saved=state.step)
    replace, order = os.replace, []

    def watched(source, target) -> None:
        if os.path.basename(target) == "status.json":
            with open(source) as file:
                told = json.load(file)["saved_step"]
            assert told <= read_torch(tmp_path / "checkpoints/last.ckpt")["step"]
        order.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    copy = Snapshot((state.state_dict, state.optimizer))
    write_state(checkpoints, status, _later(state), copy, KeptEpoch(50, 98, -1.0))
    assert order == ["epoch-050.ckpt", "best.ckpt", "previous.ckpt", "last.ckpt", "status.json"]
    assert json.loads(status.path.read_text())["saved_step"] == 98


def _later(state):
    return type(state)(**{**vars(state), "step": 98, "state_dict": {}, "optimizer": {}})


def test_a_state_of_a_newer_version_is_refused_and_the_one_before_is_not_taken(trained, tmp_path):
    shutil.copytree(trained / "checkpoints", tmp_path / "checkpoints")
    last = tmp_path / "checkpoints/last.ckpt"
    assert (tmp_path / "checkpoints/previous.ckpt").is_file()
    torch.save(read_torch(last) | {"version": 99}, last)
    with pytest.raises(
        NewerState, match=r"last\.ckpt: a newer version of hybrid-asr has written it .* update this one"
    ):
        Checkpoints(last.parent, "last", 2).load_last()
