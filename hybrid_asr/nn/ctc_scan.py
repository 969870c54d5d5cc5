"""CTC by two scans over time, of operations that a GPU does in one order: deterministic where torch's CTC is not.

torch's own on CUDA adds up its gradient by atomic additions, and cuDNN's, which does not, is not for all lengths.

Axes: T frames, B utterances, S = 2 L + 1 states (a blank around each of L labels), V vocabulary.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

IMPOSSIBLE = float("-inf")


def ctc_by_scans(
    log_probs: Float[Tensor, "batch time vocab"],
    frames: Int[Tensor, " batch"],
    labels: Int[Tensor, "batch labels"],
    label_lengths: Int[Tensor, " batch"],
    *,
    blank: int,
) -> Float[Tensor, " batch"]:
    """Minus the log probability of `labels` over all alignments (Graves et al., 2006), in nats.

    An utterance that cannot be aligned has loss 0 and no gradient. The gradient is that of `log_probs` as they are:
    behind a log softmax it equals that of `torch.nn.functional.ctc_loss`.
    """
    device = log_probs.device
    frames, label_lengths = frames.to(device, non_blocking=True), label_lengths.to(device, non_blocking=True)
    real = torch.arange(labels.shape[1], device=device) < label_lengths[:, None]
    states = labels.new_full((labels.shape[0], 2 * labels.shape[1] + 1), blank)
    states[:, 1::2] = torch.where(real, labels, blank)
    return _Scans.apply(log_probs, frames, states, 2 * label_lengths)  # type: ignore[return-value]


class _Scans(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, log_probs: Tensor, frames: Tensor, states: Tensor, last: Tensor) -> Tensor:
        """`last` is the state of the last blank; O(T B S) numbers are kept."""
        emitted = _emitted(log_probs, states)
        skips = _skips(states)
        first = torch.arange(states.shape[1], device=states.device) < 2
        alphas = [emitted[:1].sum(0).where(first, IMPOSSIBLE)] if len(emitted) else []
        for time in range(1, len(emitted)):
            reached = emitted[time] + _from_before(alphas[-1], skips)
            alphas.append(reached.where((time < frames)[:, None], alphas[-1]))
        final = _final(states, last)
        ends = alphas[-1].where(final, IMPOSSIBLE).logsumexp(1) if alphas else emitted.new_zeros(len(frames))
        ends = torch.where(frames > 0, ends, torch.where(last == 0, 0.0, IMPOSSIBLE))
        possible = ends > IMPOSSIBLE
        ctx.save_for_backward(emitted, torch.stack(alphas) if alphas else emitted, ends, frames, states, last)
        ctx.shape, ctx.dtype = log_probs.shape, log_probs.dtype
        return (-ends).where(possible, 0.0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        """Minus the share of the alignments that is in each state at each time."""
        emitted, alphas, ends, frames, states, last = ctx.saved_tensors
        skips, final = _skips(states), _final(states, last)
        weight = torch.where(ends > IMPOSSIBLE, gradients[0], 0.0)[:, None]
        shares = torch.zeros_like(alphas)
        beta = torch.full_like(shares.sum(0), IMPOSSIBLE)
        for time in range(len(emitted) - 1, -1, -1):
            if time + 1 < len(emitted):
                beta = _from_behind(beta + emitted[time + 1], skips)
            at_end = (frames == time + 1)[:, None]
            beta = torch.where(at_end, torch.zeros_like(beta).where(final, IMPOSSIBLE), beta)
            share = (alphas[time] + beta - ends[:, None]).exp()
            shares[time] = torch.where((weight != 0) & (time < frames)[:, None], -weight * share, 0.0)
        return _by_label(shares, states, ctx.shape), None, None, None


def _emitted(log_probs: Float[Tensor, "batch time vocab"], states: Tensor) -> Float[Tensor, "time batch states"]:
    return log_probs.gather(2, states[:, None].expand(-1, log_probs.shape[1], -1)).transpose(0, 1)


def _skips(states: Int[Tensor, "batch states"]) -> Bool[Tensor, "batch states"]:
    """Into which states a path comes from the one before the last: a label that is not that one."""
    differs = F.pad(states[:, 2:] != states[:, :-2], (2, 0))[:, : states.shape[1]]
    is_label = torch.arange(states.shape[1], device=states.device) % 2 == 1
    return differs & is_label


def _final(states: Tensor, last: Tensor) -> Bool[Tensor, "batch states"]:
    """The states in which an alignment may end: the last label's, and the blank behind it."""
    place = torch.arange(states.shape[1], device=states.device)
    return (place == last[:, None]) | (place == last[:, None] - 1)


def _from_before(alpha: Float[Tensor, "batch states"], skips: Tensor) -> Float[Tensor, "batch states"]:
    one = F.pad(alpha, (1, 0), value=IMPOSSIBLE)[:, :-1]
    two = F.pad(alpha, (2, 0), value=IMPOSSIBLE)[:, : alpha.shape[1]].where(skips, IMPOSSIBLE)
    return torch.stack([alpha, one, two]).logsumexp(0)


def _from_behind(beta: Float[Tensor, "batch states"], skips: Tensor) -> Float[Tensor, "batch states"]:
    one = F.pad(beta, (0, 1), value=IMPOSSIBLE)[:, 1:]
    two = F.pad(beta.where(skips, IMPOSSIBLE), (0, 2), value=IMPOSSIBLE)[:, 2:]
    return torch.stack([beta, one, two]).logsumexp(0)


def _by_label(shares: Tensor, states: Tensor, shape: torch.Size) -> Float[Tensor, "batch time vocab"]:
    """Add the states of one label: `index_add_` does that in one order when torch is told to be deterministic."""
    batch, time, vocab = shape
    rows = states + vocab * torch.arange(batch, device=states.device)[:, None]
    total = shares.new_zeros(batch * vocab, time)
    total.index_add_(0, rows.flatten(), shares.permute(1, 2, 0).reshape(-1, time))
    return total.view(batch, vocab, time).transpose(1, 2)
