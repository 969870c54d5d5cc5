"""What a search did, step by step, and the hypotheses read from it.  Axes: U live utterances, K slots, S scorers."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor

from hybrid_asr.decoding.hypothesis import Hypothesis


class Step(NamedTuple):
    """The survivors of one pruning; it stays on the device until the search is over, so that no step waits for it."""

    utterances: Int[Tensor, " live"]  # their places in the batch
    parents: Int[Tensor, "live slots"]  # slots of the step before
    labels: Int[Tensor, "live slots"]
    scores: Float[Tensor, "live slots"]
    parts: Float[Tensor, "scorers live slots"]  # unweighted sums
    ended: Bool[Tensor, "live slots"]
    cut: Bool[Tensor, " live"]  # at the bound: all that ended had to


def ended_hypotheses(steps: list[Step], names: list[str], *, batch: int, slots: int) -> list[list[Hypothesis]]:
    """All hypotheses that ended, for each utterance of the batch, in the order in which they did."""
    found: list[list[Hypothesis]] = [[] for _ in range(batch)]
    labels: list[list[tuple[int, ...]]] = [[()] * slots for _ in range(batch)]
    for step in steps:
        columns = step._replace(parts=step.parts.permute(1, 2, 0))
        for utterance, *row, cut in zip(*(column.tolist() for column in columns), strict=True):
            before, labels[utterance] = labels[utterance], []
            for parent, label, score, parts, ended in zip(*row, strict=True):
                if ended:
                    named = dict(zip(names, parts, strict=True))
                    found[utterance].append(Hypothesis(before[parent], score, named, "cut" if cut else "eos"))
                labels[utterance].append((*before[parent], label))
    return found
