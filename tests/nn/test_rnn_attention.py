"""Kinds of recurrent attention: formulas written as loops, weights over real frames only, hypotheses as queries."""

import math

import pytest
import torch

from hybrid_asr.nn.rnn_attention import (
    AdditiveAttention,
    AdditiveConfig,
    Attention,
    DotAttention,
    DotConfig,
    FixedConfig,
    LocationAttention,
    LocationConfig,
    MultiheadConfig,
    build_attention,
)

QUERY, MEMORY, FRAMES = 6, 10, [7, 3, 1]
KINDS = [
    AdditiveConfig(dim=4),
    LocationConfig(dim=4, kernel=3, channels=2),
    DotConfig(dim=4),
    MultiheadConfig(dim=8, heads=2),
    FixedConfig(),
]
each_kind = pytest.mark.parametrize("cfg", KINDS, ids=lambda cfg: cfg.kind)


def attention_of(cfg) -> Attention:
    return build_attention(cfg, query_dim=QUERY, memory_dim=MEMORY).double()


def frames(*, padding: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    states = torch.randn(3, 7, MEMORY, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for row, length in enumerate(FRAMES):
        states[row, length:] = padding
    return states, torch.tensor(FRAMES)


def queries(hyps: int) -> torch.Tensor:
    return torch.randn(3, hyps, QUERY, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def previous(attention: Attention, hyps: int) -> torch.Tensor:
    """Weights of a step before: any distribution over the real frames."""
    mask = torch.arange(7) < torch.tensor(FRAMES)[:, None, None, None]
    scores = torch.randn(3, attention.heads, hyps, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return scores.masked_fill(~mask, -math.inf).softmax(-1)


@each_kind
@torch.no_grad()
def test_weights_sum_to_one_over_real_frames_and_are_zero_elsewhere(cfg):
    attention = attention_of(cfg)
    memory = attention.memory(*frames(padding=50.0))
    for before in (attention.first(memory, 2), previous(attention, 2)):
        context, weights = attention(queries(2), memory, before)
        assert weights.shape == before.shape
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]), rtol=0, atol=1e-12)
        for row, length in enumerate(FRAMES):
            assert (weights[row, ..., length:] == 0).all()
        assert context.shape == (3, 2, attention.width)


@each_kind
@torch.no_grad()
def test_neither_padding_nor_neighbors_nor_other_hypotheses_change_a_context(cfg):
    attention = attention_of(cfg)
    together, _ = attention(queries(2), attention.memory(*frames(padding=50.0)), previous(attention, 2))
    states, lengths = frames()
    for row, length in enumerate(FRAMES):
        memory = attention.memory(states[row : row + 1, :length], lengths[row : row + 1])
        for hyp in range(2):
            before = previous(attention, 2)[row : row + 1, :, hyp : hyp + 1, :length]
            alone, _ = attention(queries(2)[row : row + 1, hyp : hyp + 1], memory, before)
            torch.testing.assert_close(together[row, hyp], alone[0, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["additive", "location"])
@torch.no_grad()
def test_additive_attention_is_its_formula(kind):
    """e_j = vᵀ tanh(W s + U h_j + b), for `location` also + V f_j, f = F * (the weights before); one by one."""
    attention = attention_of(next(cfg for cfg in KINDS if cfg.kind == kind))
    assert isinstance(attention, AdditiveAttention)
    states, lengths = frames()
    before = previous(attention, 2)
    context, weights = attention(queries(2), attention.memory(states, lengths), before)
    w, u, b, v = (
        attention.query.weight,
        attention.key.weight,
        attention.key.bias,
        attention.direction.weight[0],
    )
    for row, length in enumerate(FRAMES):
        for hyp in range(2):
            energies = []
            for j in range(length):
                inside = w @ queries(2)[row, hyp] + u @ states[row, j] + b
                if isinstance(attention, LocationAttention):
                    f = torch.zeros(attention.filters.shape[1], dtype=torch.float64)
                    for tap in (-1, 0, 1):
                        if 0 <= j + tap < length:
                            f += attention.filters[tap + 1] * before[row, 0, hyp, j + tap]
                    inside = inside + attention.place.weight @ f
                energies.append(sum(v[i] * math.tanh(inside[i]) for i in range(4)))
            total = sum(math.exp(e) for e in energies)
            alpha = [math.exp(e) / total for e in energies]
            for j in range(length):
                assert float(weights[row, 0, hyp, j]) == pytest.approx(alpha[j], abs=1e-12)
            mixed = sum(a * states[row, j] for j, a in enumerate(alpha))
            torch.testing.assert_close(context[row, hyp], mixed, rtol=0, atol=1e-12)


@torch.no_grad()
def test_dot_products_are_not_scaled():
    attention = attention_of(DotConfig(dim=4))
    assert isinstance(attention, DotAttention)
    states, lengths = frames()
    _, weights = attention(queries(1), attention.memory(states, lengths), previous(attention, 1))
    scores = attention.key(states[0]) @ attention.query(queries(1)[0, 0])
    torch.testing.assert_close(weights[0, 0, 0], scores.softmax(0), rtol=0, atol=1e-12)


@torch.no_grad()
def test_fixed_attention_sees_the_last_real_frame_and_nothing_else():
    attention = attention_of(FixedConfig())
    states, lengths = frames(padding=50.0)
    context, weights = attention(queries(2), attention.memory(states, lengths), previous(attention, 2))
    for row, length in enumerate(FRAMES):
        assert torch.equal(context[row], states[row, length - 1].expand(2, -1))
        assert torch.equal(weights[row, 0, 0], torch.eye(7, dtype=torch.float64)[length - 1])
    assert not list(attention.parameters())


@each_kind
def test_an_utterance_without_frames_has_no_weights_and_finite_gradients(cfg):
    attention = attention_of(cfg)
    states, _ = frames()
    states.requires_grad_()
    memory = attention.memory(states, torch.tensor([7, 0, 1]))
    context, weights = attention(queries(1), memory, attention.first(memory, 1))
    assert (weights[1] == 0).all()
    assert (context[1] == 0).all()
    [gradient] = torch.autograd.grad(context.sum(), states)
    assert gradient.isfinite().all()
