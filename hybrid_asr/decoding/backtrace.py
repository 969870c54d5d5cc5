"""The steps of a beam search, and hypotheses traced back through them.  Axes: U live utterances, K slots, S scorers."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from hybrid_asr.decoding.hypothesis import Hypothesis, Nbest


class Step(NamedTuple):
    """The survivors of one pruning, on the device until the search is over, so that no step waits for a copy."""

    utterances: Int[Tensor, " live"]  # their rows in the batch
    parents: Int[Tensor, "live slots"]  # slots of the step before
    labels: Int[Tensor, "live slots"]
    scores: Float64[Tensor, "live slots"]
    parts: Float64[Tensor, "scorers live slots"]  # unweighted sums
    ended: Bool[Tensor, "live slots"]  # where the label is the end; of an impossible one (-inf) it means nothing
    cut: Bool[Tensor, " live"] | None  # at the bound on length, which forced the ends; None if no utterance is


class Ended(NamedTuple):
    """A hypothesis that ended: at which step and slot, and what it is ranked by."""

    rank: float
    step: int
    slot: int


class Backtrace:
    """The steps of a search, copied to the host, from which labels are read from the end backwards."""

    def __init__(self, steps: list[Step], names: list[str], *, batch: int) -> None:
        self.names = names
        self.steps = [Step(*columns) for columns in zip(*map(_to_host, zip(*steps, strict=True)), strict=True)]
        self.rows = np.full((len(steps), batch), -1)
        for step_index, step in enumerate(self.steps):
            self.rows[step_index, step.utterances] = np.arange(len(step.utterances))

    def nbest(self, utterance: int, count: int, *, normalise: Literal["none", "length"]) -> Nbest:
        """The `count` best hypotheses that ended, equal ranks by smaller labels; only their labels are traced back."""
        ended = []
        for step_index, (step, row) in enumerate(zip(self.steps, self.rows[:, utterance], strict=True)):
            possible = step.scores[row] > -np.inf
            for slot in (step.ended[row] & possible).nonzero()[0] if row >= 0 else ():
                rank = step.scores[row, slot] / (step_index + 1 if normalise == "length" else 1)
                ended.append(Ended(float(rank), step_index, int(slot)))
        ended.sort(key=lambda end: -end.rank)
        contenders = [end for end in ended if end.rank >= ended[min(count, len(ended)) - 1].rank]
        decoded = sorted((-end.rank, self._labels(utterance, end), end) for end in contenders)
        return [self._hypothesis(utterance, labels, end) for _, labels, end in decoded[:count]]

    def _labels(self, utterance: int, end: Ended) -> tuple[int, ...]:
        """All labels except the end."""
        labels, slot = [], self._at(end.step, utterance).parents[end.slot]
        for step_index in range(end.step - 1, -1, -1):
            step = self._at(step_index, utterance)
            labels.append(int(step.labels[slot]))
            slot = step.parents[slot]
        return tuple(reversed(labels))

    def _hypothesis(self, utterance: int, labels: tuple[int, ...], end: Ended) -> Hypothesis:
        step, row = self.steps[end.step], self.rows[end.step, utterance]
        parts = dict(zip(self.names, step.parts[:, row, end.slot].tolist(), strict=True))
        return Hypothesis(
            labels, float(step.scores[row, end.slot]), parts, "cut" if step.cut is not None and step.cut[row] else "eos"
        )

    def _at(self, step_index: int, utterance: int) -> Step:
        """One utterance's part of a step."""
        step, row = self.steps[step_index], self.rows[step_index, utterance]
        return step._replace(parents=step.parents[row], labels=step.labels[row])


def _to_host(column: tuple[Tensor | None, ...]) -> list[Any]:
    """A column of all steps as arrays, copied at once: a copy for each would make the host wait that often."""
    given = [values for values in column if values is not None]
    if not given:
        return [None] * len(column)
    flat = torch.cat([values.flatten() for values in given]).cpu().numpy()
    ends = np.cumsum([values.numel() for values in given])[:-1]
    arrays = iter(np.split(flat, ends))
    return [None if values is None else next(arrays).reshape(values.shape) for values in column]
