"""Schedules are their formulae, only matrices decay, the gradient's norm is bounded."""

import math

import pytest
import torch
from torch import nn

from hybrid_asr.training.optim import OptimConfig, build_optimizer, lr_share, set_lr, warmup_doubt


def share(schedule, step, *, warmup=10, total=110, **more) -> float:
    return lr_share(OptimConfig(schedule=schedule, lr=1.0, warmup=warmup, **more), step, total)


@pytest.mark.parametrize("schedule", ["noam", "cosine", "constant"])
def test_all_rise_linearly_to_the_peak(schedule):
    assert [share(schedule, step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert all(share(schedule, step) <= 1 for step in range(110))


def test_a_training_that_ends_while_the_rate_still_rises_is_doubtful():
    cfg = OptimConfig(schedule="cosine", lr=1.0, warmup=100)
    told = warmup_doubt(cfg, 90)
    assert told and "ends at 90% of optim.lr; give more trainer.epochs, or optim.warmup=9" in told
    assert warmup_doubt(cfg, 100) is None


def test_noam_falls_with_the_root_of_the_step():
    assert share("noam", 39) == pytest.approx(0.5)
    assert share("noam", 89) == pytest.approx(1 / 3)
    assert share("noam", 3, warmup=0) == pytest.approx(0.5)


def test_a_cosine_ends_at_its_final_share_at_the_last_step():
    assert share("cosine", 59) == pytest.approx(0.5)
    assert share("cosine", 34) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert share("cosine", 109) == pytest.approx(0.0)
    assert share("cosine", 109, final_share=0.1) == pytest.approx(0.1)
    assert share("cosine", 59, final_share=0.1) == pytest.approx(0.55)
    assert share("cosine", 9, warmup=10, total=10) == 1.0


def test_constant_stays():
    assert {share("constant", step) for step in (9, 50, 109, 10_000)} == {1.0}


def test_only_matrices_decay():
    """Without a gradient from the loss nothing but the decay moves a weight: by lr * decay of itself."""
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Conv1d(4, 2, 3))
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    optimizer = build_optimizer(OptimConfig(schedule="constant", lr=1.0, warmup=0, weight_decay=0.1), module)
    set_lr(optimizer, 0.5)
    for weight in module.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    for name, weight in module.named_parameters():
        kept = 0.95 if weight.ndim > 1 else 1.0
        torch.testing.assert_close(weight.detach(), before[name] * kept, msg=name)


def test_every_trained_weight_is_optimized_once():
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 5))
    module[0].requires_grad_(False)
    optimizer = build_optimizer(OptimConfig(schedule="constant", lr=1.0, warmup=0), module)
    held = [id(weight) for group in optimizer.param_groups for weight in group["params"]]
    assert sorted(held) == sorted(id(weight) for weight in module[1].parameters())
