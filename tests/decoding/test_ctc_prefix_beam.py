"""CTC prefix beam search equals the textbook's loops, and with a full beam the sum over all alignments."""

import math

import pytest
import torch

from hybrid_asr.decoding.ctc_prefix_beam import CtcPrefixBeamConfig, ctc_prefix_beam
from hybrid_asr.decoding.hypothesis import DecodeError, Nbest
from tests.decoding.toys import labelings, log, random_log_probs
from tools.benchmarks.plain_ctc_prefix_beam import plain_ctc_prefix_beam


def search(
    log_probs: torch.Tensor, frames: list[int], *, excluded: tuple[int, ...] = (), **settings: int
) -> list[Nbest]:
    cfg = CtcPrefixBeamConfig(**{"nbest": 1000} | settings)
    return ctc_prefix_beam(log_probs, torch.tensor(frames), cfg, blank=0, excluded=excluded)


def peaky(batch: int, time: int, vocab: int, *, seed: int) -> torch.Tensor:
    """Mostly blank, with rivals where labels stand, some of them repeated."""
    logits = torch.randn(batch, time, vocab, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits[..., 0] += 4.0
    logits[:, ::3] = logits[:, ::3].roll(1, 2) * 3.0
    return logits.log_softmax(-1)


@pytest.mark.parametrize(
    ("beam", "candidates"), [(1, 1), (1, 0), (3, 2), (5, 0), (10, 10), (30, 4)], ids=lambda number: str(number)
)
def test_equals_the_plain_loops(beam: int, candidates: int):
    for seed, log_probs in ((0, random_log_probs(3, 40, 12, seed=1, sharp=2.0)), (1, peaky(3, 60, 12, seed=2))):
        frames, excluded = [log_probs.shape[1], 7, 23 + seed], (11,)
        found = search(log_probs, frames, beam=beam, candidates=candidates, excluded=excluded)
        for row, nbest in enumerate(found):
            plain = plain_ctc_prefix_beam(
                log_probs[row, : frames[row]], beam=beam, candidates=candidates, excluded=excluded
            )
            assert [one.labels for one in nbest] == [labels for labels, _ in plain]
            assert [one.score for one in nbest] == pytest.approx([score for _, score in plain], abs=1e-9)
            assert all(one.parts == {"ctc": one.score} and one.ended == "eos" for one in nbest)


def test_a_full_beam_gives_the_probability_of_every_labeling():
    log_probs = random_log_probs(3, 5, 3, seed=3)
    frames = [5, 3, 1]
    for row, nbest in enumerate(search(log_probs, frames, beam=80, candidates=0)):
        exact = {labels: p for labels, p in labelings(log_probs[row, : frames[row]]).items() if p > 0}
        assert {one.labels for one in nbest} == set(exact)
        assert [one.score for one in nbest] == pytest.approx([log(exact[one.labels]) for one in nbest], abs=1e-9)
        assert sum(math.exp(one.score) for one in nbest) == pytest.approx(1.0, abs=1e-9)


def test_a_prefix_that_leaves_the_beam_and_comes_back_is_one_with_its_children():
    """Its child stays in the beam meanwhile; opened anew, it must be known as the child's parent."""
    often = 0
    for seed in range(30):
        log_probs = random_log_probs(1, 12, 4, seed=seed, sharp=1.5)
        [nbest] = search(log_probs, [12], beam=4, candidates=0)
        assert len({one.labels for one in nbest}) == len(nbest) == 4
        plain = plain_ctc_prefix_beam(log_probs[0], beam=4, candidates=0)
        assert [one.score for one in nbest] == pytest.approx([score for _, score in plain], abs=1e-9)
        often += sum(one.labels[:-1] in {other.labels for other in nbest} for one in nbest if one.labels)
    assert often > 20


def test_neighbors_and_what_stands_in_the_padding_change_nothing():
    log_probs, frames = peaky(5, 50, 9, seed=4).float(), [50, 1, 20, 33, 8]
    for row, length in enumerate(frames):
        log_probs[row, length:] = torch.nan if row % 2 else 0.0
    together = search(log_probs, frames, beam=6, candidates=5)
    for row, length in enumerate(frames):
        [alone] = search(log_probs[row : row + 1, :length], [length], beam=6, candidates=5)
        assert [one.labels for one in alone] == [one.labels for one in together[row]]
        assert [one.score for one in alone] == pytest.approx([one.score for one in together[row]], abs=1e-12)


def test_equal_scores_are_in_the_order_of_labels():
    [nbest] = search(torch.full((1, 2, 4), 0.25).log(), [2], beam=50, candidates=0)
    assert nbest == sorted(nbest, key=lambda one: (-round(one.score, 9), one.labels))
    assert len(nbest) == 1 + 3 + 6
    [few] = search(torch.full((1, 1, 6), 1 / 6).log(), [1], beam=50, candidates=2)
    assert [one.labels for one in few] == [(), (1,), (2,)], "of equal labels the smaller ones are candidates"


def test_zeros_are_never_not_nan():
    log_probs = random_log_probs(3, 6, 4, seed=5)
    log_probs[0, 2, 1:] = -torch.inf
    log_probs[1, 3] = -torch.inf
    log_probs[2, :, 0] = -torch.inf
    first, second, third = search(log_probs, [6, 6, 6], beam=500, candidates=0)
    for nbest, row in ((first, 0), (third, 2)):
        exact = {labels: p for labels, p in labelings(log_probs[row]).items() if p > 0}
        assert {one.labels: one.score for one in nbest} == pytest.approx({g: log(p) for g, p in exact.items()})
    assert [(one.labels, one.score, one.ended) for one in second] == [((), -math.inf, "cut")]


def test_what_is_impossible_so_far_is_not_in_the_beam():
    """1·1 is impossible after two frames, for there was no blank between; in the third 2 alone may open hypotheses."""
    log_probs = torch.tensor([[0.3, 0.6, 0.1], [0.3, 0.6, 0.1], [0.3, 0.1, 0.6]]).log()
    for beam in range(4, 40):  # which of the impossible ones fill a beam is not told
        [nbest] = search(log_probs[None], [3], beam=beam, candidates=1)
        assert {one.labels for one in nbest} == {(), (1,), (2,), (1, 2)}
        assert dict(plain_ctc_prefix_beam(log_probs, beam=beam, candidates=1)).keys() == {(), (1,), (2,), (1, 2)}


def test_sure_posteriors_do_not_underflow():
    log_probs = torch.full((1, 400, 5), -60.0, dtype=torch.float64)
    said = torch.arange(400) % 5
    log_probs[0, torch.arange(400), said] = 0.0
    [[best, *_]] = search(log_probs * 3, [400], beam=10, candidates=0)
    assert best.labels == tuple(label for label in said.tolist() if label)
    assert best.score == pytest.approx(0.0, abs=1e-9)


def test_nan_names_the_utterances():
    log_probs = random_log_probs(3, 6, 4, seed=6)
    log_probs[1, 2, 3] = torch.nan
    log_probs[2, 5] = torch.nan
    with pytest.raises(DecodeError, match=r"utterances \[1\] of the batch: NaN"):
        search(log_probs, [6, 6, 5], beam=3)
