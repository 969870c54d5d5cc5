"""The blocked scan is torch's own, whatever the values."""

import pytest
import torch

from hybrid_asr.decoding.logcumsumexp import BLOCK, logcumsumexp


def steep(per_frame: float, time: int = 300) -> torch.Tensor:
    noise = torch.randn(7, time, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return noise + per_frame * torch.arange(time)


@pytest.mark.parametrize("per_frame", [0.0, 1.0, 20.0, -20.0, 50.0, 300.0, -300.0])
@pytest.mark.parametrize("time", [1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK, 300])
def test_it_is_the_sum_one_by_one(per_frame: float, time: int):
    values = steep(per_frame, time)
    torch.testing.assert_close(logcumsumexp(values), values.logcumsumexp(1), rtol=1e-13, atol=1e-11)


def test_the_impossible_adds_nothing():
    values = steep(3.0)
    values[0, :100] = -torch.inf
    values[1] = -torch.inf
    values[2, 40:90] = -torch.inf
    values[3, 299:] = -torch.inf
    found = logcumsumexp(values)
    assert (found[0, :100] == -torch.inf).all() and (found[1] == -torch.inf).all()
    torch.testing.assert_close(found, values.logcumsumexp(1), rtol=1e-13, atol=1e-11)
