"""The recurrent decoder: scheduled sampling, K labelings of an utterance, weights of training, bf16."""

import copy

import pytest
import torch

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.models.decoder import AttendingDecoder, DecoderConfig
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.lstm_decoder import LstmDecoder, LstmDecoderConfig, SamplingConfig
from hybrid_asr.nn.progress import set_progress
from tests.models.tiny import DECODERS, SOS, VOCAB_SIZE, close, tiny

ALL = [cfg for cfg in DECODERS if isinstance(cfg, LstmDecoderConfig)]
each = pytest.mark.parametrize("cfg", ALL, ids=lambda cfg: cfg.attention.kind)
FRAMES = [9, 4]


def decoder_of(cfg: LstmDecoderConfig) -> LstmDecoder:
    torch.manual_seed(0)
    return LstmDecoder(cfg, 10, VOCAB_SIZE, SOS).double()


def memory() -> Encoded:
    generator = torch.Generator().manual_seed(1)
    return Encoded(torch.randn(2, 9, 10, generator=generator, dtype=torch.float64), torch.tensor(FRAMES))


def texts(rows: int, length: int = 6) -> torch.Tensor:
    return torch.randint(1, VOCAB_SIZE - 1, (rows, length), generator=torch.Generator().manual_seed(2))


def sampling(rate: float = 1.0, **keys: float) -> LstmDecoder:
    return decoder_of(tiny(LstmDecoderConfig, sampling=SamplingConfig(rate=rate, **keys)))


@each
@torch.no_grad()
def test_labelings_of_an_utterance_are_scored_as_if_each_had_it_alone(cfg):
    decoder, labels = decoder_of(cfg).eval(), texts(6)
    together = decoder(memory(), labels)
    for row in range(6):
        states, frames = memory().states[row // 3], FRAMES[row // 3]
        alone = decoder(Encoded(states[None, :frames], torch.tensor([frames])), labels[row : row + 1])
        close(together[row], alone[0])


@each
@torch.no_grad()
def test_weights_of_training_are_those_of_the_steps(cfg):
    decoder, labels = decoder_of(cfg).eval(), texts(4)
    assert isinstance(decoder, AttendingDecoder)
    logits, weights = decoder.attended(memory(), labels)
    assert torch.equal(logits, decoder(memory(), labels))
    state, last = decoder.start(memory(), 2), torch.full((4,), SOS)
    for place in range(7):
        _, state, seen = decoder.step(state, last, weights="all")
        close(weights[:, :, place], seen[0])
        last = labels[:, min(place, 5)]
    real = valid_mask(torch.tensor(FRAMES), 9).repeat_interleave(2, 0)[:, None, None]
    assert (weights.masked_fill(real, 0) == 0).all()


@each
@torch.no_grad()
def test_a_copy_in_bfloat16_says_nearly_the_same(cfg):
    decoder = decoder_of(cfg).float().eval()
    encoded = Encoded(memory().states.float(), memory().frames)
    short = copy.deepcopy(decoder).bfloat16()
    state, other = decoder.start(encoded, 2), short.start(encoded._replace(states=encoded.states.bfloat16()), 2)
    last = torch.full((4,), SOS)
    for place in range(4):
        exact, state, _ = decoder.step(state, last)
        rough, other, weights = short.step(other, last, weights="all")
        assert rough.dtype == torch.float32
        assert weights.dtype == torch.bfloat16
        close(rough, exact, atol=0.05)
        last = texts(4)[:, place]
        parents = torch.tensor([1, 0, 2, 2])
        state, other, last = decoder.reorder(state, parents), short.reorder(other, parents), last[parents]


def test_sampling_is_a_function_of_the_generator_and_of_progress():
    decoder, labels = sampling(0.5, start=0.2, full=0.6).train(), texts(2, 12)
    plain = decoder_of(tiny(LstmDecoderConfig))(memory(), labels)

    def logits(progress: float, seed: int) -> torch.Tensor:
        set_progress(decoder, progress)
        torch.manual_seed(seed)
        return decoder(memory(), labels)

    assert torch.equal(logits(0.0, 1), plain)
    assert torch.equal(logits(0.2, 1), plain)
    assert torch.equal(logits(1.0, 1), logits(1.0, 1))
    assert not torch.equal(logits(1.0, 1), plain)
    assert not torch.equal(logits(1.0, 1), logits(1.0, 2))
    assert torch.equal(logits(1.0, 1)[:, 0], plain[:, 0])  # nothing stands before the first label


def test_evaluation_never_samples():
    decoder = sampling().eval()
    set_progress(decoder, 1.0)
    generator = torch.get_rng_state()
    plain = decoder_of(tiny(LstmDecoderConfig)).eval()
    assert torch.equal(decoder(memory(), texts(2)), plain(memory(), texts(2)))
    assert torch.equal(torch.get_rng_state(), generator)


def test_at_rate_one_a_sure_model_is_given_its_own_labels_only():
    """It always predicts the same label, so the true labels cannot matter."""
    decoder = sampling().train()
    set_progress(decoder, 1.0)
    with torch.no_grad():
        decoder.output.weight.zero_()
        decoder.output.bias.fill_(-1e4)
        decoder.output.bias[3] = 0.0
        found = decoder._unroll(memory(), texts(2))
        forced = decoder.eval()._unroll(memory(), torch.full((2, 6), 3))
    for one, other in zip(found, forced, strict=True):
        close(one.hidden[-1], other.hidden[-1])


@pytest.mark.parametrize(
    ("progress", "rate"), [(0.0, 0.0), (0.1, 0.0), (0.2, 0.1), (0.25, 0.15), (0.5, 0.4), (0.9, 0.4), (1.0, 0.4)]
)
def test_the_rate_rises_linearly(progress, rate):
    assert SamplingConfig(rate=0.4, start=0.1, full=0.5).rate_at(progress) == pytest.approx(rate)


def test_a_rate_from_the_start():
    assert SamplingConfig(rate=0.3, start=0.0, full=0.0).rate_at(0.0) == 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": {"kind": "location", "dim": 4, "kernel": 4}}, "kernel 4 must be odd"),
        ({"attention": {"kind": "multihead", "dim": 6, "heads": 4}}, "dim 6 must be a multiple of heads 4"),
        ({"attention": {"kind": "fixed", "dim": 4}}, "unknown key of kind 'fixed'"),
        ({"attention": {"kind": "adaptive"}}, "unknown kind 'adaptive'"),
        ({"sampling": {"rate": 1.5}}, "decoder.sampling.rate"),
        ({"sampling": {"start": 0.6, "full": 0.5}}, "full 0.5 must not be less than start 0.6"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(changes, message):
    tree = {"kind": "lstm", "dim": 8, "embedding": 4, "attention": {"kind": "additive", "dim": 4}}
    parse(DecoderConfig, tree, where="decoder")
    with pytest.raises(ConfigError, match=message):
        parse(DecoderConfig, tree | changes, where="decoder")
