"""Rescoring gives each hypothesis its exact score under both parts, whatever else is in the batch."""

import math

import pytest
import torch

from hybrid_asr.decoding.ctc_prefix_beam import CtcPrefixBeamConfig, ctc_prefix_beam
from hybrid_asr.decoding.hypothesis import DecodeError, Hypothesis, Nbest
from hybrid_asr.decoding.rescoring import attention_scores, ctc_scores, rerank, rescore
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig
from tests.decoding.toys import labelings, log, random_log_probs

VOCAB_SIZE, SOS, WIDTH = 6, 5, 8


@pytest.fixture
def decoder() -> TransformerDecoder:
    torch.manual_seed(3)
    cfg = TransformerDecoderConfig(dim=8, layers=2, heads=2, feed_forward=16)
    decoder = TransformerDecoder(cfg, WIDTH, VOCAB_SIZE, SOS).double().eval()
    decoder.output.weight.data *= 5
    return decoder


def utterances(*frames: int) -> tuple[Encoded, torch.Tensor]:
    states = torch.randn(len(frames), max(frames), WIDTH, generator=torch.Generator().manual_seed(0)).double()
    return Encoded(states, torch.tensor(frames)), random_log_probs(
        len(frames), max(frames), VOCAB_SIZE, seed=1, sharp=2.0
    )


def nbests(log_probs: torch.Tensor, frames: torch.Tensor, beam: int) -> list[Nbest]:
    return ctc_prefix_beam(log_probs, frames, CtcPrefixBeamConfig(beam=beam, nbest=beam), blank=0, excluded=(SOS,))


@torch.no_grad()
def step_by_step(decoder: TransformerDecoder, encoded: Encoded, labels: tuple[int, ...]) -> float:
    state, total = decoder.start(encoded, 1), 0.0
    for last, label in zip([SOS, *labels], [*labels, SOS], strict=True):
        log_probs, state, _ = decoder.step(state, torch.tensor([last]))
        total += float(log_probs[0, label])
    return total


def test_the_attention_part_is_that_of_single_steps(decoder: TransformerDecoder, monkeypatch):
    encoded, log_probs = utterances(9, 4, 7)
    labels = [[one.labels for one in nbest] for nbest in nbests(log_probs, encoded.frames, 5)]
    labels[1] = labels[1][:2]
    for together in (2**25, 1):
        monkeypatch.setattr("hybrid_asr.decoding.rescoring.TOGETHER", together)
        found = attention_scores(decoder, encoded, labels, eos=SOS, vocab_size=VOCAB_SIZE)
        for row, (some, scores) in enumerate(zip(labels, found, strict=True)):
            alone = Encoded(encoded.states[row : row + 1, : encoded.frames[row]], encoded.frames[row : row + 1])
            assert scores == pytest.approx([step_by_step(decoder, alone, one) for one in some], abs=1e-9)


def test_the_ctc_part_is_exact(monkeypatch):
    log_probs = random_log_probs(5, 4, seed=2)
    log_probs[2, 3] = -torch.inf
    exact = labelings(log_probs)
    asked = [(), (1,), (1, 1), (2, 1, 3), (3, 3, 3), (1, 2, 1, 2, 1), (1, 1, 1, 1), (3, 2, 3, 1, 2)]
    for together in (2**25, 1):
        monkeypatch.setattr("hybrid_asr.decoding.rescoring.TOGETHER", together)
        found = ctc_scores(log_probs, asked, blank=0)
        assert found == pytest.approx([log(exact.get(one, 0.0)) for one in asked], abs=1e-9)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_scores_are_the_weighted_sum_and_the_order_is_theirs(decoder: TransformerDecoder, weight: float):
    encoded, log_probs = utterances(9, 4, 7)
    found = nbests(log_probs, encoded.frames, 6)
    ranked = rescore(found, encoded, log_probs, decoder, ctc_weight=weight, blank=0, eos=SOS)
    for before, after in zip(found, ranked, strict=True):
        assert {one.labels for one in before} == {one.labels for one in after}
        scores = [weight * one.parts["ctc"] + (1 - weight) * one.parts["attention"] for one in after]
        assert [one.score for one in after] == pytest.approx(scores, abs=1e-12)
        assert scores == sorted(scores, reverse=True)
        seen = {one.labels: one.score for one in before}
        assert all(one.parts["ctc"] >= seen[one.labels] - 1e-9 for one in after), "the beam sees some alignments only"


def test_another_weight_costs_nothing_but_the_order(decoder: TransformerDecoder):
    encoded, log_probs = utterances(9, 4, 7)
    found = nbests(log_probs, encoded.frames, 6)
    first = rescore(found, encoded, log_probs, decoder, ctc_weight=0.0, blank=0, eos=SOS)
    for weight in (0.0, 0.5, 1.0):
        again = rescore(found, encoded, log_probs, decoder, ctc_weight=weight, blank=0, eos=SOS)
        assert [rerank(nbest, ctc_weight=weight) for nbest in first] == again
    assert [nbest[0].labels for nbest in first] != [nbest[0].labels for nbest in again]


def test_ties_go_by_labels_and_impossible_parts_without_weight_do_no_harm():
    parts = {"ctc": -math.inf, "attention": -1.0}
    nbest = [Hypothesis(labels, 0.0, parts, "eos") for labels in ((2,), (1, 1), (1,))]
    ranked = rerank(nbest, ctc_weight=0.0)
    assert [(one.labels, one.score) for one in ranked] == [((1,), -1.0), ((1, 1), -1.0), ((2,), -1.0)]
    assert all(one.score == -math.inf for one in rerank(nbest, ctc_weight=0.5))
    with pytest.raises(DecodeError, match="no score of 'attention'"):
        rerank([nbest[0]._replace(parts={"ctc": 0.0})], ctc_weight=0.3)


def test_neighbors_change_nothing(decoder: TransformerDecoder):
    encoded, log_probs = utterances(12, 3, 7)
    settings = {"ctc_weight": 0.3, "blank": 0, "eos": SOS}
    together = rescore(nbests(log_probs, encoded.frames, 6), encoded, log_probs, decoder, **settings)
    for row, frames in enumerate(encoded.frames.tolist()):
        one = Encoded(encoded.states[row : row + 1, :frames], encoded.frames[row : row + 1])
        probs = log_probs[row : row + 1, :frames]
        [alone] = rescore(nbests(probs, one.frames, 6), one, probs, decoder, **settings)
        assert [found.labels for found in alone] == [found.labels for found in together[row]]
        assert [found.score for found in alone] == pytest.approx([found.score for found in together[row]], abs=1e-9)


def test_nan_of_the_decoder_names_the_utterances(decoder: TransformerDecoder):
    encoded, log_probs = utterances(9, 4, 7)
    encoded.states[2, 3] = torch.nan
    with pytest.raises(DecodeError, match=r"utterances \[2\]"):
        rescore(nbests(log_probs, encoded.frames, 6), encoded, log_probs, decoder, ctc_weight=0.3, blank=0, eos=SOS)
