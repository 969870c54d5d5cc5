"""Which checkpoints are kept, which are averaged, and what their mean is."""

import pytest
import torch

from hybrid_asr.models.bundle import Bundle, BundleError
from hybrid_asr.run.folder import Run
from hybrid_asr.training.checkpoint import Checkpoints, KeptEpoch, TrainingState, average, remove_checkpoints
from tests.tones import train

ERRORS = [0.5, 0.2, 0.4, 0.2, 0.3]


@pytest.fixture
def bundle(trained) -> Bundle:
    return Bundle.load(trained / "model.pt")


def filled(folder, bundle, **kind) -> Checkpoints:
    """Five epochs with ERRORS; the weights of epoch n are all n."""
    checkpoints = Checkpoints(folder, **kind)
    for epoch, error in enumerate(ERRORS, start=1):
        for weight in bundle.model.parameters():
            weight.data.fill_(epoch)
        checkpoints.save_epoch(bundle.describe(), bundle.weights(), KeptEpoch(epoch, 10 * epoch, error))
    return checkpoints


def test_the_mean_is_the_mean_and_counters_are_the_last_ones():
    weights = [
        {"w": torch.tensor([1.0, -3.0]), "seen": torch.tensor(5)},
        {"w": torch.tensor([2.0, 3.0]), "seen": torch.tensor(7)},
        {"w": torch.tensor([6.0, 3.0]), "seen": torch.tensor(9)},
    ]
    mean = average(weights)
    assert torch.equal(mean["w"], torch.tensor([3.0, 1.0]))
    assert mean["seen"].dtype == torch.int64
    assert mean["seen"] == 9


def test_a_mean_of_many_loses_nothing_to_rounding():
    """Summed in float32, a thousand times 0.1 would be off in the fifth digit."""
    weights = [{"w": torch.full((3,), 0.1)} for _ in range(1000)]
    assert torch.equal(average(weights)["w"], torch.full((3,), 0.1))


@pytest.mark.parametrize(("kind", "epochs"), [("last", [4, 5]), ("best", [2, 4])])
def test_the_last_or_the_best_are_kept_and_averaged(kind, epochs, bundle, tmp_path):
    checkpoints = filled(tmp_path, bundle, average=kind, count=2)
    assert [entry.epoch for entry in checkpoints.chosen()] == epochs
    assert sorted(path.name for path in tmp_path.glob("epoch-*")) == [f"epoch-00{epoch}.ckpt" for epoch in epochs]
    mean = checkpoints.average_weights()
    assert {float(value) for weight in mean.values() for value in weight.flatten()} == {sum(epochs) / 2}


def test_the_best_is_the_earlier_of_equals(bundle, tmp_path):
    checkpoints = filled(tmp_path, bundle, average="last", count=1)
    best = checkpoints.best()
    assert best is not None
    assert best.epoch == 2
    saved = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert saved["epoch"] == 2
    assert all((weight == 2).all() for weight in saved["state_dict"].values())


def test_an_epoch_without_validation_is_never_the_best(bundle, tmp_path):
    checkpoints = Checkpoints(tmp_path, "best", 2)
    checkpoints.save_epoch(bundle.describe(), bundle.weights(), KeptEpoch(1, 10, None))
    assert checkpoints.best() is None
    checkpoints.save_epoch(bundle.describe(), bundle.weights(), KeptEpoch(2, 20, 0.9))
    assert [entry.epoch for entry in checkpoints.chosen()] == [2]


def test_more_can_be_averaged_than_was_kept_at_first(bundle, tmp_path):
    """`trainer.average_count` may be raised in a run that goes on: what was thrown away is not missed."""
    history = filled(tmp_path, bundle, average="last", count=2).history
    later = Checkpoints(tmp_path, "last", 4, history=list(history))
    assert [entry.epoch for entry in later.chosen()] == [4, 5]
    later.save_epoch(bundle.describe(), bundle.weights(), KeptEpoch(6, 60, 0.1))
    assert [entry.epoch for entry in later.chosen()] == [4, 5, 6]
    later.average_weights()


def test_nothing_is_no_mean(tmp_path):
    with pytest.raises(BundleError, match=r"no epoch has ended yet.*last\.ckpt"):
        Checkpoints(tmp_path, "last", 2).average_weights()


def test_forgetting_begins_with_the_state_to_continue_from(bundle, tmp_path):
    filled(tmp_path, bundle, average="last", count=2).save_last(
        TrainingState(bundle=bundle.describe(), state_dict=bundle.weights(), optimizer={}, step=50)
    )
    remove_checkpoints(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_is_exactly_the_mean_of_its_files(trained):
    files = sorted((trained / "checkpoints").glob("epoch-*.ckpt"))
    assert len(files) == 6
    states = [torch.load(file, weights_only=True)["state_dict"] for file in files]
    model = torch.load(trained / "model.pt", weights_only=True)["weights"]
    for name, value in model.items():
        expected = torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        assert torch.equal(value, expected), name


def test_a_run_gives_the_checkpoint_that_is_asked_for(trained):
    run, folder = Run(trained), trained / "checkpoints"
    last = torch.load(folder / "last.ckpt", weights_only=True)
    best = torch.load(folder / "best.ckpt", weights_only=True)
    errors = {entry["epoch"]: entry["error"] for entry in last["history"]}
    assert errors[best["epoch"]] == min(errors.values())
    expected = {
        "average": torch.load(run.model_file, weights_only=True)["weights"],
        "last": last["state_dict"],
        "best": best["state_dict"],
        str(folder / "epoch-009.ckpt"): torch.load(folder / "epoch-009.ckpt", weights_only=True)["state_dict"],
    }
    digests = set()
    for name, weights in expected.items():
        bundle, digest = run.bundle(name)
        assert all(torch.equal(value, weights[key]) for key, value in bundle.weights().items()), name
        digests.add(digest)
    assert len(digests) == 4


def test_the_average_so_far_needs_no_finished_training(tones, tmp_path):
    run = tmp_path / "run"
    assert train(tones, run, "trainer.epochs=2") == 0
    finished = Run(run).bundle("average")[1]
    (run / "model.pt").unlink()
    assert Run(run).bundle("average")[1] == finished


def test_a_state_is_read_as_it_was_written_and_its_keys_are_the_files(bundle, tmp_path):
    optimizer = torch.optim.AdamW(bundle.model.parameters()).state_dict()
    state = TrainingState(
        bundle=bundle.describe(),
        state_dict=bundle.weights(),
        optimizer=optimizer,
        step=50,
        windows=[{"steps": 2.0}],
        nonfinite={"in_row": 1, "skipped": 3},
        signature="abc",
        run_id="def",
        elapsed_s=1.5,
        processor_s=2.5,
        history=[KeptEpoch(1, 25, 0.5), KeptEpoch(2, 50, None)],
    )
    state.write(tmp_path / "last.ckpt")
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert list(content) == [
        *("version", "bundle", "state_dict", "optimizer", "step", "windows", "nonfinite", "loss_scale"),
        *("signature", "run_id", "elapsed_s", "processor_s", "history"),
    ]
    assert content["history"][1] == {"epoch": 2, "step": 50, "error": None}
    read = TrainingState.read(tmp_path / "last.ckpt")
    assert read.history == state.history
    assert (read.step, read.windows, read.nonfinite) == (50, state.windows, state.nonfinite)
    assert (read.signature, read.run_id, read.elapsed_s, read.processor_s) == ("abc", "def", 1.5, 2.5)
    assert all(torch.equal(value, read.state_dict[name]) for name, value in state.state_dict.items())
