"""Laws of SpecAugment: padding is untouched, masks keep within their limits, what is reported is what was masked."""

import pytest
import torch

from hybrid_asr.audio.augment import AugmentConfig, SpecAugment, SpecAugmentConfig
from hybrid_asr.audio.features import Features
from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import ConfigError, parse, plain

FRAMES = torch.tensor([200, 100, 37, 4, 1, 0])


@pytest.fixture
def features() -> Features:
    """Ones, in the padding too: every 0 afterwards is a masked place."""
    return Features(torch.ones(6, 210, 40), FRAMES.clone())


def masked(features: Features, **settings) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The places that one call of SpecAugment sets to 0, and the two shares that it reports."""
    found, counts = SpecAugment(SpecAugmentConfig(**settings))(features)
    assert torch.equal(found.frames, features.frames)
    assert ((found.values == 0) | (found.values == features.values)).all()
    return found.values == 0, counts.time_share, counts.freq_share


def runs(row: torch.Tensor) -> list[int]:
    """Lengths of the stretches of True in a row."""
    return [len(stretch) for stretch in "".join("x" if place else " " for place in row.tolist()).split()]


def test_padding_is_never_touched(features):
    torch.manual_seed(0)
    for _ in range(50):
        places, _, _ = masked(features)
        assert not places[~valid_mask(FRAMES, 210)].any()


def test_the_same_seed_gives_the_same_masks(features):
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return masked(features)[0]

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))
    augment, state = SpecAugment(SpecAugmentConfig()), torch.get_rng_state()
    own = [augment(features, torch.Generator().manual_seed(7))[0].values for _ in range(2)]
    assert torch.equal(*own)
    assert torch.equal(torch.get_rng_state(), state)  # a generator of one's own leaves the default one alone


@pytest.mark.parametrize(("width", "share"), [(30, 0.2), (10, 0.2), (1000, 0.05), (1000, 1.0)])
def test_time_masks_keep_within_their_limits_and_reach_them(width, share):
    torch.manual_seed(0)
    draws = 3000
    many = Features(torch.ones(len(FRAMES) * draws, 210, 2), FRAMES.repeat_interleave(draws))
    places, _, _ = masked(many, time_masks=1, freq_masks=0, time_width=width, time_share=share)
    assert torch.equal(places.all(2), places.any(2))  # all bins of a frame, or none
    frames = places[:, :, 0].view(len(FRAMES), draws, 210)
    begins = (frames & ~frames.roll(1, dims=2)).sum(2) + (frames[:, :, 0] & frames[:, :, -1]).long()
    assert begins.max() <= 1  # in one stretch
    for row, size in enumerate(FRAMES.tolist()):
        limit = min(width, int(size * share + 1e-6))
        widths = frames[row].sum(1)
        assert widths.unique().tolist() == list(range(limit + 1))  # all widths from 0 on, and none beyond the limit
        if limit:
            assert frames[row, :, 0].any() and frames[row, :, size - 1].any()  # a mask may lie at either end
            assert widths.float().mean().item() == pytest.approx(limit / 2, rel=0.1)


def test_several_time_masks_cover_at_most_their_sum(features):
    torch.manual_seed(0)
    for _ in range(100):
        places, _, _ = masked(features, time_masks=3, freq_masks=0, time_width=15, time_share=0.1)
        covered = places[:, :, 0].sum(1)
        assert (covered <= 3 * torch.clamp((FRAMES * 0.1).long(), max=15)).all()
        assert all(len(runs(row[:, 0])) <= 3 for row in places)


def test_frequency_masks_keep_within_their_limits_and_reach_them():
    torch.manual_seed(0)
    many = Features(torch.ones(2000, 3, 40), torch.full((2000,), 3))
    places, _, _ = masked(many, time_masks=0, freq_masks=1, freq_width=12)
    assert torch.equal(places.all(1), places.any(1))  # the same bins in every frame
    bins = places[:, 0]
    assert ((bins[:, 1:] & ~bins[:, :-1]).sum(1) + bins[:, 0].long()).max() <= 1  # in one stretch
    assert bins.sum(1).unique().tolist() == list(range(13))
    assert bins[:, 0].any() and bins[:, -1].any()
    assert masked(many, time_masks=0, freq_masks=1, freq_width=1000)[2] <= 1  # more than there are


def test_the_shares_reported_are_the_shares_masked(features):
    torch.manual_seed(0)
    for _ in range(30):
        places, time, freq = masked(features)
        real = valid_mask(FRAMES, 210)
        assert time.item() == pytest.approx((places.all(2) & real).sum().item() / FRAMES.sum().item())
        assert time.ndim == freq.ndim == 0
        only_bins, _, freq = masked(Features(torch.ones(6, 210, 40), torch.full((6,), 210)), time_masks=0)
        assert freq.item() == pytest.approx(only_bins[:, 0].float().mean().item())


def test_every_utterance_has_its_own_masks():
    torch.manual_seed(0)
    places, _, _ = masked(Features(torch.ones(8, 100, 40), torch.full((8,), 100)))
    assert len({tuple(row.flatten().tolist()) for row in places}) == 8


def test_evaluation_and_0_masks_change_nothing(features):
    for augment in (
        SpecAugment(SpecAugmentConfig()).eval(),
        SpecAugment(SpecAugmentConfig(time_masks=0, freq_masks=0)),
    ):
        found, counts = augment(features)
        assert torch.equal(found.values, features.values)
        assert counts.time_share == counts.freq_share == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_type_of_the_features_is_kept(dtype):
    found, _ = SpecAugment(SpecAugmentConfig())(Features(torch.ones(2, 50, 40, dtype=dtype), torch.tensor([50, 20])))
    assert found.values.dtype == dtype


def test_no_utterances_and_no_frames():
    found, counts = SpecAugment(SpecAugmentConfig())(Features(torch.ones(2, 0, 40), torch.tensor([0, 0])))
    assert found.values.shape == (2, 0, 40)
    assert counts.time_share == 0


def test_the_configuration_is_checked():
    cfg = parse(AugmentConfig, {"speeds": [0.9, 1.0, 1.1], "spec": {"time_masks": 0}})
    assert cfg.speeds == (0.9, 1.0, 1.1)
    assert parse(AugmentConfig, plain(cfg)) == cfg
    for tree, message in [
        ({"speeds": []}, "speeds: .*at least 1"),
        ({"speeds": [1.0, 0.0]}, r"speeds\.1: "),
        ({"join_share": 1.5}, "join_share: .*less than or equal to 1"),
        ({"spec": {"time_mask": 1}}, r"spec\.time_mask: unknown key.* did you mean 'time_masks'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            parse(AugmentConfig, tree)
