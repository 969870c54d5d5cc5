"""Recurrent layers: reversal per row, padding that is never met, the cell against torch's own."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hybrid_asr.nn.recurrent import BidirectionalLstm, lstm_cell, reversed_rows


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.integers(0, 3))
def test_each_row_is_turned_around_to_its_own_length(lengths, padding):
    time = max(lengths) + padding
    values = torch.arange(len(lengths) * time * 2, dtype=torch.float64).view(len(lengths), time, 2)
    turned = reversed_rows(values, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        assert torch.equal(turned[row, :length], values[row, :length].flip(0))
        assert torch.equal(turned[row, length:], values[row, length:])


def test_reversal_is_its_own_inverse_and_so_is_its_gradient():
    values = torch.randn(3, 7, 2, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([7, 3, 0])
    twice = reversed_rows(reversed_rows(values, lengths), lengths)
    assert torch.equal(twice, values)
    weights = torch.randn_like(values)
    [gradient] = torch.autograd.grad((twice * weights).sum(), values)
    assert torch.equal(gradient, weights)


@pytest.mark.parametrize("padding", [0.0, 1e3])
def test_it_is_torchs_own_of_each_row_alone(padding):
    layer, lengths = BidirectionalLstm(4, 3).double(), [8, 5, 1]
    theirs = torch.nn.LSTM(4, 3, batch_first=True, bidirectional=True).double()
    for name, weight in layer.ahead.named_parameters():
        theirs.get_parameter(name).data = weight.data
    for name, weight in layer.back.named_parameters():
        theirs.get_parameter(f"{name}_reverse").data = weight.data
    values = torch.randn(3, 8, 4, dtype=torch.float64)
    for row, length in enumerate(lengths):
        values[row, length:] = padding
    ours = layer(values, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        alone, _ = theirs(values[row : row + 1, :length])
        torch.testing.assert_close(ours[row : row + 1, :length], alone, rtol=0, atol=1e-12)


def test_the_cell_is_torchs_own():
    ours, theirs = torch.nn.Linear(9, 20).double(), torch.nn.LSTMCell(4, 5).double()
    given, hidden, cell = (torch.randn(2, size, dtype=torch.float64) for size in (4, 5, 5))
    order = torch.cat([torch.arange(10), torch.arange(15, 20), torch.arange(10, 15)])  # theirs: i f g o
    ours.weight.data = torch.cat([theirs.weight_ih, theirs.weight_hh], 1).data[order]
    ours.bias.data = (theirs.bias_ih + theirs.bias_hh).data[order]
    found = lstm_cell(ours(torch.cat([given, hidden], 1)), cell)
    for one, other in zip(found, theirs(given, (hidden, cell)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
