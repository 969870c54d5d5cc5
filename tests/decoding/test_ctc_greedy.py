"""CTC greedy decoding equals the collapsed argmax of every utterance alone."""

import pytest
import torch

from hybrid_asr.decoding.ctc_greedy import best_path, ctc_greedy
from hybrid_asr.decoding.hypothesis import DecodeError
from tests.decoding.toys import collapse, random_log_probs


def test_equals_the_collapsed_argmax_whatever_stands_in_the_padding():
    log_probs, frames = random_log_probs(6, 40, 4, seed=0), torch.tensor([40, 1, 17, 33, 2, 40])
    for row, length in enumerate(frames):
        log_probs[row, length:] = torch.nan
    path = best_path(log_probs, frames, blank=0)
    for row, hypothesis in enumerate(ctc_greedy(path)):
        real = log_probs[row, : frames[row]]
        assert hypothesis.labels == collapse(tuple(real.argmax(1).tolist()))
        assert hypothesis.score == pytest.approx(float(real.amax(1).sum()), abs=1e-9)
        assert hypothesis.parts == {"ctc": hypothesis.score}
        assert path.lengths()[row] == len(hypothesis.labels)


def test_repeats_across_a_blank_stay_and_other_blanks_go():
    labels = torch.tensor([[3, 2, 2, 3, 2, 1, 1, 3, 3]])
    log_probs = torch.nn.functional.one_hot(labels, 4).double().log_softmax(-1)
    [hypothesis] = ctc_greedy(best_path(log_probs, torch.tensor([9]), blank=3))
    assert hypothesis.labels == (2, 2, 1)


def test_what_may_never_stand_in_a_text_is_passed_over():
    log_probs = torch.tensor([[[0.1, 0.2, 0.7], [0.3, 0.1, 0.6]]]).log()
    [hypothesis] = ctc_greedy(best_path(log_probs, torch.tensor([2]), blank=0, excluded=(2, 2)))
    assert hypothesis.labels == (1,)
    assert hypothesis.score == pytest.approx(float(torch.tensor([0.2, 0.3]).log().sum()))


def test_equal_posteriors_give_the_smallest_label():
    [hypothesis] = ctc_greedy(best_path(torch.zeros(1, 3, 5), torch.tensor([3]), blank=4))
    assert hypothesis.labels == (0,)


def test_nan_names_the_utterance():
    log_probs = random_log_probs(3, 5, 4, seed=0)
    log_probs[2, 1, 1] = torch.nan
    with pytest.raises(DecodeError, match=r"utterances \[2\] of the batch"):
        ctc_greedy(best_path(log_probs, torch.tensor([5, 5, 5]), blank=0))
