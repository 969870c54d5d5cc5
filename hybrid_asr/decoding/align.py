"""CTC forced alignment: when each label of a known labelling was said (Graves et al., 2006; Kürzinger et al., 2020).

Axes: B utterances, T frames, V units, L labels of an utterance, S = 2L + 1 states: blank, label, blank, …, blank.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hybrid_asr.lengths import valid_mask


class LabelSpan(NamedTuple):
    """Where a label stands: encoder frames `start` to `end` (exclusive), and its mean posterior over them (0 to 1)."""

    label: int
    start: int
    end: int
    confidence: float


class Alignment(NamedTuple):
    """One span for each label, in order, and the log probability (nats) of the best path."""

    spans: tuple[LabelSpan, ...]
    score: float


def ctc_align(
    log_probs: Float[Tensor, "batch time vocab"],
    frames: Int[Tensor, " batch"],
    labels: Int[Tensor, "batch labels"],
    label_lengths: Int[Tensor, " batch"],
    *,
    blank: int,
) -> list[Alignment | None]:
    """The most probable path through each utterance's labels (Viterbi), in float64.

    None where there is no path: fewer frames than labels and the blanks between equal neighbours, or a posterior of 0
    on every path; whoever knows the utterance's id says so to the user. Of equal paths the one that stays longest wins.
    """
    states = _with_blanks(labels, blank)
    emission = log_probs.double().gather(2, states[:, None].expand(-1, log_probs.shape[1], -1))  # (B, T, S)
    scores, moves = _forward(emission, _may_skip(states), frames)
    ends = torch.stack([2 * label_lengths, (2 * label_lengths - 1).clamp(min=0)], 1)  # the final blank, the last label
    final = scores.gather(1, ends)
    end = torch.where(final[:, 1] > final[:, 0], ends[:, 1], ends[:, 0])
    path = _backward(moves, end, frames)
    posteriors = emission.gather(2, path[..., None])[..., 0].exp()
    whole = zip(final.amax(1).tolist(), path.cpu(), posteriors.cpu(), labels.cpu(), strict=True)
    sizes = zip(frames.tolist(), label_lengths.tolist(), strict=True)
    return [
        _alignment(score, states[:t], probs[:t], said[:n]) if score > -torch.inf else None
        for (score, states, probs, said), (t, n) in zip(whole, sizes, strict=True)
    ]


def _with_blanks(labels: Int[Tensor, "batch labels"], blank: int) -> Int[Tensor, "batch states"]:
    """A blank before, between and after the labels."""
    states = labels.new_full((labels.shape[0], 2 * labels.shape[1] + 1), blank)
    states[:, 1::2] = labels
    return states


def _may_skip(states: Int[Tensor, "batch states"]) -> Bool[Tensor, "batch states"]:
    """Whether a state can follow the one before the last: a label that differs from that one; blanks do not."""
    other = states[:, 2:] != states[:, :-2]
    return torch.nn.functional.pad(other, (2, 0), value=False)[:, : states.shape[1]]


def _forward(
    emission: Float[Tensor, "batch time states"], may_skip: Bool[Tensor, "batch states"], frames: Int[Tensor, " batch"]
) -> tuple[Float[Tensor, "batch states"], Int[Tensor, "batch time states"]]:
    """The best score in each state after the last real frame, and from how many states before each one was entered."""
    real = valid_mask(frames, emission.shape[1])[..., None]
    scores = torch.full_like(emission[:, 0], -torch.inf)
    scores[:, :2] = emission[:, 0, :2].masked_fill(~real[:, 0], -torch.inf)  # a path begins in blank or in a label
    moves = torch.zeros_like(emission, dtype=torch.int8)
    for t in range(1, emission.shape[1]):
        before = torch.nn.functional.pad(scores, (2, 0), value=-torch.inf)
        stay, step, skip = scores, before[:, 1:-1], before[:, :-2].masked_fill(~may_skip, -torch.inf)
        best = torch.maximum(torch.maximum(stay, step), skip)
        moves[:, t] = torch.where(stay == best, 0, torch.where(step == best, 1, 2))
        scores = torch.where(real[:, t], best + emission[:, t], scores)
    return scores, moves


def _backward(
    moves: Int[Tensor, "batch time states"], last: Int[Tensor, " batch"], frames: Int[Tensor, " batch"]
) -> Int[Tensor, "batch time"]:
    """The state of every frame of the path that ends in `last`; frames beyond the end repeat it."""
    time = moves.shape[1]
    path, state = [last], last
    for t in range(time - 1, 0, -1):
        move = moves[:, t].gather(1, state[:, None])[:, 0].long()
        state = torch.where(t < frames, state - move, state)
        path.append(state)
    return torch.stack(path[::-1], 1)


def _alignment(score: float, path: Tensor, posteriors: Tensor, labels: Tensor) -> Alignment:
    """Read the spans from the states of one utterance's frames."""
    odd = path % 2 == 1
    which = path[odd] // 2
    at = odd.nonzero()[:, 0]
    counts = torch.bincount(which, minlength=len(labels))
    sums = torch.zeros(len(labels), dtype=posteriors.dtype).index_add(0, which, posteriors[odd])
    ends = counts.cumsum(0)  # a label's frames are neighbours, and the labels are in order
    spans = zip(labels.tolist(), at[ends - counts].tolist(), (at[ends - 1] + 1).tolist(), sums / counts, strict=True)
    return Alignment(tuple(LabelSpan(label, start, end, float(mean)) for label, start, end, mean in spans), score)
