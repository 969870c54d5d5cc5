"""Scorers: a cache that is reordered and compacted equals running the decoder from scratch on every hypothesis."""

import pytest
import torch
from torch import Tensor

from hybrid_asr.decoding.scorer import AttentionScorer, CtcPrefixScorer, Scorer
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import TransformerDecoder, TransformerDecoderConfig
from tests.decoding.toys import espnet_decoder, oracle, pick, random_log_probs

VOCAB_SIZE, SOS, BEAMS = 12, 11, 3


def transformer(dtype: torch.dtype) -> TransformerDecoder:
    torch.manual_seed(0)
    cfg = TransformerDecoderConfig(dim=16, layers=2, heads=4, feed_forward=32)
    return TransformerDecoder(cfg, 10, VOCAB_SIZE, SOS).eval().to(dtype)


def from_scratch(decoder: TransformerDecoder, encoded: Encoded, owner: int, labels: list[int]) -> Tensor:
    """log p of the next label after `labels` of one utterance, without its neighbors and their padding."""
    frames = encoded.frames[owner : owner + 1]
    one = Encoded(encoded.states[owner : owner + 1, : int(frames)], frames)
    return decoder(one, torch.tensor([labels], dtype=torch.int64))[0, -1].log_softmax(-1)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_reordered_cache_equals_running_from_scratch(dtype: torch.dtype, atol: float):
    decoder, generator = transformer(dtype), torch.Generator().manual_seed(1)
    encoded = Encoded(torch.randn(4, 9, 10, generator=generator, dtype=dtype), torch.tensor([9, 1, 6, 4]))
    scorer = AttentionScorer(decoder)
    owners, texts = list(range(4)), [[[] for _ in range(BEAMS)] for _ in range(4)]
    state, last = scorer.start(encoded, BEAMS), torch.full((4 * BEAMS,), SOS)
    for step in range(6):
        increments, state = scorer.score(state, last)
        assert increments.dtype == dtype
        for row, text in enumerate(text for of_one in texts for text in of_one):
            fresh = from_scratch(decoder, encoded, owners[row // BEAMS], text).double()
            torch.testing.assert_close(increments[row].double(), fresh, rtol=0, atol=atol)
        if step in (1, 3):  # utterances leave, between others and at the end
            live = torch.tensor([0, 2, 3] if step == 1 else [1])
            state = scorer.keep(state, live)
            owners, texts = [owners[n] for n in live], [texts[n] for n in live]
        parents = torch.randint(BEAMS, (len(texts), BEAMS), generator=generator)
        labels = torch.randint(1, VOCAB_SIZE, (len(texts), BEAMS), generator=generator)
        rows = (parents + torch.arange(len(texts))[:, None] * BEAMS).flatten()
        texts = [
            [[*texts[n][parent], label] for parent, label in zip(*pair, strict=True)]
            for n, pair in enumerate(zip(parents.tolist(), labels.tolist(), strict=True))
        ]
        last = labels.flatten()
        state = scorer.advance(state, rows, last)


def test_no_increment_of_ctc_is_positive_and_all_that_can_follow_sums_to_one():
    log_probs = random_log_probs(2, 30, VOCAB_SIZE, seed=4, sharp=2.0)
    encoded = Encoded(torch.zeros(2, 30, 1), torch.tensor([30, 11]))
    scorer = CtcPrefixScorer(lambda _: log_probs, blank=0, eos=SOS)
    log_probs[:, :, SOS] = -torch.inf  # a trained model never emits the end as a label
    log_probs = log_probs.log_softmax(-1)
    state, last = scorer.start(encoded, 2), torch.full((4,), SOS)
    for _ in range(8):
        increments, state = scorer.score(state, last)
        assert increments.max() < 1e-9
        torch.testing.assert_close(increments.logsumexp(1), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-9)
        last = increments.topk(2).indices[:, 1]
        last = torch.where(last == SOS, 1, last)
        state = scorer.advance(state, torch.arange(4), last)


def test_ctc_gives_nothing_to_what_follows_the_impossible():
    log_probs = random_log_probs(1, 2, 4, seed=0)
    scorer = CtcPrefixScorer(lambda _: log_probs, blank=0, eos=3)
    state = scorer.start(Encoded(torch.zeros(1, 2, 1), torch.tensor([2])), 1)
    for label in (1, 1):  # two equal labels need three frames
        state = scorer.advance(state, torch.tensor([0]), torch.tensor([label]))
    increments, _ = scorer.score(state, torch.tensor([1]))
    assert (increments == -torch.inf).all()


def test_both_are_scorers():
    assert isinstance(AttentionScorer(transformer(torch.float32)), Scorer)
    assert isinstance(CtcPrefixScorer(lambda encoded: encoded.states, blank=0, eos=1), Scorer)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "out", "atol"), [(torch.float32, "out", 1e-5), (torch.float64, "out64", 1e-7)])
def test_espnet_decoder_logits(dtype: torch.dtype, out: str, atol: float):
    """In float64 to 1e-7 only: ESPnet's table of positions has float32's precision."""
    tensors, meta = oracle("espnet_transformer_decoder")
    sos = meta["sos_eos"]
    decoder = espnet_decoder(pick(tensors, "w/"), sos=sos).to(dtype)
    encoded = Encoded(tensors["in/memory"].to(dtype), tensors["in/memory_lens"])
    logits = decoder(encoded, tensors["in/ys_in"][:, 1:])
    for row, length in enumerate(tensors["in/ys_in_lens"].tolist()):
        torch.testing.assert_close(logits[row, :length], tensors[f"{out}/logits"][row, :length], rtol=0, atol=atol)
    state = decoder.start(Encoded(encoded.states[:1], encoded.frames[:1]), 1)
    for step, last in enumerate(tensors["in/ys_in"][0]):
        log_probs, state, _ = decoder.step(state, last[None])
        torch.testing.assert_close(log_probs[0], tensors[f"{out}/step_logp_row0"][step], rtol=0, atol=atol)
