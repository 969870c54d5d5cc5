"""The shapes in annotations are checked while the tests run: jaxtyping's hook is on."""

import jaxtyping
import pytest
import torch

from hybrid_asr.common.masks import valid_mask


def test_a_wrong_shape_or_type_is_refused():
    assert valid_mask(torch.tensor([1, 2]), 2).tolist() == [[True, False], [True, True]]
    for wrong in (torch.tensor([[1, 2]]), torch.tensor([1.0, 2.0])):
        with pytest.raises(jaxtyping.TypeCheckError):
            valid_mask(wrong, 2)
