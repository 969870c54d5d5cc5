"""Attention against loops written from the formula."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.nn.attention import CrossAttention, SelfAttention, attention_weights, join_heads, split_heads
from hybrid_asr.nn.positions import Rotation

DIM, HEADS = 8, 2
LENGTHS = torch.tensor([5, 2, 3])
REAL = valid_mask(LENGTHS, 5)
LOOK = REAL[:, None, None]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One query (D/H) looks at all `keys` (K, D/H): a weighted mean of `values`."""
    scores = [(query @ key / math.sqrt(len(query))).exp() for key in keys]
    return sum(score / sum(scores) * value for score, value in zip(scores, values, strict=True))


def mixed(queries: Tensor, keys: Tensor, values: Tensor, lengths: list[int]) -> Tensor:
    """Projected queries, keys and values (time, D) of one utterance, query n looking at the first `lengths[n]` keys."""
    width = DIM // HEADS
    heads = [slice(head * width, (head + 1) * width) for head in range(HEADS)]
    rows = [
        torch.cat([attend(query[h], keys[:n, h], values[:n, h]) for h in heads])
        for query, n in zip(queries, lengths, strict=True)
    ]
    return torch.stack(rows)


def test_splitting_and_joining_heads_are_inverse():
    values = drawn(3, 5, DIM)
    assert split_heads(values, HEADS).shape == (3, HEADS, 5, DIM // HEADS)
    assert torch.equal(split_heads(values, HEADS)[1, 1, 3], values[1, 3, DIM // HEADS :])
    assert torch.equal(join_heads(split_heads(values, HEADS)), values)


def test_weights_sum_to_one_over_real_keys_and_are_zero_on_padding():
    weights = attention_weights(drawn(3, HEADS, 4, 4), drawn(3, HEADS, 5, 4, seed=1), LOOK)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, HEADS, 4, dtype=torch.float64), rtol=0, atol=1e-12)
    assert (weights.masked_fill(LOOK, 0) == 0).all()
    assert ((weights > 0) == LOOK).all()


def test_weights_are_those_that_attention_uses():
    queries, keys, values = drawn(3, HEADS, 4, 4), drawn(3, HEADS, 5, 4, seed=1), drawn(3, HEADS, 5, 4, seed=2)
    for mask in (LOOK, None):
        used = F.scaled_dot_product_attention(queries, keys, values, mask)
        torch.testing.assert_close(attention_weights(queries, keys, mask) @ values, used, rtol=0, atol=1e-12)


def test_where_there_is_no_real_key_nothing_is_mixed_and_nothing_is_nan():
    layer = SelfAttention(DIM, HEADS).double()
    values, look = drawn(2, 5, DIM).requires_grad_(), valid_mask(torch.tensor([5, 0]), 5)[:, None, None]
    output = layer(values, look)
    assert torch.equal(output[1], layer.output.bias.expand(5, DIM))
    gradients = torch.autograd.grad(output.sum(), [values, *layer.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    heads = drawn(2, HEADS, 5, 4)
    assert (attention_weights(heads, heads, look)[1] == 0).all()


def test_self_attention_equals_the_formula():
    layer, values = SelfAttention(DIM, HEADS).double(), drawn(3, 5, DIM)
    queries, keys, mixtures = layer.project(values).chunk(3, dim=-1)
    output = layer(values, LOOK)
    for row, length in enumerate(LENGTHS.tolist()):
        expected = layer.output(mixed(queries[row], keys[row], mixtures[row], [length] * 5))
        torch.testing.assert_close(output[row], expected, rtol=0, atol=1e-12)


def test_causal_attention_sees_itself_and_the_past_only():
    layer, values = SelfAttention(DIM, HEADS).double(), drawn(1, 5, DIM)
    queries, keys, mixtures = layer.project(values).chunk(3, dim=-1)
    expected = layer.output(mixed(queries[0], keys[0], mixtures[0], [1, 2, 3, 4, 5]))
    torch.testing.assert_close(layer(values, None, causal=True)[0], expected, rtol=0, atol=1e-12)


def test_queries_and_keys_are_rotated_and_values_are_not():
    layer, values, rotation = SelfAttention(DIM, HEADS).double(), drawn(3, 5, DIM), Rotation(DIM // HEADS)
    table = rotation.table(5, values)
    queries, keys, mixtures = layer.project(values).chunk(3, dim=-1)
    turned = [join_heads(rotation(split_heads(part, HEADS), table)) for part in (queries, keys)]
    output = layer(values, LOOK, rotation=rotation, table=table)
    for row, length in enumerate(LENGTHS.tolist()):
        expected = layer.output(mixed(turned[0][row], turned[1][row], mixtures[row], [length] * 5))
        torch.testing.assert_close(output[row], expected, rtol=0, atol=1e-12)


def test_cross_attention_equals_the_formula_and_ignores_padding():
    layer, values, states = CrossAttention(DIM, 6, HEADS).double(), drawn(3, 4, DIM), drawn(3, 5, 6, seed=1)
    output = layer(values, layer.memory(states), LOOK)
    keys, mixtures = layer.key_value(states).chunk(2, dim=-1)
    for row, length in enumerate(LENGTHS.tolist()):
        expected = layer.output(mixed(layer.query(values[row]), keys[row], mixtures[row], [length] * 4))
        torch.testing.assert_close(output[row], expected, rtol=0, atol=1e-12)
    other = torch.where(REAL[..., None], states, 1e3)
    torch.testing.assert_close(layer(values, layer.memory(other), LOOK), output, rtol=0, atol=1e-12)


def test_dropout_of_weights_acts_in_training_only():
    layer, values = SelfAttention(DIM, HEADS, dropout=0.5).double(), drawn(3, 5, DIM)
    torch.manual_seed(0)
    assert not torch.equal(layer(values, LOOK), layer(values, LOOK))
    layer.eval()
    assert torch.equal(layer(values, LOOK), layer(values, LOOK))
