"""The joint search: label-synchronous one-pass beam search with several scorers at once.

Axes: B utterances of the batch, U of them live, K slots (hypotheses of an utterance), S scorers, V labels.
"""

from typing import Annotated, Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from hybrid_asr.config.schema import config
from hybrid_asr.decoding.history import Step, ended_hypotheses
from hybrid_asr.decoding.hypothesis import Hypothesis, Nbest, nan_error
from hybrid_asr.decoding.scorer import Scorer
from hybrid_asr.models.encoded import Encoded


@config
class SearchConfig:
    """Beam search with `ctc_weight` * CTC + (1 - `ctc_weight`) * attention: 0 is attention alone, 1 is CTC alone.

    `length_bonus` (nats) is added for each label; `normalise: length` ranks ended hypotheses by their score per label,
    the end counted as one.
    """

    kind: Literal["search"] = "search"
    beam: Annotated[int, Field(gt=0)] = 10
    ctc_weight: Annotated[float, Field(ge=0, le=1)] = 0.3
    length_bonus: float = 0.0
    normalise: Literal["none", "length"] = "none"
    nbest: Annotated[int, Field(gt=0)] = 1


class Part(NamedTuple):
    """One scorer of a search; `weight` is above 0, since what weighs nothing need not run."""

    name: str
    scorer: Scorer[Any]
    weight: float


class Beam(NamedTuple):
    """The live hypotheses. An utterance's slots are in the order of their labels; an empty slot scores -inf."""

    utterances: Int[Tensor, " live"]  # their places in the batch
    last: Int[Tensor, "live slots"]
    scores: Float[Tensor, "live slots"]
    parts: Float[Tensor, "scorers live slots"]
    ranks: Float[Tensor, "live nbest"]  # of the best hypotheses that have ended, best first

    def keep(self, rows: Int[Tensor, " kept"]) -> "Beam":
        return Beam(self.utterances[rows], self.last[rows], self.scores[rows], self.parts[:, rows], self.ranks[rows])


class JointSearch:
    """One-pass joint decoding (Watanabe et al., 2017) of a batch, in tensors over utterances × hypotheses.

    The score of a hypothesis is the sum over its steps, the end among them, of weight × increment of every part, plus
    the bonus. Ended hypotheses leave the beam. An utterance's search stops when no live hypothesis can enter its
    n-best any more, which changes nothing since no increment is positive; or at its bound on length, where every live
    hypothesis gets its scored end and counts as cut. Ties fall to the smaller labels.
    """

    def __init__(self, parts: list[Part], cfg: SearchConfig, *, blank: int, sos: int, eos: int):
        assert parts and all(part.weight > 0 for part in parts)
        self.parts = parts
        self.cfg = cfg
        self.blank, self.sos, self.eos = blank, sos, eos

    def __call__(self, encoded: Encoded, max_labels: Int[Tensor, " batch"]) -> list[Nbest]:
        """The n-best of every utterance; hypotheses have at most `max_labels` labels. Raises DecodeError on NaN.

        An utterance whose posteriors allow no labelling at all gets an empty one with score -inf, cut.
        """
        beam = self._start(encoded, max_labels)
        states = [part.scorer.start(encoded, self.cfg.beam) for part in self.parts]
        steps: list[Step] = []
        while True:
            last = beam.last.flatten()
            scored = [part.scorer.score(state, last) for part, state in zip(self.parts, states, strict=True)]
            at_bound = max_labels[beam.utterances] <= len(steps)
            step = self._prune(beam, torch.stack([increments for increments, _ in scored]), at_bound)
            steps.append(step)
            beam = self._proceed(beam, step, len(steps))
            rows = (~self._finished(beam, max_labels, len(steps))).nonzero()[:, 0]
            if not len(rows):
                return self._ranked(steps, len(max_labels))
            states = [state for _, state in scored]
            if len(rows) < len(beam.utterances):
                states = [part.scorer.keep(state, rows) for part, state in zip(self.parts, states, strict=True)]
                beam = beam.keep(rows)
            states = self._advance(states, step.parents[rows], beam.last)

    def _start(self, encoded: Encoded, max_labels: Int[Tensor, " batch"]) -> Beam:
        """One empty hypothesis for each utterance; the other slots are empty."""
        batch, slots = len(max_labels), self.cfg.beam
        scores = torch.full((batch, slots), -torch.inf, dtype=torch.float64, device=encoded.states.device)
        scores[:, 0] = 0.0
        return Beam(
            utterances=torch.arange(batch, device=scores.device),
            last=torch.full_like(scores, self.sos, dtype=torch.int64),
            scores=scores,
            parts=scores.new_zeros(len(self.parts), batch, slots),
            ranks=scores.new_full((batch, self.cfg.nbest), -torch.inf),
        )

    def _prune(
        self, beam: Beam, increments: Float[Tensor, "parts hyps vocab"], at_bound: Bool[Tensor, " live"]
    ) -> Step:
        """The best continuations and ends of each utterance, as many as it has slots."""
        live, slots = beam.scores.shape
        vocab = increments.shape[-1]
        increments = increments.clamp(max=0.0).view(-1, live, slots, vocab)  # rounding must not make them positive
        gains = sum(part.weight * gain for part, gain in zip(self.parts, increments, strict=True))
        totals = beam.scores[..., None] + gains + self._bonus(increments)
        totals = totals.masked_fill(self._forbidden(at_bound, vocab)[:, None], -torch.inf)
        if totals.isnan().any():
            raise nan_error(beam.utterances[totals.isnan().flatten(1).any(1)].tolist())
        totals = totals.flatten(1)
        chosen = best_places(totals, slots)
        parents, labels, scores = chosen // vocab, chosen % vocab, totals.gather(1, chosen)
        gained = increments.flatten(2).gather(2, chosen.expand(len(self.parts), -1, -1))
        sums = beam.parts.gather(2, parents.expand_as(gained)) + gained
        ended = (labels == self.eos) & (scores > -torch.inf)
        return Step(beam.utterances, parents, labels, scores, sums, ended, at_bound)

    def _proceed(self, beam: Beam, step: Step, length: int) -> Beam:
        """What goes on after a step; hypotheses that are still live have `length` labels, ended ones have one less."""
        ranks = self._rank(step.scores, length - 1).masked_fill(~step.ended, -torch.inf)
        ranks = torch.cat([beam.ranks, ranks], dim=1).topk(self.cfg.nbest).values
        return Beam(step.utterances, step.labels, step.scores.masked_fill(step.ended, -torch.inf), step.parts, ranks)

    def _finished(self, beam: Beam, max_labels: Int[Tensor, " batch"], length: int) -> Bool[Tensor, " live"]:
        """Whether no live hypothesis can still enter the n-best: not even if all its further increments were 0.

        Its rank is then monotone in its final length, so the best is reached by ending now or at the bound. An equal
        rank goes on, since the tie could fall to its labels.
        """
        best = beam.scores.amax(1)
        bound = max_labels[beam.utterances]
        full = best + self.cfg.length_bonus * (bound - length)
        reachable = torch.maximum(self._rank(best, length), self._rank(full, bound))
        return (best == -torch.inf) | (beam.ranks[:, -1] > reachable)

    def _advance(
        self, states: list[Any], parents: Int[Tensor, "live slots"], labels: Int[Tensor, "live slots"]
    ) -> list:
        """The scorers' states for the survivors."""
        first = torch.arange(0, parents.numel(), self.cfg.beam, device=parents.device)[:, None]
        rows, labels = (parents + first).flatten(), labels.flatten()
        return [part.scorer.advance(state, rows, labels) for part, state in zip(self.parts, states, strict=True)]

    def _rank(self, scores: Tensor, lengths: Tensor | int) -> Tensor:
        """What hypotheses of so many labels are ranked by."""
        return scores / (lengths + 1) if self.cfg.normalise == "length" else scores

    def _bonus(self, like: Tensor) -> Float[Tensor, " vocab"]:
        """The bonus of each label; the end is none."""
        bonus = like.new_full(like.shape[-1:], self.cfg.length_bonus)
        bonus[self.eos] = 0.0
        return bonus

    def _forbidden(self, at_bound: Bool[Tensor, " live"], vocab: int) -> Bool[Tensor, "live vocab"]:
        """Blank and sos are never chosen, and at the bound nothing but the end is."""
        forbidden = at_bound[:, None].repeat(1, vocab)
        forbidden[:, [self.blank, self.sos]] = True
        forbidden[:, self.eos] = False
        return forbidden

    def _ranked(self, steps: list[Step], batch: int) -> list[Nbest]:
        names = [part.name for part in self.parts]
        nothing = Hypothesis((), -torch.inf, dict.fromkeys(names, -torch.inf), "cut")
        ended = ended_hypotheses(steps, names, batch=batch, slots=self.cfg.beam)
        return [sorted(found or [nothing], key=self._order)[: self.cfg.nbest] for found in ended]

    def _order(self, hypothesis: Hypothesis) -> tuple[float, tuple[int, ...]]:
        rank = hypothesis.score / (len(hypothesis.labels) + 1) if self.cfg.normalise == "length" else hypothesis.score
        return -rank, hypothesis.labels


def best_places(scores: Float[Tensor, "rows places"], count: int) -> Int[Tensor, "rows {count}"]:
    """Where the `count` best scores of each row stand, in ascending order; of equal scores the first ones are taken.

    `topk` alone leaves open which of equal scores it takes, and a result must not depend on that.
    """
    last = scores.topk(count).values[:, -1:]
    above, equal = scores > last, scores == last
    taken = above | (equal & (equal.cumsum(1) <= count - above.sum(1, keepdim=True)))
    places = torch.arange(scores.shape[1], device=scores.device)
    return torch.where(taken, places, scores.shape[1]).topk(count, largest=False).values
