"""Our linear layer is torch's, whichever library multiplies."""

import copy
import io

import pytest
import torch
from torch import nn

from hybrid_asr.nn import onednn
from hybrid_asr.nn.cpu import Linear
from hybrid_asr.nn.onednn import onednn_is_faster

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="needs a torch with oneDNN")
SIZES = [(400, 60, 200), (400, 200, 60), (400, 130, 130)]  # rows, inputs, outputs: both ways round


@pytest.fixture(params=["onednn", "torch"])
def library(request, monkeypatch) -> str:
    monkeypatch.setattr(onednn, "onednn_is_faster", lambda: request.param == "onednn")
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
    monkeypatch.setattr(onednn, "onednn_is_faster", lambda: True)
    layer, values = Linear(200, 200), torch.randn(400, 200)
    assert used(layer(values[:2])) == "torch"  # small
    assert used(layer.double()(values.double())) == "torch"
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.float()(values).dtype == torch.bfloat16


@needs_onednn
def test_an_empty_batch_has_an_empty_product(library):
    assert Linear(200, 300)(torch.zeros(0, 200)).shape == (0, 300)


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 10, 80])
def test_few_rows_in_evaluation_equal_exact_products(rows: int):
    layer, values = Linear(256, 500).eval(), torch.randn(8, rows, 256)
    exact = values.double() @ layer.weight.double().T + layer.bias.double()
    for given in (values, values.transpose(0, 1), values[:, :, None]):
        found = layer(given)
        assert found.shape == (*given.shape[:-1], 500)
    torch.testing.assert_close(layer(values).double(), exact, rtol=0, atol=1e-5)


@pytest.mark.skipif(not onednn_is_faster(), reason="needs a processor of AMD: weights are packed nowhere else")
def test_packed_weights_follow_the_weights():
    layer, values = Linear(256, 64).eval(), torch.randn(10, 256)

    def law() -> None:
        with torch.no_grad():
            found = layer.eval()(values)
        assert layer._packed is not None
        torch.testing.assert_close(found, values @ layer.weight.detach().T + layer.bias.detach(), rtol=0, atol=1e-3)

    law()
    layer.load_state_dict({"weight": torch.randn(64, 256), "bias": torch.randn(64)})
    law()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)  # counts no version of what it changes
    layer.train()(values).sum().backward()
    optimizer.step()
    law()
    layer.training = True  # as Lightning goes back to training
    layer(values).sum().backward()
    optimizer.step()
    law()
    layer.weight = torch.nn.Parameter(torch.randn(64, 256))
    law()
    copied = copy.deepcopy(layer)
    assert copied._packed is None
    torch.save(layer, io.BytesIO())
