"""Laws of the patch Transformer alone: attention over all patches, their joining, the stride it may have."""

import pytest
import torch

from hybrid_asr.audio.features import Features
from hybrid_asr.common.errors import UserError
from hybrid_asr.models.patch_transformer import PatchTransformer, PatchTransformerConfig
from tests.models.tiny import FEATURES, tiny


@pytest.fixture
def model() -> PatchTransformer:
    return PatchTransformer(tiny(PatchTransformerConfig), FEATURES).double().eval()


def features(frames: int = 31) -> Features:
    values = torch.randn(1, frames, FEATURES, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return Features(values, torch.tensor([frames]))


def test_every_patch_reaches_every_time_step(model):
    values = features().values.requires_grad_()
    states = model(Features(values, torch.tensor([31]))).states
    for step in range(states.shape[1]):
        [gradient] = torch.autograd.grad(states[0, step].square().sum(), values, retain_graph=True)
        assert (gradient != 0).all()


def test_the_order_of_frequency_matters(model):
    """Without positions in frequency attention sees a set of patches, as where their joining is blind to the order."""
    model.join.weight.data = model.join.weight[:, : model.width].repeat(1, model.patches.count)
    low, high = torch.zeros(2, 1, 7, FEATURES, dtype=torch.float64)
    low[..., 1:3] = high[..., 4:6] = torch.randn(1, 7, 2, dtype=torch.float64)  # each in one patch, at equal places
    one, other = (model(Features(values, torch.tensor([7]))).states for values in (low, high))
    assert not torch.allclose(one, other, rtol=0, atol=1e-6)
    model.positions.bands.data.zero_()
    one, other = (model(Features(values, torch.tensor([7]))).states for values in (low, high))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_a_state_is_made_of_the_patches_of_its_own_time_step(model):
    """With the layers taken out: a frame reaches the steps whose patches hold it, and no others."""
    model.layers = torch.nn.ModuleList()
    values = features().values.requires_grad_()
    states = model(Features(values, torch.tensor([31]))).states
    for step in range(states.shape[1]):
        [gradient] = torch.autograd.grad(states[0, step].square().sum(), values, retain_graph=True)
        seen = (gradient != 0).any(-1)[0].nonzero()[:, 0].tolist()
        assert seen == list(range(4 * step, 4 * step + 7))


def test_a_stride_beyond_80_ms_is_refused_with_the_remedy():
    cfg = tiny(PatchTransformerConfig, patch_frames=16, stride_frames=8)
    cfg.check_features(0.01, cfg.patch_bins)
    with pytest.raises(UserError, match=r"stride_frames: 8 frames of 12.5 ms put 100 ms .* give 6 frames at most"):
        cfg.check_features(0.0125, 80)
    with pytest.raises(UserError, match=r"patch_bins: 4 bins, and the features have 3; give 3 at most"):
        cfg.check_features(0.01, 3)
