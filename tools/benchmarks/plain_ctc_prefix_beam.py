"""CTC prefix beam search as in the textbook: dictionaries, and Python loops over frames, prefixes and labels.

What `hybrid_asr/decoding/ctc_prefix_beam.py` is measured against and compared with; it shares nothing with it.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Prefix(NamedTuple):
    """Log probabilities of the alignments so far that emit a prefix and end in blank, or in its last label."""

    in_blank: float
    in_label: float

    @property
    def total(self) -> float:
        return _add(self.in_blank, self.in_label)


def plain_ctc_prefix_beam(
    log_probs: Tensor, *, beam: int, candidates: int, blank: int = 0, excluded: tuple[int, ...] = ()
) -> list[tuple[tuple[int, ...], float]]:
    """The labelings in the beam after the last frame of (T, V), best first, with their log probabilities.

    `candidates` labels of each frame open new prefixes (0: all of them).
    """
    closed = torch.tensor(sorted({blank, *excluded}))
    usable = log_probs.shape[1] - len(closed)
    allowed = log_probs.index_fill(1, closed, -torch.inf)
    choices = allowed.topk(min(candidates or usable, usable), dim=1).indices.tolist()
    found = {(): Prefix(0.0, -math.inf)}
    for frame, labels in zip(log_probs.tolist(), choices, strict=True):
        grown = {one: prefix for one, prefix in _grow(found, frame, labels, blank).items() if prefix.total > -math.inf}
        best = sorted(grown.items(), key=lambda item: (-item[1].total, item[0]))
        found = dict(best[:beam])
    return [(labels, prefix.total) for labels, prefix in found.items()]


def _grow(
    found: dict[tuple[int, ...], Prefix], frame: list[float], choices: list[int], blank: int
) -> dict[tuple[int, ...], Prefix]:
    """All prefixes after one more frame."""
    grown: dict[tuple[int, ...], Prefix] = {}
    for labels, prefix in found.items():
        _flow(grown, labels, prefix.total + frame[blank], "in_blank")
        if labels:
            _flow(grown, labels, prefix.in_label + frame[labels[-1]], "in_label")
            if labels[:-1] in found and labels[-1] not in choices:
                _flow(
                    grown, labels, _source(found[labels[:-1]], labels[:-1], labels[-1]) + frame[labels[-1]], "in_label"
                )
        for label in choices:
            _flow(grown, (*labels, label), _source(prefix, labels, label) + frame[label], "in_label")
    return grown


def _source(prefix: Prefix, labels: tuple[int, ...], label: int) -> float:
    """What may go on by `label`: after the same label only what ends in blank."""
    return prefix.in_blank if labels and labels[-1] == label else prefix.total


def _flow(grown: dict[tuple[int, ...], Prefix], labels: tuple[int, ...], score: float, where: str) -> None:
    before = grown.get(labels, Prefix(-math.inf, -math.inf))
    grown[labels] = before._replace(**{where: _add(getattr(before, where), score)})


def _add(one: float, other: float) -> float:
    """log(exp(one) + exp(other))."""
    if one < other:
        one, other = other, one
    return one if other == -math.inf else one + math.log1p(math.exp(other - one))
