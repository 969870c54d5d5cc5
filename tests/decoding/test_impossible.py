"""Posteriors of zero: what they allow is found with its exact score, and where they allow nothing the score is -inf."""

import contextlib
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid_asr.decoding import ctc_prefix
from hybrid_asr.decoding.ctc_prefix_beam import CtcPrefixBeamConfig, ctc_prefix_beam
from hybrid_asr.decoding.hypothesis import Hypothesis, Nbest
from hybrid_asr.decoding.joint import JointSearch, Part, SearchConfig
from hybrid_asr.decoding.lexicon_search import LexiconConfig, LexiconSearch
from hybrid_asr.decoding.rescoring import ctc_scores, rescore
from hybrid_asr.decoding.scorer import AttentionScorer, CtcPrefixScorer
from hybrid_asr.decoding.trie import build_trie
from hybrid_asr.models.encoded import Encoded
from tests.decoding.plain import Prefix, _extensions
from tests.decoding.toys import RecurrentDecoder, labelings, log, random_log_probs
from tests.device_work import device_branches

BLANK, EOS, VOCAB_SIZE = 0, 3, 4
LENGTHS = [5, 3, 4, 5, 2]
SEEDS = range(6)
NOTHING = Hypothesis((), -math.inf, {"ctc": -math.inf}, "cut")


def with_holes(seed: int, lengths: list[int] = LENGTHS) -> Tensor:
    """Posteriors of a batch in which half of the labels are impossible; of the third utterance a whole frame is."""
    log_probs = random_log_probs(len(lengths), max(lengths), VOCAB_SIZE, seed=seed, sharp=2.0)
    log_probs[torch.rand(log_probs.shape, generator=torch.Generator().manual_seed(seed)) < 0.5] = -torch.inf
    log_probs[..., EOS] = -torch.inf
    log_probs[2, 1] = -torch.inf
    return log_probs


def encoded_of(log_probs: Tensor, lengths: list[int] = LENGTHS) -> Encoded:
    states = random_log_probs(len(lengths), log_probs.shape[1], 4, seed=1)
    return Encoded(states, torch.tensor(lengths))


def exact(log_probs: Tensor) -> list[tuple[tuple[int, ...], float]]:
    """All labelings of one utterance that are possible, the best first."""
    found = [(labels, log(probability)) for labels, probability in labelings(log_probs).items() if probability > 0]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def joint(log_probs: Tensor, weight: float, *, beam: int = 60, lengths: list[int] = LENGTHS) -> list[Nbest]:
    """The n-best by a beam that holds everything."""
    decoder = RecurrentDecoder(4, VOCAB_SIZE, seed=0)
    parts = [Part("ctc", CtcPrefixScorer(lambda _: log_probs, blank=BLANK, eos=EOS), weight)]
    if weight < 1:
        parts.append(Part("attention", AttentionScorer(decoder), 1 - weight))
    search = JointSearch(parts, SearchConfig(beam=beam, ctc_weight=weight, nbest=beam), blank=BLANK, sos=EOS, eos=EOS)
    return search(encoded_of(log_probs, lengths), torch.tensor(lengths))


def assert_exhaustive(found: Nbest, log_probs: Tensor, *, atol: float = 1e-9) -> None:
    """The n-best is all that is possible, with the summed probability of its alignments; or nothing, with -inf."""
    wanted = exact(log_probs.double())
    if not wanted:
        assert found == [NOTHING]
        return
    assert {hyp.labels for hyp in found} == {labels for labels, _ in wanted}
    scores = dict(wanted)
    assert [hyp.parts["ctc"] for hyp in found] == pytest.approx([scores[hyp.labels] for hyp in found], abs=atol)


@pytest.mark.parametrize("branches", [contextlib.nullcontext, device_branches])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_the_joint_search_finds_all_that_is_possible_and_nothing_else(branches, dtype, atol):
    with branches():
        for seed in SEEDS:
            log_probs = with_holes(seed).to(dtype)
            for row, found in enumerate(joint(log_probs, 1.0)):
                assert_exhaustive(found, log_probs[row, : LENGTHS[row]], atol=atol)


def test_with_attention_too():
    for seed in SEEDS:
        log_probs = with_holes(seed)
        for row, found in enumerate(joint(log_probs, 0.3)):
            if exact(log_probs[row, : LENGTHS[row]]):
                assert_exhaustive(found, log_probs[row, : LENGTHS[row]])
            else:
                impossible = dict.fromkeys(("ctc", "attention"), -math.inf)
                assert found == [Hypothesis((), -math.inf, impossible, "cut")]


def test_prefix_beam_search_finds_all_that_is_possible_and_nothing_else():
    cfg = CtcPrefixBeamConfig(beam=60, candidates=0, nbest=60)
    for seed in SEEDS:
        log_probs = with_holes(seed)
        for row, found in enumerate(ctc_prefix_beam(log_probs, torch.tensor(LENGTHS), cfg, blank=BLANK)):
            assert_exhaustive(found, log_probs[row, : LENGTHS[row]])


def test_rescoring_gives_what_is_impossible_no_score():
    cfg = CtcPrefixBeamConfig(beam=60, candidates=0, nbest=60)
    for seed in SEEDS:
        log_probs = with_holes(seed)
        encoded = encoded_of(log_probs)
        nbests = ctc_prefix_beam(log_probs, encoded.frames, cfg, blank=BLANK)
        decoder = RescoredDecoder(4, VOCAB_SIZE, seed=0)
        ranked = rescore(nbests, encoded, log_probs, decoder, ctc_weight=0.3, blank=BLANK, eos=EOS)
        for row, found in enumerate(ranked):
            frames = log_probs[row, : LENGTHS[row]]
            whole = labelings(frames)
            given = ctc_scores(frames, list(whole), blank=BLANK)
            assert given == pytest.approx([log(probability) for probability in whole.values()], abs=1e-9)
            if not exact(frames):
                assert [(hyp.labels, hyp.score) for hyp in found] == [((), -math.inf)]


class RescoredDecoder(RecurrentDecoder):
    """The toy decoder, teacher-forced as the real ones are: it prepends sos by itself."""

    def forward(self, encoded: Encoded, labels: Tensor) -> Tensor:
        beams = len(labels) // len(encoded.frames)
        inputs = torch.cat([torch.full((len(labels), 1), EOS), labels], 1)
        state, outputs = self.start(encoded, beams), []
        for last in inputs.T:
            log_probs, state, _ = self.step(state, last)
            outputs.append(log_probs)
        return torch.stack(outputs, 1)


def test_the_lexicon_search_finds_the_words_that_are_possible_and_nothing_else():
    spellings = {"a": [(1,)], "b": [(2,)]}
    trie = build_trie(spellings, blank=BLANK, border=None, ngram=None)
    search = LexiconSearch(trie, LexiconConfig(beam=10_000, threshold=math.inf, nbest=10_000), blank=BLANK)
    for seed in SEEDS:
        log_probs = with_holes(seed)
        for row, found in enumerate(search(log_probs, torch.tensor(LENGTHS))):
            wanted = exact(log_probs[row, : LENGTHS[row]])
            assert [hyp.score for hyp in found] == pytest.approx([score for _, score in wanted] or [-math.inf])
            assert {hyp.labels for hyp in found} == ({labels for labels, _ in wanted} or {()})


def test_barriers_are_exact_frame_by_frame():
    """Forward variables and increments equal those of the plain recursion, over many frames with holes in them."""
    generator = torch.Generator().manual_seed(0)
    log_probs = random_log_probs(150, 5, seed=3, sharp=2.0)
    log_probs[torch.rand(log_probs.shape, generator=generator) < 0.15] = -torch.inf
    frames = log_probs.numpy()
    silence = np.concatenate([[0.0], frames[:, BLANK].cumsum()])
    hyp = Prefix((), 0.0, 0.0, 0.0, np.full(len(silence), -np.inf), silence)
    state = ctc_prefix.start(log_probs[None], torch.tensor([150]), 1, blank=BLANK)
    for label in [1, 1, 2, 3, 3, 3, 4, 1, 2, 2]:
        psi, in_label, in_blank = _extensions(frames, hyp, BLANK)
        ours = ctc_prefix.increments(state)[0] + state.prefix
        torch.testing.assert_close(ours[1:], torch.from_numpy(psi)[1:], rtol=0, atol=1e-8)
        state = ctc_prefix.advance(state, torch.tensor([0]), torch.tensor([label]))
        total = np.logaddexp(in_label[:, label], in_blank[:, label])
        torch.testing.assert_close(state.total[0], torch.from_numpy(total), rtol=0, atol=1e-8)
        torch.testing.assert_close(state.in_blank[0], torch.from_numpy(in_blank[:, label]), rtol=0, atol=1e-8)
        hyp = Prefix((*hyp.labels, label), 0.0, 0.0, 0.0, in_label[:, label], in_blank[:, label])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("floor", [-310.0, -400.0, -1e4, -3e38])
def test_what_is_all_but_impossible_is_still_possible(floor: float, dtype: torch.dtype):
    """It counts as e^-300, beside holes and without them."""
    certain = torch.full((3, VOCAB_SIZE), -torch.inf, dtype=dtype)
    certain[[0, 1, 2], [1, 0, 2]] = torch.tensor([0.0, 0.0, floor], dtype=dtype)  # (1, 2), at a frame of e^floor
    alone = torch.full((1, VOCAB_SIZE), floor, dtype=dtype)
    for log_probs, labels in ((certain, (1, 2)), (alone, (1,))):
        time = len(log_probs)
        [found] = joint(log_probs[None], 1.0, lengths=[time], beam=20)
        scores = {hyp.labels: hyp.score for hyp in found}
        assert scores[labels] == pytest.approx(ctc_prefix.FLOOR, abs=1e-3)
        assert set(scores) == ({(1, 2)} if time == 3 else {(), (1,), (2,)})


def test_a_label_that_only_the_unlikely_leads_to_is_still_possible():
    """In float32 the product of what comes before and of the label is 0; where something is impossible, it counts."""
    log_probs = torch.full((3, VOCAB_SIZE), -torch.inf)
    log_probs[0, :2] = torch.tensor([-200.0, 0.0])
    log_probs[1, :2] = torch.tensor([-200.0, 0.0])
    log_probs[2, 2] = 0.0  # after two blanks or labels; what ψ of the empty labeling sees is e^-400
    [found] = joint(log_probs[None], 1.0, lengths=[3], beam=20)
    assert {hyp.labels for hyp in found} == {(1, 2), (2,)}
    assert found[0].labels == (1, 2) and found[0].score == pytest.approx(0.0, abs=1e-5)


def test_holes_of_a_neighbor_change_nothing():
    log_probs = random_log_probs(2, 30, VOCAB_SIZE, seed=5, sharp=3.0).float()
    log_probs[..., EOS] -= 50.0
    holed = log_probs.clone()
    holed[1, 3:20, 2] = -torch.inf
    (whole, _), (beside, _) = (joint(given, 1.0, lengths=[30, 30], beam=6) for given in (log_probs, holed))
    assert whole == beside
