"""Our linear layer is torch's, whichever library multiplies."""

import pytest
import torch
from torch import nn

from hybrid_asr.nn import linear
from hybrid_asr.nn.linear import Linear

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs a torch with oneDNN")
SIZES = [(400, 60, 200), (400, 200, 60), (400, 130, 130)]  # rows, inputs, outputs: both ways round


@pytest.fixture(params=["onednn", "torch"])
def library(request, monkeypatch) -> str:
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: request.param == "onednn")
    return request.param


def used(values: torch.Tensor) -> str:
    """The library that made `values`, by the name of its step backwards."""
    return "onednn" if "OneDnn" in str(values.grad_fn) else "torch"


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), SIZES)
def test_outputs_and_gradients_are_those_of_exact_products(library, rows, inputs, outputs, bias):
    layer, values = Linear(inputs, outputs, bias=bias), torch.randn(4, rows // 4, inputs, requires_grad=True)
    exact = nn.Linear(inputs, outputs, bias=bias).double()
    exact.load_state_dict(layer.state_dict())
    same = values.detach().double().requires_grad_()
    weights = torch.randn(4, rows // 4, outputs)
    output, expected = layer(values), exact(same)
    assert used(output) == library
    (output * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(values.grad.double(), same.grad, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(layer.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_frozen_weights_and_first_layers_get_no_gradient(library):
    layer = Linear(200, 200)
    layer.weight.requires_grad_(False)
    layer(torch.randn(400, 200)).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(layer.bias.grad, torch.full((200,), 400.0))


def test_what_onednn_does_not_serve_goes_torchs_way(monkeypatch):
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: True)
    layer, values = Linear(200, 200), torch.randn(400, 200)
    assert used(layer(values[:2])) == "torch"  # small
    assert used(layer.double()(values.double())) == "torch"
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.float()(values).dtype == torch.bfloat16


@needs_onednn
def test_an_empty_batch_has_an_empty_product(library):
    assert Linear(200, 300)(torch.zeros(0, 200)).shape == (0, 300)
