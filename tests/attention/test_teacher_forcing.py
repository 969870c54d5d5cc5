"""Laws of attention that is looked at: it is what the decoder uses, and nobody else's business."""

import torch
from torch import Tensor

from hybrid_asr.attention.teacher_forcing import teacher_forced
from hybrid_asr.models.decoder import build_decoder
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import TransformerDecoderConfig
from hybrid_asr.nn.attention import CrossAttention, attention_weights
from tests.models.tiny import SOS, VOCAB_SIZE, close, each_decoder, tiny

FRAMES, LABELS = [9, 1, 6], 5


def decoder_and_work(cfg) -> tuple:
    torch.manual_seed(0)
    decoder = build_decoder(cfg, memory_dim=10, vocab_size=VOCAB_SIZE, sos=SOS).double().eval()
    encoded = Encoded(torch.randn(len(FRAMES), max(FRAMES), 10, dtype=torch.float64), torch.tensor(FRAMES))
    return decoder, encoded, torch.randint(1, VOCAB_SIZE - 1, (len(FRAMES), LABELS))


def forced(decoder, encoded: Encoded, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return teacher_forced(decoder, encoded, labels, sos=SOS)


@each_decoder
def test_every_row_sums_to_one_over_the_real_frames_and_is_zero_elsewhere(decoder):
    decoder, encoded, labels = decoder_and_work(decoder)
    weights = forced(decoder, encoded, labels)
    assert weights.shape[0::3] == (len(FRAMES), LABELS + 1)
    close(weights.sum(-1), torch.ones(weights.shape[:-1], dtype=torch.float64))
    for row, frames in enumerate(FRAMES):
        assert not weights[row, ..., frames:].any()


@each_decoder
def test_an_utterance_alone_is_looked_at_in_the_same_way(decoder):
    decoder, encoded, labels = decoder_and_work(decoder)
    together = forced(decoder, encoded, labels)
    for row, frames in enumerate(FRAMES):
        alone = Encoded(encoded.states[row : row + 1, :frames], encoded.frames[row : row + 1])
        close(forced(decoder, alone, labels[row : row + 1])[0], together[row, ..., :frames])


def test_they_are_the_weights_of_all_steps_at_once(monkeypatch):
    decoder, encoded, labels = decoder_and_work(tiny(TransformerDecoderConfig))
    asked = []
    forward = CrossAttention.forward
    monkeypatch.setattr(CrossAttention, "forward", lambda self, x, *rest: asked.append(x) or forward(self, x, *rest))
    weights = forced(decoder, encoded, labels)
    decoder(encoded, labels)
    for place, (layer, queries) in enumerate(zip(decoder.layers, asked, strict=True)):
        attention, real = layer.cross_attention, torch.arange(max(FRAMES)) < encoded.frames[:, None]
        keys = attention.memory(encoded.states).keys
        close(weights[:, place], attention_weights(attention.queries(queries), keys, real[:, None, None]))
