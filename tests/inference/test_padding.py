"""Waveforms in one tensor."""

import numpy as np

from hybrid_asr.inference.padding import pad_audio


def test_padding_is_zeros_to_the_right():
    audio, lengths = pad_audio([np.ones(3, np.float32), np.ones(5, np.float32)])
    assert lengths.tolist() == [3, 5]
    assert audio.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
