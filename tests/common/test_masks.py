"""The one mask convention."""

import torch

from hybrid_asr.common.masks import valid_mask


def test_true_marks_real_positions_and_padding_is_on_the_right():
    lengths = [0, 1, 3, 5]
    mask = valid_mask(torch.tensor(lengths), 5)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[place < length for place in range(5)] for length in lengths]


def test_the_size_is_the_tensors_and_may_differ_from_the_longest_length():
    assert valid_mask(torch.tensor([2, 1]), 4).tolist() == [[True, True, False, False], [True, False, False, False]]
    assert valid_mask(torch.tensor([2, 1]), 1).tolist() == [[True], [True]]
    assert valid_mask(torch.tensor([2, 1]), 0).shape == (2, 0)
