"""The engine equals the search as the papers write it, with a Transformer decoder at a size of some use."""

import pytest
import torch

from hybrid_asr.decoding.joint import JointSearch, Part, SearchConfig
from hybrid_asr.decoding.scorer import AttentionScorer, CtcPrefixScorer
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig
from tests.decoding.plain import plain_search
from tests.decoding.toys import random_log_probs

VOCAB_SIZE, EOS = 15, 14


@torch.no_grad()
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_engine_equals_the_search_of_the_papers(weight: float):
    torch.manual_seed(3)
    cfg = TransformerDecoderConfig(dim=16, layers=2, heads=2, feed_forward=32)
    decoder = TransformerDecoder(cfg, 8, VOCAB_SIZE, EOS).double().eval()
    decoder.output.weight *= 4.0
    lengths, bounds, beam = [30, 12, 21], [16, 12, 9], 4
    encoded = Encoded(random_log_probs(3, 30, 8, seed=1), torch.tensor(lengths))
    log_probs = random_log_probs(3, 30, VOCAB_SIZE, seed=2, sharp=3.0)
    settings = SearchConfig(beam=beam, ctc_weight=weight, nbest=5)
    both = [
        Part("ctc", CtcPrefixScorer(lambda _: log_probs, blank=0, eos=EOS), weight),
        Part("attention", AttentionScorer(decoder), 1 - weight),
    ]
    search = JointSearch([part for part in both if part.weight], settings, blank=0, sos=EOS, eos=EOS)
    found = search(encoded, torch.tensor(bounds))
    for row, (frames, bound) in enumerate(zip(lengths, bounds, strict=True)):
        one = Encoded(encoded.states[row : row + 1, :frames], encoded.frames[row : row + 1])
        plain = plain_search(
            one, log_probs[row, :frames], decoder, beam=beam, ctc_weight=weight, bound=bound, sos=EOS, eos=EOS
        )[:5]
        assert [hyp.labels for hyp in found[row]] == [labels for labels, _ in plain]
        assert [hyp.score for hyp in found[row]] == pytest.approx([score for _, score in plain], abs=1e-9)


@torch.no_grad()
def test_preselected_labels_are_the_attention_decoders_best():
    """With as many candidates as units nothing changes; with two, each label is one of the two best, or the end."""
    torch.manual_seed(5)
    cfg = TransformerDecoderConfig(dim=16, layers=1, heads=2, feed_forward=32)
    decoder = TransformerDecoder(cfg, 8, VOCAB_SIZE, EOS).double().eval()
    encoded, log_probs = (
        Encoded(random_log_probs(2, 20, 8, seed=1), torch.tensor([20, 20])),
        random_log_probs(2, 20, VOCAB_SIZE, seed=2),
    )

    def run(candidates: int) -> list:
        settings = SearchConfig(beam=3, ctc_weight=0.9, nbest=3, candidates=candidates)
        parts = [
            Part("ctc", CtcPrefixScorer(lambda _: log_probs, blank=0, eos=EOS), 0.9),
            Part("attention", AttentionScorer(decoder), 0.1),
        ]
        return JointSearch(parts, settings, blank=0, sos=EOS, eos=EOS)(encoded, torch.tensor([8, 8]))

    assert run(VOCAB_SIZE) == run(0) == run(VOCAB_SIZE + 5)
    narrow = run(2)
    assert narrow != run(0)
    for row, nbest in enumerate(narrow):
        one = Encoded(encoded.states[row : row + 1], encoded.frames[row : row + 1])
        for hyp in nbest:
            best = decoder(one, torch.tensor([hyp.labels]))[0].topk(2).indices.tolist()
            assert all(label in two for label, two in zip(hyp.labels, best, strict=False))
