"""Laws of every decoder: step by step equals all at once, whatever leaves, is copied, or stands in the padding."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.models.decoder import DecoderConfig, build_decoder
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import TransformerDecoderConfig
from hybrid_asr.nn.attention import CrossAttention, join_heads
from tests.models.tiny import DECODERS, SIZES, SOS, VOCAB_SIZE, close, each_decoder, kind

MEMORY, FRAMES, STEPS = 10, [9, 1, 6], 7


def decoder_of(cfg) -> nn.Module:
    torch.manual_seed(0)
    return build_decoder(cfg, memory_dim=MEMORY, vocab_size=VOCAB_SIZE, sos=SOS).double().eval()


def memory(frames: list[int] = FRAMES, *, padding: float = 0.0) -> Encoded:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(len(frames), max(frames), MEMORY, generator=generator, dtype=torch.float64)
    real = valid_mask(torch.tensor(frames), max(frames))
    return Encoded(torch.where(real[..., None], states, padding), torch.tensor(frames))


def texts(rows: int, length: int = STEPS) -> Tensor:
    return torch.randint(1, VOCAB_SIZE - 1, (rows, length), generator=torch.Generator().manual_seed(2))


def one(encoded: Encoded, row: int) -> Encoded:
    frames = encoded.frames[row : row + 1]
    return Encoded(encoded.states[row : row + 1, : int(frames)], frames)


def fresh(decoder: nn.Module, encoded: Encoded, owner: int, text: list[int]) -> Tensor:
    """log p of what follows `text`, computed alone and all at once."""
    return decoder(one(encoded, owner), torch.tensor([text], dtype=torch.int64))[0, -1].log_softmax(-1)


@each_decoder
@torch.no_grad()
def test_step_by_step_equals_all_at_once(decoder):
    decoder, encoded, labels = decoder_of(decoder), memory(), texts(len(FRAMES))
    whole = decoder(encoded, labels).log_softmax(-1)
    assert whole.shape == (len(FRAMES), STEPS + 1, VOCAB_SIZE)
    state, last = decoder.start(encoded, 1), torch.full((len(FRAMES),), SOS)
    for place in range(STEPS + 1):
        log_probs, state, attention = decoder.step(state, last)
        assert attention is None
        close(log_probs, whole[:, place])
        last = labels[:, place] if place < STEPS else last


@each_decoder
@torch.no_grad()
def test_copied_dropped_and_reordered_hypotheses_equal_recomputation(decoder):
    decoder, encoded, beams = decoder_of(decoder), memory(), 2
    owners, said = [0, 0, 1, 1, 2, 2], [[] for _ in range(6)]
    state, last = decoder.start(encoded, beams), torch.full((6,), SOS)
    moves = [[0, 0, 2, 3, 4, 5], [1, 0, 1, 3, 2, 3, 5, 5, 4], [2, 1, 3, 3, 6, 8]]  # two or three of each, in any order
    moves += (  # until the store was compacted and has grown
        torch.randint(2, (10, 6), generator=torch.Generator().manual_seed(3)).add(torch.tensor(owners) * 2).tolist()
    )
    for step, parents in enumerate(moves):
        log_probs, state, _ = decoder.step(state, last)
        for row, (owner, text) in enumerate(zip(owners, said, strict=True)):
            close(log_probs[row], fresh(decoder, encoded, owner, text))
        labels = texts(len(parents), len(moves))[:, step]
        owners = [owners[parent] for parent in parents]
        said = [[*said[parent], int(label)] for parent, label in zip(parents, labels, strict=True)]
        state, last = decoder.reorder(state, torch.tensor(parents)), labels


@each_decoder
@torch.no_grad()
@pytest.mark.parametrize("live", [[0, 2], [1, 2], [1], [2, 0], [0, 1, 2]])
def test_utterances_that_leave_take_their_hypotheses_with_them(decoder, live):
    decoder, encoded, beams = decoder_of(decoder), memory(), 2
    labels = texts(len(FRAMES) * beams)
    state = decoder.start(encoded, beams)
    for last in (torch.full((len(labels),), SOS), labels[:, 0]):
        _, state, _ = decoder.step(state, last)
    state = decoder.keep(state, torch.tensor(live))
    rows = [utterance * beams + beam for utterance in live for beam in range(beams)]
    for place in (1, 2):
        log_probs, state, _ = decoder.step(state, labels[rows, place])
        for at, row in enumerate(rows):
            close(log_probs[at], fresh(decoder, encoded, row // beams, labels[row, : place + 1].tolist()))
    if len(live) > 1:  # and once more: places in the batch have changed
        state = decoder.keep(state, torch.tensor([1]))
        log_probs, _, _ = decoder.step(state, labels[rows[beams : 2 * beams], 3])
        for at, row in enumerate(rows[beams : 2 * beams]):
            close(log_probs[at], fresh(decoder, encoded, row // beams, labels[row, :4].tolist()))


@each_decoder
@torch.no_grad()
def test_a_state_is_a_value_and_can_be_used_again(decoder):
    decoder, encoded = decoder_of(decoder), memory()
    _, state, _ = decoder.step(decoder.start(encoded, 1), torch.full((3,), SOS))
    first, heir, _ = decoder.step(state, torch.tensor([1, 2, 3]))
    beyond, _, _ = decoder.step(heir, torch.tensor([2, 2, 2]))
    decoder.step(state, torch.tensor([4, 5, 6]))
    assert torch.equal(beyond, decoder.step(heir, torch.tensor([2, 2, 2])).log_probs)
    decoder.reorder(state, torch.tensor([0, 0, 1, 1, 2, 2]))
    decoder.keep(state, torch.tensor([1]))
    again, _, _ = decoder.step(state, torch.tensor([1, 2, 3]))
    assert torch.equal(first, again)


@each_decoder
@torch.no_grad()
def test_padding_of_frames_and_of_labels_is_not_seen(decoder):
    decoder, labels, lengths = decoder_of(decoder), texts(len(FRAMES)), [STEPS, 2, 4]
    logits = decoder(memory(padding=1e3), labels)  # labels behind the length are numbers, too
    for row, length in enumerate(lengths):
        close(logits[row : row + 1, : length + 1], decoder(one(memory(), row), labels[row : row + 1, :length]))


@each_decoder
@torch.no_grad()
def test_a_label_changes_what_follows_it_and_nothing_before(decoder):
    decoder, labels = decoder_of(decoder), texts(len(FRAMES))
    changed = labels.clone()
    changed[:, 3] = labels[:, 3] % (VOCAB_SIZE - 2) + 1
    before, after = decoder(memory(), labels), decoder(memory(), changed)
    assert torch.equal(before[:, :4], after[:, :4])
    assert (before[:, 4:] != after[:, 4:]).any(-1).all()


@each_decoder
@torch.no_grad()
def test_attention_weights_sum_to_one_over_real_frames_and_are_zero_on_padding(decoder):
    cfg, decoder, encoded = decoder, decoder_of(decoder), memory()
    last = torch.full((2 * len(FRAMES),), SOS)
    plain, _, nothing = decoder.step(decoder.start(encoded, 2), last)
    log_probs, _, weights = decoder.step(decoder.start(encoded, 2), last, weights="all")
    assert nothing is None
    assert torch.equal(log_probs, plain)
    assert weights.shape[1:2] + weights.shape[3:] == (len(last), max(FRAMES))
    real = valid_mask(encoded.frames, max(FRAMES)).repeat_interleave(2, 0)[None, :, None]
    close(weights.sum(-1), torch.ones(weights.shape[:3], dtype=torch.float64))
    assert (weights.masked_fill(real, 0) == 0).all()
    if kind(cfg) != "lstm-fixed":
        assert ((weights > 0) == real).all()


@torch.no_grad()
def test_the_weights_of_a_step_are_those_that_forward_used():
    """What forward's cross-attention gave out is the frames' values mixed by the step's weights."""
    decoder, encoded, labels = decoder_of(DECODERS[0]), memory(), texts(len(FRAMES))
    given: list[tuple[CrossAttention, Tensor, Tensor]] = []  # per layer: the module, the frames' values, its output
    parts = [module for module in decoder.modules() if isinstance(module, CrossAttention)]
    hooks = [
        part.register_forward_hook(lambda module, inputs, output: given.append((module, inputs[1].values, output)))
        for part in parts
    ]
    decoder(encoded, labels)
    for hook in hooks:
        hook.remove()
    assert [module for module, _, _ in given] == parts
    state, last = decoder.start(encoded, 1), torch.full((len(FRAMES),), SOS)
    for place in range(STEPS + 1):
        _, state, weights = decoder.step(state, last, weights="all")
        for of_layer, (module, values, output) in zip(weights, given, strict=True):
            mixed = module.output(join_heads(of_layer[:, :, None] @ values))
            close(mixed[:, 0], output[:, place])
        last = labels[:, place] if place < STEPS else last


@each_decoder
@torch.no_grad()
def test_an_utterance_without_frames_gives_numbers(decoder):
    decoder = decoder_of(decoder)
    encoded = Encoded(memory().states, torch.tensor([9, 0, 6]))
    log_probs, _, weights = decoder.step(decoder.start(encoded, 1), torch.full((3,), SOS), weights="all")
    assert log_probs.isfinite().all()
    assert (weights[:, 1] == 0).all()
    close(log_probs, decoder(encoded, texts(3, 0))[:, 0].log_softmax(-1))


@pytest.mark.parametrize(("size", "value"), [("dim", 9), ("dim", 13), ("heads", 5), ("layers", 0), ("dropout", 1.0)])
def test_sizes_that_do_not_fit_are_refused_by_name(size, value):
    names = [field.name for field in dataclasses.fields(TransformerDecoderConfig) if field.name in SIZES]
    tree = {name: SIZES[name] for name in names} | {"kind": "transformer"}
    parse(DecoderConfig, tree)
    with pytest.raises(ConfigError, match=size):
        parse(DecoderConfig, tree | {size: value})
