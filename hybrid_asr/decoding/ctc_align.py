"""CTC forced alignment: the frames of each label of a known labeling (Graves et al., 2006; Kürzinger et al., 2020).

The best path (Viterbi) in float64, of any length in bounded memory: where the moves of all frames would be too many,
the scores before every 1,024th frame are kept, and each block is run again, the last one first, over those labels only
that lead to the end which is known by then.

Axes: B utterances, T frames, V vocabulary, L labels of an utterance, W of them in a window, S = 2L + 1 states: state 2i
is the blank before label i (2L the one after the last), state 2i + 1 is label i.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor
from torch.nn import functional as F

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.decoding.hypothesis import nan_error

BLOCK = 1024  # frames between the scores that are kept
MOST_MOVES = 2**26  # bytes of moves, above which it goes by blocks
MOST_EMISSIONS = 2**21  # numbers that are gathered at once


class LabelSpan(NamedTuple):
    """The position of a label: encoder frames `start` to `end` (exclusive), and its mean probability there (0 to 1)."""

    label: int
    start: int
    end: int
    confidence: float


class Alignment(NamedTuple):
    """One span for each label, in order, and the log probability (nats) of the best path."""

    spans: tuple[LabelSpan, ...]
    score: float


class Trellis(NamedTuple):
    """The labels of the paths, or a window of them, and the log probabilities of each frame."""

    log_probs: Float[Tensor, "batch time vocab"]
    frames: Int[Tensor, " batch"]
    blank: int
    labels: Int[Tensor, "batch window"]
    differs: Bool[Tensor, "batch window"]  # from the label before, so that no blank need stand between


class Scores(NamedTuple):
    """The log probability of the best path to each state; `labels` begins with the one before the window."""

    blanks: Float64[Tensor, "batch window+1"]
    labels: Float64[Tensor, "batch window+1"]


class Moves(NamedTuple):
    """How the best path to each state came there in each frame of a block."""

    after_label: Bool[Tensor, "time batch window+1"]  # label i - 1 was better than blank i
    enters: Bool[Tensor, "time batch window"]  # label i was not stayed in


@torch.inference_mode()
def ctc_align(
    log_probs: Float[Tensor, "batch time vocab"],
    frames: Int[Tensor, " batch"],
    labels: Int[Tensor, "batch labels"],
    label_lengths: Int[Tensor, " batch"],
    *,
    blank: int,
) -> list[Alignment | None]:
    """The most probable path through each utterance's labels (Viterbi), in float64.

    None where there is no path: fewer frames than labels and the blanks between equal neighbors, or a probability of 0
    on every path; whoever knows the utterance's id says so to the user. Of equal paths the one that stays longest wins.
    Raises DecodeError on NaN.
    """
    differs = F.pad(labels[:, 1:] != labels[:, :-1], (1, 0), value=True)[:, : labels.shape[1]]
    sizes = list(zip(frames.tolist(), label_lengths.tolist(), strict=True))
    scores, states = _best_paths(Trellis(log_probs, frames, blank, labels, differs), sizes)
    if bad := [utterance for utterance, score in enumerate(scores) if np.isnan(score)]:
        raise nan_error(bad)
    state_labels = F.pad(torch.stack([torch.full_like(labels, blank), labels], 2).flatten(1), (0, 1), value=blank)
    path_labels = state_labels.gather(1, states.to(labels.device))[..., None]
    probabilities = log_probs.gather(2, path_labels)[..., 0].double().exp().cpu()
    results = zip(scores, states, probabilities, labels.cpu(), sizes, strict=True)
    return [
        _alignment(score, path[:t], probs[:t], text[:n]) if t > 0 and score > -torch.inf else None
        for score, path, probs, text, (t, n) in results
    ]


def _best_paths(trellis: Trellis, sizes: Sequence[tuple[int, int]]) -> tuple[list[float], Int[Tensor, "batch time"]]:
    """The score of each utterance's best path, and the state of each of its frames, on the host."""
    (batch, time, _), width = trellis.log_probs.shape, trellis.labels.shape[1]
    step = time if time * batch * (2 * width + 1) <= MOST_MOVES else BLOCK
    blocks = [range(begin, min(begin + step, time)) for begin in range(0, time, step)]
    scores, saved = _start(trellis), []
    moves = _no_moves(trellis, time) if len(blocks) == 1 else None
    for block in blocks:
        saved.append(Scores(*(part.clone() for part in scores)))
        _run(trellis, scores, block, sizes, moves)
    best, ends = _ends(scores, [length for _, length in sizes])
    states = np.zeros((batch, time), dtype=np.int64)
    if moves is not None:
        _trace(trellis, moves, [0] * batch, ends, states)
        return best, torch.from_numpy(states)
    for block, before in zip(reversed(blocks), reversed(saved), strict=True):
        window = min(width, len(block) + 1)
        first = [max(0, min(end // 2 - len(block), width - window)) for end in ends]
        part, start = _window(trellis, before, first, window)
        moves = _no_moves(part, len(block))
        _run(part, start, block, sizes, moves)
        ends = _trace(part, moves, first, ends, states[:, block.start : block.stop])
    return best, torch.from_numpy(states)


def _start(trellis: Trellis) -> Scores:
    """Before the first frame: in the first blank."""
    blanks = trellis.log_probs.new_full((len(trellis.labels), trellis.labels.shape[1] + 1), -torch.inf).double()
    scores = Scores(blanks, blanks.clone())
    scores.blanks[:, 0] = 0.0
    return scores


def _ends(scores: Scores, lengths: Sequence[int]) -> tuple[list[float], list[int]]:
    """The best score of each utterance, and its state: the last blank or, where better, the last label."""
    behind = torch.tensor(lengths, device=scores.blanks.device)[:, None]
    final = torch.cat([scores.blanks.gather(1, behind), scores.labels.gather(1, behind)], 1)  # label -1 is impossible
    pairs = zip(final.tolist(), lengths, strict=True)
    return final.amax(1).tolist(), [2 * n - (label > blank) for (blank, label), n in pairs]


def _window(trellis: Trellis, scores: Scores, first: Sequence[int], size: int) -> tuple[Trellis, Scores]:
    """`size` labels of each utterance from `first` on, with the blanks around them.

    The label before stays as it is, but no path from there reaches the block's end.
    """
    begin = torch.tensor(first, device=trellis.labels.device)[:, None]
    positions = begin + torch.arange(size + 1, device=begin.device)
    inside = positions[:, :-1]
    part = trellis._replace(labels=trellis.labels.gather(1, inside), differs=trellis.differs.gather(1, inside))
    return part, Scores(*(values.gather(1, positions) for values in scores))


def _no_moves(trellis: Trellis, frames: int) -> Moves:
    """Uninitialized moves of some frames."""
    batch, width = trellis.labels.shape
    flags = {"dtype": torch.bool, "device": trellis.labels.device}
    return Moves(*(torch.empty(frames, batch, size, **flags) for size in (width + 1, width)))


def _run(trellis: Trellis, scores: Scores, block: range, sizes: Sequence[tuple[int, int]], moves: Moves | None) -> None:
    """Advance `scores`, in place, by the frames of a block; record the moves if `moves` is given.

    Otherwise only labels are computed that can be reached by then and from which the end can be reached: the path that
    reaches the end passes through such labels alone, so the scores of the others do not matter.
    """
    batch, width = trellis.labels.shape
    rows = max(1, MOST_EMISSIONS // (batch * (width + 1)))
    shortest = min(frames for frames, _ in sizes)
    for begin in range(block.start, block.stop, rows):
        chunk = range(begin, min(begin + rows, block.stop))
        low, high, chunk_moves = 0, width, None
        if moves is None:
            low = max(0, min(labels - max(frames - begin, 1) for frames, labels in sizes))
            high = min(width, chunk.stop)
        else:
            chunk_moves = Moves(*(part[begin - block.start : chunk.stop - block.start] for part in moves))
        part = trellis._replace(labels=trellis.labels[:, low:high], differs=trellis.differs[:, low:high])
        window_scores = Scores(*(values[:, low : high + 1] for values in scores))
        _advance(part, window_scores, chunk, chunk_moves, padded=chunk.stop > shortest)


def _advance(trellis: Trellis, scores: Scores, chunk: range, moves: Moves | None, *, padded: bool) -> None:
    """Advance `scores`, in place, frame by frame. Padding is blank for sure, so paths at the end stay there."""
    label_scores, blank_scores = _emissions(trellis, chunk, padded=padded)
    blanks, before, labels = scores.blanks, scores.labels, scores.labels[:, 1:]
    best, entering = torch.empty_like(blanks), torch.empty_like(labels)
    straight, with_blank = best[:, :-1], blanks[:, :-1]
    recorded = [None] * len(chunk) if moves is None else zip(*(part.unbind(0) for part in moves), strict=True)
    for label_score, blank_score, record in zip(label_scores.unbind(1), blank_scores.unbind(1), recorded, strict=True):
        torch.maximum(blanks, before, out=best)
        torch.where(trellis.differs, straight, with_blank, out=entering)
        if record is not None:
            torch.gt(before, blanks, out=record[0])
            torch.gt(entering, labels, out=record[1])
        torch.maximum(labels, entering, out=labels).add_(label_score)
        torch.add(best, blank_score, out=blanks)


def _emissions(
    trellis: Trellis, chunk: range, *, padded: bool
) -> tuple[Float64[Tensor, "batch chunk window"], Float64[Tensor, "batch chunk 1"]]:
    """Log probabilities of the labels and of blank."""
    log_probs = trellis.log_probs[:, chunk.start : chunk.stop]
    label_scores = log_probs.gather(2, trellis.labels[:, None].expand(-1, len(chunk), -1)).double()
    blank_scores = log_probs[..., trellis.blank, None].double()
    if padded:
        padding = ~valid_mask(trellis.frames - chunk.start, len(chunk))[..., None]
        label_scores = label_scores.masked_fill_(padding, -torch.inf)
        blank_scores = blank_scores.masked_fill(padding, 0.0)
    return label_scores, blank_scores


def _trace(
    trellis: Trellis, moves: Moves, first: Sequence[int], ends: Sequence[int], states: Int[np.ndarray, "batch time"]
) -> list[int]:
    """Write the states of a block's frames, from `ends` backwards; returns the states before the block."""
    after_label, enters = (part.cpu().numpy() for part in moves)
    before = []
    for utterance, (begin, end, differs) in enumerate(zip(first, ends, trellis.differs.tolist(), strict=True)):
        state, path = end - 2 * begin, []
        for after, entered in zip(after_label[::-1, utterance], enters[::-1, utterance], strict=True):
            path.append(state)
            label, in_label = divmod(state, 2)
            if not in_label:
                state -= int(after[label])
            elif entered[label]:
                state -= 2 if differs[label] and after[label] else 1
        states[utterance] = path[::-1]
        states[utterance] += 2 * begin
        before.append(state + 2 * begin)
    return before


def _alignment(score: float, path: Tensor, probabilities: Tensor, labels: Tensor) -> Alignment:
    """Read the spans from the states of one utterance's frames."""
    odd = path % 2 == 1
    label_indices = path[odd] // 2
    at = odd.nonzero()[:, 0]
    counts = torch.bincount(label_indices, minlength=len(labels))
    sums = torch.zeros(len(labels), dtype=probabilities.dtype).index_add(0, label_indices, probabilities[odd])
    ends = counts.cumsum(0)  # a label's frames are neighbors, and the labels are in order
    spans = zip(labels.tolist(), at[ends - counts].tolist(), (at[ends - 1] + 1).tolist(), sums / counts, strict=True)
    return Alignment(tuple(LabelSpan(label, start, end, float(mean)) for label, start, end, mean in spans), score)
