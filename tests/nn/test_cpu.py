"""Dropout by random bytes: its rate, its scale, its gradient, the bytes; a linear layer in a loop equals the plain one.

The products of `Linear` are in test_onednn.py.
"""

import math

import pytest
import torch

from hybrid_asr.nn.cpu import Dropout, LoopLinear, _random_bytes

MANY = 2_000_000


@pytest.mark.parametrize("p", [0.1, 0.15, 0.5, 0.9])
def test_rate_is_rounded_to_a_byte_and_the_expectation_is_kept(p: float):
    torch.manual_seed(1)
    rate = round(p * 256) / 256
    dropped = Dropout(p)(torch.ones(MANY))
    deviation = math.sqrt(rate * (1 - rate) / MANY)
    assert (dropped == 0).double().mean().item() == pytest.approx(rate, abs=5 * deviation)
    assert dropped.double().mean().item() == pytest.approx(1, abs=5 * deviation / (1 - rate))


def test_a_tenth_is_26_of_256():
    assert Dropout(0.1).threshold == 26


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_remains_is_scaled_exactly(dtype: torch.dtype):
    values = torch.rand(1000, dtype=dtype, generator=torch.Generator().manual_seed(0)) + 1
    dropped = Dropout(0.1)(values)
    kept = dropped != 0
    assert 0 < kept.sum() < 1000
    assert torch.equal(dropped[kept], values[kept] * (256 / 230))


def test_evaluation_and_rate_zero_are_the_identity():
    values = torch.randn(100)
    assert Dropout(0.5).eval()(values) is values
    assert Dropout(0.0)(values) is values


@pytest.mark.parametrize("shape", [(1000,), (7, 11, 13), (3, 5)])
def test_the_gradient_uses_the_same_mask(shape: tuple[int, ...]):
    values = (torch.rand(shape, dtype=torch.float64) + 1).requires_grad_()
    dropped = Dropout(0.3)(values)
    [gradient] = torch.autograd.grad(dropped.sum(), values)
    torch.testing.assert_close(gradient, dropped.detach() / values.detach(), rtol=1e-12, atol=0)
    assert (gradient == 0).any()


@pytest.mark.parametrize("shape", [(), (1,), (7,), (8,), (9,), (3, 5, 7), (0, 4), (2, 0)])
def test_any_shape_even_where_eight_bytes_do_not_divide_it(shape: tuple[int, ...]):
    assert Dropout(0.5)(torch.ones(shape)).shape == shape
    assert _random_bytes(torch.empty(shape)).shape == shape


def test_the_layout_of_the_values_does_not_matter():
    values = torch.rand(40, 30) + 1
    torch.manual_seed(3)
    straight = Dropout(0.5)(values)
    torch.manual_seed(3)
    assert torch.equal(Dropout(0.5)(values.t().contiguous().t()), straight)


def test_the_seed_decides_the_mask_and_two_calls_differ():
    dropout, values = Dropout(0.5), torch.ones(200)
    torch.manual_seed(5)
    first, second = dropout(values), dropout(values)
    torch.manual_seed(5)
    assert torch.equal(dropout(values), first)
    assert not torch.equal(first, second)


def test_bytes_are_uniform_and_every_bit_is_fair():
    """The top bit of a word is the sign of int64: a range that starts at 0 would never set it."""
    torch.manual_seed(7)
    drawn = _random_bytes(torch.empty(MANY))
    assert drawn.dtype == torch.uint8
    counts = torch.bincount(drawn.int(), minlength=256).double()
    chi_square = ((counts - MANY / 256).square() / (MANY / 256)).sum().item()
    assert chi_square < 255 + 5 * math.sqrt(2 * 255)
    for place in range(8):  # each of the eight bytes of a word, each of its bits
        bits = (drawn[place::8, None] >> torch.arange(8, dtype=torch.uint8)) & 1
        deviation = 0.5 / math.sqrt(len(bits))
        assert ((bits.double().mean(0) - 0.5).abs() < 5 * deviation).all()


def test_neighboring_values_are_dropped_independently():
    torch.manual_seed(9)
    zero = (Dropout(0.5)(torch.ones(MANY)) == 0).double()
    for distance in (1, 2, 4, 8):
        both = (zero[:-distance] * zero[distance:]).mean().item()
        assert both == pytest.approx(0.25, abs=5 * math.sqrt(0.25 * 0.75 / MANY) * 2)


def test_a_rate_near_one_still_leaves_something():
    assert Dropout(0.999)(torch.ones(10_000)).isfinite().all()


def test_half_precision_stays_half():
    assert Dropout(0.1)(torch.ones(9, dtype=torch.bfloat16)).dtype == torch.bfloat16


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
