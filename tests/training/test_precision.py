"""Settings that change how a step is computed: checkpointed activations, float16 with its scale, TF32."""

import copy

import pytest
import torch

from hybrid_asr.models.bundle import Bundle
from hybrid_asr.nn.checkpointing import checkpoint_layers
from hybrid_asr.nn.cpu import Dropout
from hybrid_asr.training.loss_scale import START, LossScale
from hybrid_asr.training.strategy import autocast, changes_buffers, set_tf32
from tests.training.test_module import batch_of


def drawn(bundle: Bundle) -> list[torch.Tensor]:
    """The outputs of a step with dropout, and all gradients."""
    batch = batch_of(bundle, ["ab", "cab de"], [0.5, 1.0])
    torch.manual_seed(1)
    outputs = bundle.model(bundle.frontend(batch.audio, batch.samples), batch.labels)
    (outputs.ctc_log_probs.sum() + outputs.logits.square().sum()).backward()
    weights = [weight.grad for weight in bundle.model.parameters()]
    return [outputs.ctc_log_probs.detach(), outputs.logits.detach(), *weights]


@pytest.fixture
def dropping(trained) -> Bundle:
    """A model in training, with dropout everywhere."""
    bundle = Bundle.load(trained / "model.pt")
    for module in bundle.model.modules():
        if isinstance(module, Dropout):
            module.p, module.threshold = 0.1, 26
    bundle.model.train()
    return bundle


def test_checkpointed_activations_change_no_bit(dropping):
    other = copy.deepcopy(dropping)
    assert checkpoint_layers(other.model) == 2
    calls = []
    other.model.encoder.layers[0].norms[0].register_forward_hook(lambda *_: calls.append(1))
    for one, same in zip(drawn(dropping), drawn(other), strict=True):
        assert torch.equal(one, same)
    assert len(calls) == 2, "it is computed once more"
    assert other.model.state_dict().keys() == dropping.model.state_dict().keys()


def test_checkpointed_batch_norm_moves_its_statistics_once():
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList([torch.nn.BatchNorm1d(3)])
    other = copy.deepcopy(model)
    checkpoint_layers(other)
    values = torch.randn(8, 3, requires_grad=True)
    for one in (model, other):
        one.layers[0](values).square().sum().backward()
    assert torch.equal(model.layers[0].running_mean, other.layers[0].running_mean)
    assert changes_buffers(model)


def test_the_scale_of_the_loss_falls_with_an_overflow_and_is_kept():
    scale = LossScale(torch.device("cpu"))
    gradient = scale.of(torch.ones(()))
    assert gradient == START
    scale.undo([gradient])
    assert gradient == 1
    for overflow in (1.0, 0.0, 0.0):
        scale.update(torch.tensor(overflow))
    assert scale.state() == {"scale": START / 2, "streak": 2}
    other = LossScale(torch.device("cpu"))
    other.load(scale.state())
    assert other.state() == scale.state()


def test_only_what_changes_is_broadcast(dropping):
    assert not changes_buffers(dropping.model), "the front end's buffers are constants"


def test_precisions_and_tf32():
    product = torch.nn.Linear(2, 2)
    for name, kind in {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}.items():
        with autocast(name, "cpu"):
            assert product(torch.ones(1, 2)).dtype == kind
    set_tf32(True)
    assert torch.get_float32_matmul_precision() == "high"
    set_tf32(False)
    assert torch.get_float32_matmul_precision() == "highest"
