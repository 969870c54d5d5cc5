"""What a search did, step by step, and the hypotheses read from it.  Axes: U live utterances, K slots, S scorers."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from torch import Tensor

from hybrid_asr.decoding.hypothesis import Hypothesis, Nbest


class Step(NamedTuple):
    """The survivors of one pruning; it stays on the device until the search is over, so that no step waits for it."""

    utterances: Int[Tensor, " live"]  # their places in the batch
    parents: Int[Tensor, "live slots"]  # slots of the step before
    labels: Int[Tensor, "live slots"]
    scores: Float64[Tensor, "live slots"]
    parts: Float64[Tensor, "scorers live slots"]  # unweighted sums
    ended: Bool[Tensor, "live slots"]
    cut: Bool[Tensor, " live"]  # at the bound: all that ended had to


class Ended(NamedTuple):
    """A hypothesis that ended: where, and what it is ranked by."""

    rank: float
    step: int
    slot: int


class History:
    """The steps of a search, read on the host."""

    def __init__(self, steps: list[Step], names: list[str], *, batch: int):
        self.names = names
        self.steps = [Step(*(column.cpu().numpy() for column in step)) for step in steps]  # type: ignore[arg-type]
        self.rows = np.full((len(steps), batch), -1)
        for place, step in enumerate(self.steps):
            self.rows[place, step.utterances] = np.arange(len(step.utterances))

    def nbest(self, utterance: int, count: int, *, normalise: Literal["none", "length"]) -> Nbest:
        """The best that ended, ties by the smaller labels; only their labels are read, from their ends backwards."""
        ended = []
        for place, (step, row) in enumerate(zip(self.steps, self.rows[:, utterance], strict=True)):
            for slot in step.ended[row].nonzero()[0] if row >= 0 else ():
                rank = step.scores[row, slot] / (place + 1 if normalise == "length" else 1)
                ended.append(Ended(float(rank), place, int(slot)))
        ended.sort(key=lambda one: -one.rank)
        in_question = [one for one in ended if one.rank >= ended[min(count, len(ended)) - 1].rank]
        read = sorted((-one.rank, self._labels(utterance, one), one) for one in in_question)
        return [self._hypothesis(utterance, labels, one) for _, labels, one in read[:count]]

    def _labels(self, utterance: int, one: Ended) -> tuple[int, ...]:
        """All labels but the end."""
        labels, slot = [], self._at(one.step, utterance).parents[one.slot]
        for place in range(one.step - 1, -1, -1):
            step = self._at(place, utterance)
            labels.append(int(step.labels[slot]))
            slot = step.parents[slot]
        return tuple(reversed(labels))

    def _hypothesis(self, utterance: int, labels: tuple[int, ...], one: Ended) -> Hypothesis:
        step, row = self.steps[one.step], self.rows[one.step, utterance]
        parts = dict(zip(self.names, step.parts[:, row, one.slot].tolist(), strict=True))
        return Hypothesis(labels, float(step.scores[row, one.slot]), parts, "cut" if step.cut[row] else "eos")

    def _at(self, place: int, utterance: int) -> Step:
        """One utterance's part of a step."""
        step, row = self.steps[place], self.rows[place, utterance]
        return step._replace(parents=step.parents[row], labels=step.labels[row])
