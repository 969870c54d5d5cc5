"""However a batch is shared out, its gradient is that of the batch as a whole: in float64, to 1e-9."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hybrid_asr.commands.training_data import build_dataset, build_planner, read_training_set
from hybrid_asr.commands.training_model import build_module
from hybrid_asr.data.label_counts import label_counts
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.run.folder import Run
from tests.tones import CHECKOUT
from tests.training.first_gradient import exactly

SHARES = [(1, 1), (2, 1), (4, 1), (16, 1), (1, 3), (2, 2)]  # devices, and parts that each takes one after the other


def assert_equal(mine: dict[str, Tensor], its: dict[str, Tensor]) -> None:
    """To 1e-9 of the largest number."""
    assert mine.keys() == its.keys()
    largest = max(float(gradient.abs().max()) for gradient in its.values())
    assert largest > 1e-3
    for name, gradient in its.items():
        torch.testing.assert_close(mine[name], gradient, rtol=0, atol=1e-9 * largest, msg=name)


def test_the_gradients_of_all_shares_add_up_to_that_of_the_batch(trained):
    cfg = Run(trained).read_config()
    bundle = Bundle.load(trained / "model.pt")
    manifest = read_training_set(cfg).manifest
    plan = build_planner(cfg, bundle, manifest, label_counts(manifest, bundle.tokenizer, cfg.text)).plan(0)
    dataset, module = build_dataset(cfg, bundle, manifest), build_module(cfg, bundle, plan.steps)
    bundle.frontend.double().register_forward_pre_hook(exactly)
    bundle.model.double()

    def gradients(ranks: int, turns: int) -> dict[str, Tensor]:
        module.zero_grad()
        for rank in range(ranks):
            for turn in range(turns):
                batch = dataset[plan.share(rank, ranks, turns)[turn]]
                losses, _ = module.losses(batch, step=0, part=turn, rank=rank)
                ((losses.total * batch.weights).sum() / batch.divisor).backward()
        return {
            name: weight.grad.clone() for name, weight in bundle.model.named_parameters() if weight.grad is not None
        }

    whole = gradients(*SHARES[0])
    for ranks, turns in SHARES[1:]:
        assert_equal(gradients(ranks, turns), whole)


@pytest.fixture(scope="module")
def whole(tones, tmp_path_factory):
    """The first gradient of a training by one process, each batch as a whole."""
    return first_gradient(tones, tmp_path_factory.mktemp("whole"), 1)


def first_gradient(tones: Path, folder: Path, processes: int, *settings: str) -> dict[str, Tensor]:
    """The first gradient that the Trainer comes to in so many processes."""
    out = folder / "gradient.pt"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["-m", "tests.training.first_gradient", str(tones / "tiny.yaml"), str(out), f"data.root={tones}"]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    command += ["optim.clip=1e9", *settings]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return torch.load(out, weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("parts", ["one part", "several parts"])
def test_two_processes_come_to_the_gradient_of_one(whole, tones, tmp_path, strategy, parts):
    settings = ["data.device_seconds=3.0"] if parts == "several parts" else []
    assert_equal(first_gradient(tones, tmp_path, 2, f"trainer.strategy={strategy}", *settings), whole)
