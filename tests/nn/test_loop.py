"""A linear layer in a loop: outputs and gradients are the plain layer's, however often one goes back."""

import pytest
import torch

from hybrid_asr.nn.loop import LoopLinear


def unrolled(product, start: torch.Tensor) -> torch.Tensor:
    """Five steps, each fed by the one before."""
    steps = [start]
    for _ in range(5):
        steps.append(product(steps[-1]).tanh())
    return torch.stack(steps)


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_the_plain_layers(bias):
    layer = torch.nn.Linear(4, 4, bias=bias).double()
    start = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    ours, theirs = unrolled(LoopLinear(layer), start), unrolled(layer, start)
    assert torch.equal(ours, theirs) or (ours - theirs).abs().max() < 1e-15
    for weights in (torch.randn_like(ours), torch.randn_like(ours)):  # twice over the same graph
        sought = [start, *layer.parameters()]
        found = torch.autograd.grad((ours * weights).sum(), sought, retain_graph=True)
        wanted = torch.autograd.grad((theirs * weights).sum(), sought, retain_graph=True)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_a_part_of_the_loop_may_be_all_that_counts():
    layer = torch.nn.Linear(4, 4).double()
    start = torch.randn(2, 4, dtype=torch.float64)
    ours, theirs = unrolled(LoopLinear(layer), start)[2], unrolled(layer, start)[2]
    [found], [wanted] = (torch.autograd.grad(part.sum(), [layer.weight]) for part in (ours, theirs))
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_frozen_weights_and_evaluation_take_the_layer_as_it_is():
    layer = torch.nn.Linear(4, 4).double()
    start = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    layer.requires_grad_(False)
    [found] = torch.autograd.grad(unrolled(LoopLinear(layer), start).sum(), [start])
    [wanted] = torch.autograd.grad(unrolled(layer, start).sum(), [start])
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    with torch.no_grad():
        assert not unrolled(LoopLinear(layer), start).requires_grad
