"""What the decoding benchmark decodes, and whether two toolkits found the same texts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Text = Sequence[int] | Sequence[str]  # labels without sos and eos, or words
Mode = Literal["joint", "joint_full", "attention", "ctc_prefix"]
NbestTexts = Sequence[tuple[Text, float]]  # with their scores, best first
TIE = 1e-3  # nats: hypotheses whose scores differ by less may change places in float32


class Case(NamedTuple):
    """One piece of work; every hypothesis gets exactly `labels` labels, since eos is out of the question.

    `joint`: CTC scores for the decoder's 1.5 × beam best labels, ESPnet's default; `joint_full`: for all of them.
    `ctc_prefix` starts from made-up posteriors and ends as they say.
    """

    mode: Mode
    units: int = 500
    batch: int = 1
    seconds: float = 10.0
    beam: int = 10
    labels: int = 40
    ctc_weight: float = 0.3

    @property
    def weight(self) -> float:
        """The weight of the CTC score."""
        return 0.0 if self.mode == "attention" else self.ctc_weight

    @property
    def candidates(self) -> int:
        """Labels of each hypothesis that get a CTC score."""
        return min(int(1.5 * self.beam), self.units) if self.mode == "joint" else self.units


def request(case: Case) -> dict[str, Any]:
    """A case as it travels to a worker."""
    return case._asdict()


ROWS = {  # the names of `--json` (ours in bf16 gets names of its own) and what is decoded
    "joint_b1": Case("joint"),
    "joint_b8": Case("joint", batch=8),
    "joint_b32": Case("joint", batch=32),
    "joint_full_b1": Case("joint_full", units=5000),
    "attention_b8": Case("attention", batch=8),
    "ctc_prefix_b8": Case("ctc_prefix", batch=8),
}


def turn_of(turn: int, batch: int, rounds: int) -> list[int]:
    """The utterances that a toolkit without batches decodes in one round: as few as show all of them in `rounds`."""
    share = math.ceil(batch / rounds)
    return [(turn * share + place) % batch for place in range(share)]


class Verdict(NamedTuple):
    """Whether two toolkits' n-best agree.

    A rank is tied where texts differ at scores closer than `TIE`, and the text stands at another rank of the other's
    with the same score, or would be its last but for as little.
    """

    utterances: int
    best: int  # utterances whose best texts are equal
    ranks: int
    equal: int  # ranks whose texts are equal
    tied: int
    gap: float  # largest difference of scores at equal texts

    @property
    def same(self) -> bool:
        """Whether the two do the same work: every text is equal or tied, and something was compared."""
        return self.utterances > 0 and self.equal + self.tied == self.ranks

    def __str__(self) -> str:
        ties = f", {self.tied} tied" if self.tied else ""
        gap = f", scores within {self.gap:.1e}" if self.equal else ""
        return f"best texts {self.best}/{self.utterances} equal, n-best {self.equal}/{self.ranks}{ties}{gap}"


def compare(ours: Mapping[int, NbestTexts], theirs: Mapping[int, NbestTexts], *, tie: float = TIE) -> Verdict:
    """Compare the n-best of every utterance that both decoded, rank by rank."""
    both = sorted(set(ours) & set(theirs))
    ranks = equal = tied = best = 0
    gap = 0.0
    for key in both:
        pairs = list(zip(ours[key], theirs[key], strict=False))
        ranks += max(len(ours[key]), len(theirs[key]))  # a missing rank is a difference
        for (text, score), (other_text, other_score) in pairs:
            if list(text) == list(other_text):
                equal += 1
                gap = max(gap, abs(score - other_score))
            elif abs(score - other_score) < tie:
                elsewhere = {tuple(found): its for found, its in theirs[key]}
                tied += abs(score - elsewhere.get(tuple(text), theirs[key][-1][1])) < tie
        best += bool(pairs) and list(pairs[0][0][0]) == list(pairs[0][1][0])
    return Verdict(len(both), best, ranks, equal, tied, gap)


def gathered(answers: Sequence[Mapping[str, Any]]) -> dict[int, NbestTexts]:
    """The n-best of every utterance that a worker decoded over the rounds, from its answers."""
    return {int(key): nbest for answer in answers for key, nbest in answer["nbest"].items()}
