"""Losses against sums over all alignments and against loops written from the formulas."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.losses import (
    GuideConfig,
    Guided,
    LossConfig,
    attention_loss,
    ctc_feasible,
    ctc_loss,
    ctc_needs,
    guided_loss,
    joint_loss,
)
from tests.decoding.toys import labelings, random_log_probs

VOCAB_SIZE = 4


def padded(texts: list[tuple[int, ...]], filler: int = 0) -> tuple[Tensor, Tensor]:
    """Label sequences as a batch and its lengths."""
    longest = max(map(len, texts))
    rows = [[*text, *[filler] * (longest - len(text))] for text in texts]
    return torch.tensor(rows, dtype=torch.int64).view(len(texts), longest), torch.tensor([len(text) for text in texts])


@pytest.mark.parametrize(("blank", "units"), [(0, (1, 2)), (3, (0, 2))])
def test_ctc_is_the_sum_over_all_alignments(blank: int, units: tuple[int, int]):
    texts = [text for length in range(4) for text in itertools.product(units, repeat=length)]
    log_probs = random_log_probs(len(texts), 5, VOCAB_SIZE, seed=0, sharp=2.0)
    frames = torch.tensor([5, 4, 3] * len(texts))[: len(texts)]
    labels, lengths = padded(texts, filler=units[1])  # what stands behind the labels must not matter
    nats = ctc_loss(log_probs, frames, labels, lengths, blank=blank)
    feasible = ctc_feasible(frames, labels, lengths)
    assert 0 < feasible.sum() < len(texts)
    for row, text in enumerate(texts):
        probability = labelings(log_probs[row, : frames[row]], blank).get(text, 0.0)
        assert bool(feasible[row]) == (probability > 0)
        expected = -math.log(probability) if probability > 0 else 0.0
        assert nats[row].item() == pytest.approx(expected, abs=1e-9)


def test_ctc_can_align_exactly_when_there_is_an_alignment():
    texts = [text for length in range(5) for text in itertools.product((1, 2), repeat=length)]
    labels, lengths = padded(texts, filler=2)
    for frames in range(7):
        exists = {t for p in itertools.product(range(3), repeat=frames) if (t := collapsed(p)) in set(texts)}
        feasible = ctc_feasible(torch.full_like(lengths, frames), labels, lengths)
        assert feasible.tolist() == [text in exists for text in texts]


def collapsed(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label)


def test_a_repeated_label_needs_a_blank_between():
    labels, lengths = padded([(1, 1), (1, 2), (1, 1, 1, 2, 2), ()])
    assert ctc_needs(labels, lengths).tolist() == [3, 2, 8, 0]


def test_no_labels_at_all_need_no_frames():
    empty = torch.zeros(2, 0, dtype=torch.int64)
    assert ctc_feasible(torch.tensor([0, 3]), empty, torch.tensor([0, 0])).all()


def test_what_ctc_cannot_align_has_no_loss_and_no_gradient_and_is_flagged():
    logits = torch.randn(3, 4, VOCAB_SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    logits.requires_grad_()
    labels, lengths = padded([(1, 1, 1), (1, 2, 1), (2, 2)])
    frames = torch.tensor([4, 4, 0])
    ctc = ctc_loss(logits.log_softmax(-1), frames, labels, lengths, blank=0)
    feasible = ctc_feasible(frames, labels, lengths)
    losses = joint_loss(ctc, None, feasible, ctc_weight=1.0)
    assert losses.infeasible.tolist() == [True, False, True]
    assert (losses.total == 0).tolist() == [True, False, True]
    [gradient] = torch.autograd.grad(losses.total.sum(), logits)
    assert (gradient != 0).any((1, 2)).tolist() == [False, True, False]
    assert gradient.isfinite().all()


def test_the_gradient_of_ctc_is_the_derivative_and_zero_on_padding():
    logits = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    labels, lengths = padded([(1, 1), (2,)])
    frames = torch.tensor([4, 2])

    def nats(logits: Tensor) -> Tensor:
        return ctc_loss(logits.log_softmax(-1), frames, labels, lengths, blank=0)

    assert torch.autograd.gradcheck(nats, logits)
    [gradient] = torch.autograd.grad(nats(logits).sum(), logits)
    assert (gradient[1, 2:] == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_attention_loss_equals_a_loop_over_the_labels_and_the_end(smoothing: float):
    eos, texts = VOCAB_SIZE - 1, [(1, 2, 2), (2,), (), (1, 1, 1)]
    labels, lengths = padded(texts, filler=1)
    logits = torch.randn(4, 4, VOCAB_SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    nats = attention_loss(logits, labels, lengths, eos=eos, smoothing=smoothing)
    for row, text in enumerate(texts):
        total = 0.0
        for step, label in enumerate([*text, eos]):
            log_norm = math.log(sum(math.exp(value) for value in logits[row, step].tolist()))
            for unit, value in enumerate(logits[row, step].tolist()):
                target = smoothing / VOCAB_SIZE + (1 - smoothing) * (unit == label)
                total -= target * (value - log_norm)
        assert nats[row].item() == pytest.approx(total, abs=1e-12)


def test_the_end_counts_once_and_steps_behind_it_do_not():
    labels, lengths = padded([(1, 2), ()])
    logits = torch.zeros(2, 3, VOCAB_SIZE, requires_grad=True)
    nats = attention_loss(logits, labels, lengths, eos=VOCAB_SIZE - 1, smoothing=0.0)
    assert nats.tolist() == pytest.approx([3 * math.log(VOCAB_SIZE), math.log(VOCAB_SIZE)])
    [gradient] = torch.autograd.grad(nats.sum(), logits)
    assert (gradient != 0).any(-1).tolist() == [[True, True, True], [True, False, False]]


def test_attention_loss_of_half_precision_logits_is_float32():
    logits = torch.randn(1, 2, VOCAB_SIZE, generator=torch.Generator().manual_seed(4)).bfloat16()
    nats = attention_loss(logits, torch.tensor([[1]]), torch.tensor([1]), eos=3, smoothing=0.1)
    exact = attention_loss(logits.double(), torch.tensor([[1]]), torch.tensor([1]), eos=3, smoothing=0.1)
    assert nats.dtype == torch.float32
    assert nats.item() == pytest.approx(exact.item(), rel=1e-6)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_joint_loss_is_the_interpolation_of_its_parts(weight: float):
    ctc = torch.tensor([3.0, 0.0]) if weight > 0 else None
    attention = torch.tensor([5.0, 7.0]) if weight < 1 else None
    losses = joint_loss(ctc, attention, torch.tensor([True, False]), ctc_weight=weight)
    assert losses.total.tolist() == pytest.approx([weight * 3 + (1 - weight) * 5, (1 - weight) * 7])
    assert losses.ctc.tolist() == ([3, 0] if weight > 0 else [0, 0])
    assert losses.attention.tolist() == ([5, 7] if weight < 1 else [0, 0])
    assert losses.infeasible.tolist() == [False, weight > 0]  # without CTC everything can be learned from


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_parts_and_weight_must_fit(weight: float):
    part, feasible = torch.ones(1), torch.ones(1, dtype=torch.bool)
    for ctc, attention in itertools.product((part, None), repeat=2):
        if (ctc is not None, attention is not None) != (weight > 0, weight < 1):
            with pytest.raises(AssertionError):
                joint_loss(ctc, attention, feasible, ctc_weight=weight)


def test_guided_attention_is_its_formula_step_by_step():
    frames, lengths, width = [5, 3, 0], [3, 1, 2], 0.3
    weights = torch.rand(3, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for row, real in enumerate(frames):
        weights[row, ..., real:] = 0  # what every attention promises
    found = guided_loss(weights, torch.tensor(frames), torch.tensor(lengths), width=width)
    for row in range(3):
        nats = 0.0
        for n in range(lengths[row] + 1):
            for t in range(frames[row]):
                off = n / (lengths[row] + 1) - t / frames[row]
                price = 1 - math.exp(-(off**2) / (2 * width**2))
                nats += price * sum(float(weights[row, head, n, t]) for head in range(2)) / 2
        assert found[row].item() == pytest.approx(nats, abs=1e-12)


def test_the_diagonal_costs_nothing_and_its_opposite_nearly_one_a_step():
    diagonal = torch.eye(20, dtype=torch.float64)[None, None]
    lengths = torch.tensor([19])
    assert guided_loss(diagonal, torch.tensor([20]), lengths, width=0.05).item() == pytest.approx(0.0, abs=1e-12)
    assert guided_loss(diagonal.flip(-1), torch.tensor([20]), lengths, width=0.05).item() > 15


def test_guidance_comes_on_top_with_its_weight():
    parts = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0]), torch.tensor([True, True])
    plain = joint_loss(*parts, ctc_weight=0.5)
    helped = joint_loss(*parts, ctc_weight=0.5, guided=Guided(torch.tensor([0.5, 0.25]), 2.0))
    assert (helped.total - plain.total).tolist() == [1.0, 0.5]
    assert torch.equal(helped.attention, plain.attention)


def test_the_weight_of_guidance_falls_to_nothing():
    cfg = GuideConfig(weight=4.0, share=0.5)
    assert [cfg.weight_at(progress) for progress in (0.0, 0.25, 0.5, 0.9)] == [4.0, 2.0, 0.0, 0.0]
    assert GuideConfig().weight_at(0.0) == 0.0


def test_guidance_without_attention_is_refused():
    with pytest.raises(ConfigError, match=r"guide.weight needs an attention decoder"):
        parse(LossConfig, {"ctc_weight": 1.0, "guide": {"weight": 1.0}}, where="loss")
