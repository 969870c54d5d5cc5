"""The feed-forward layer is its formula."""

import pytest
import torch

from hybrid_asr.nn.feed_forward import FeedForward


@pytest.mark.parametrize(
    ("activation", "formula"), [("relu", lambda x: x * (x > 0)), ("silu", lambda x: x / (1 + (-x).exp()))]
)
def test_two_linear_layers_with_an_activation_between(activation, formula):
    layer = FeedForward(4, 9, dropout=0.5, activation=activation).double().eval()
    values = torch.randn(2, 3, 4, dtype=torch.float64)
    hidden = formula(values @ layer.expand.weight.T + layer.expand.bias)
    expected = hidden @ layer.contract.weight.T + layer.contract.bias
    torch.testing.assert_close(layer(values), expected, rtol=0, atol=1e-12)


def test_dropout_acts_between_the_layers_in_training():
    layer, values = FeedForward(4, 9, dropout=0.5, activation="relu"), torch.randn(2, 3, 4)
    torch.manual_seed(0)
    assert not torch.equal(layer(values), layer(values))
