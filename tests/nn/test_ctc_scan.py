"""Our CTC beside torch's: the same losses and gradients, to rounding, whatever the lengths."""

import pytest
import torch
from torch.nn import functional as F

from hybrid_asr.nn.ctc_scan import ctc_by_scans


def both(labels, lengths, frames, *, blank=0, vocab=5, sharp=1.0, weights=True):
    """Losses and gradients of logits: ours, and torch's."""
    random = torch.Generator().manual_seed(3)
    batch, time = len(frames), max(frames)
    logits = sharp * torch.randn(batch, time, vocab, generator=random, dtype=torch.float64)
    weight = torch.rand(batch, generator=random, dtype=torch.float64) if weights else torch.ones(batch).double()
    given = torch.tensor(labels).view(batch, -1), torch.tensor(frames), torch.tensor(lengths)
    found = []
    for ours in (True, False):
        leaf = logits.clone().requires_grad_()
        log_probs = leaf.log_softmax(-1)
        if ours:
            loss = ctc_by_scans(log_probs, given[1], given[0], given[2], blank=blank)
        else:
            args = (log_probs.transpose(0, 1), given[0], given[1], given[2], blank)
            loss = F.ctc_loss(*args, reduction="none", zero_infinity=True)
        [gradient] = torch.autograd.grad((loss * weight).sum(), leaf)
        found.append((loss.detach(), gradient))
    return found


@pytest.mark.parametrize(
    ("labels", "lengths", "frames", "options"),
    [
        ([[1, 2, 3], [2, 2, 4], [4, 1, 1]], [3, 3, 1], [9, 7, 8], {}),
        ([[1, 1, 1], [3, 3, 2]], [3, 2], [12, 4], {"sharp": 8.0}),
        ([[1, 2], [0, 0], [3, 0]], [2, 0, 1], [4, 6, 1], {}),
        ([[0, 1], [2, 0]], [2, 2], [5, 6], {"blank": 4}),
        ([[1, 1, 1], [1, 2, 1], [2, 2, 2]], [3, 3, 3], [4, 3, 6], {}),
        ([[1, 2, 3, 4] * 10], [40], [300], {"sharp": 3.0}),
    ],
    ids=["unequal", "repeated", "empty", "another-blank", "infeasible", "long"],
)
def test_losses_and_gradients_are_those_of_torch(labels, lengths, frames, options):
    (loss, gradient), (its, its_gradient) = both(labels, lengths, frames, **options)
    assert loss.tolist() == pytest.approx(its.tolist(), abs=1e-9)
    assert (gradient - its_gradient).abs().max() < 1e-9


def test_what_has_no_frames_has_no_loss_and_padding_no_gradient():
    log_probs = torch.randn(3, 4, 3, dtype=torch.float64).log_softmax(-1).requires_grad_()
    labels, lengths = torch.tensor([[1, 2], [1, 1], [0, 0]]), torch.tensor([2, 2, 0])
    loss = ctc_by_scans(log_probs, torch.tensor([3, 0, 0]), labels, lengths, blank=0)
    assert (loss > 0).tolist() == [True, False, False]
    [gradient] = torch.autograd.grad(loss.sum(), log_probs)
    assert (gradient[0, 3:] == 0).all()
    assert (gradient[1:] == 0).all()
    assert gradient[0, :3].sum(-1).tolist() == pytest.approx([-1, -1, -1]), "each frame is in one state"


def test_no_labels_at_all_is_all_blanks():
    log_probs = torch.randn(2, 4, 3, dtype=torch.float64).log_softmax(-1)
    none = torch.zeros(2, 0, dtype=torch.int64), torch.tensor([0, 0])
    loss = ctc_by_scans(log_probs, torch.tensor([4, 2]), *none, blank=0)
    assert loss.tolist() == pytest.approx([-log_probs[0, :, 0].sum().item(), -log_probs[1, :2, 0].sum().item()])


def test_the_gradient_is_the_derivative():
    log_probs = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).requires_grad_()
    labels, lengths = torch.tensor([[1, 1], [2, 0]]), torch.tensor([2, 1])
    assert torch.autograd.gradcheck(
        lambda given: ctc_by_scans(given, torch.tensor([5, 3]), labels, lengths, blank=0), log_probs
    )
