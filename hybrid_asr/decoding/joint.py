"""The joint search: label-synchronous one-pass beam search with several scorers at once.

Axes: B utterances of the batch, U of them live, K slots (hypotheses of an utterance), S scorers, V labels.
"""

from typing import Annotated, Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from pydantic import Field
from torch import Tensor

from hybrid_asr.common.device import on_host
from hybrid_asr.config.schema import config
from hybrid_asr.decoding.backtrace import Backtrace, Step
from hybrid_asr.decoding.best_indices import best_indices
from hybrid_asr.decoding.hypothesis import WIDEST, Hypothesis, Nbest, nan_error
from hybrid_asr.decoding.scorer import Scorer
from hybrid_asr.decoding.settings import BeamSettings, Needs
from hybrid_asr.models.encoded import Encoded


@config
class SearchConfig(BeamSettings):
    """Beam search with `ctc_weight` * CTC + (1 - `ctc_weight`) * attention: 0 is attention alone, 1 is CTC alone.

    `length_bonus` (nats) is added for each label; `normalise: length` ranks ended hypotheses by their score per label,
    the end counted as one. `candidates` is the number of each hypothesis's labels, the best by attention, that the
    search goes on with, beside the end; 0 is all. A beam wider than there are labelings leaves slots
    empty. `dtype` is the attention decoder's. `parity: espnet` searches, stops and scores as ESPnet does
    (decoding/espnet_parity.py).
    """

    kind: Literal["search"] = "search"
    beam: Annotated[int, Field(gt=0, le=WIDEST)] = 10
    ctc_weight: Annotated[float, Field(ge=0, le=1)] = 0.3
    length_bonus: float = 0.0
    normalise: Literal["none", "length"] = "none"
    nbest: Annotated[int, Field(gt=0, le=WIDEST)] = 1
    candidates: Annotated[int, Field(ge=0)] = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    parity: Literal["none", "espnet"] = "none"

    @property
    def needs(self) -> Needs:
        """The heads that have a weight."""
        return Needs(ctc=self.ctc_weight > 0, attention=self.ctc_weight < 1)

    def rank(self, hypothesis: Hypothesis) -> float:
        """The score, or the score per label, the end counted as one."""
        return hypothesis.score / (len(hypothesis.labels) + 1) if self.normalise == "length" else hypothesis.score


STOP_CHECK_EVERY = 4  # steps between two checks on a GPU of which utterances have finished; each waits for the GPU
SHRINK_SHARE = 1 / 8  # of the batch must have finished before it is shrunk to the rest


class Part(NamedTuple):
    """One scorer of a search; `weight` is above 0, since a scorer without weight need not run."""

    name: str
    scorer: Scorer[Any]
    weight: float


class Beam(NamedTuple):
    """The live hypotheses. An utterance's slots are in the order of their labels; an empty slot scores -inf."""

    utterances: Int[Tensor, " live"]  # their rows in the batch
    bounds: Int[Tensor, " live"]  # the most labels that each may get
    last: Int[Tensor, "live slots"]
    scores: Float64[Tensor, "live slots"]
    parts: Float64[Tensor, "scorers live slots"]
    ranks: Float64[Tensor, "live nbest"]  # of the best hypotheses that have ended, best first

    def keep(self, rows: Int[Tensor, " kept"]) -> "Beam":
        """Drop all utterances but those at `rows`."""
        parts = self.parts[:, rows]
        return Beam(
            self.utterances[rows], self.bounds[rows], self.last[rows], self.scores[rows], parts, self.ranks[rows]
        )


class JointSearch:
    """One-pass joint decoding (Watanabe et al., 2017) of a batch, in tensors over utterances × hypotheses.

    The score of a hypothesis is the sum over its steps, the end among them, of weight × increment of every part, plus
    the bonus. Ended hypotheses leave the beam. An utterance's search stops when no live hypothesis can enter its
    n-best any more, which changes nothing since no increment is positive; or at its bound on length, where every live
    hypothesis gets its scored end and counts as cut. Ties fall to the smaller labels.
    """

    def __init__(self, parts: list[Part], cfg: SearchConfig, *, blank: int, sos: int, eos: int) -> None:
        assert parts and all(part.weight > 0 for part in parts)
        self.parts = parts
        self.cfg = cfg
        self.sos, self.eos = sos, eos
        self.excluded = sorted({blank, sos} - {eos})
        self.candidates = cfg.candidates
        self.bonus_of_end = 0.0

    def __call__(self, encoded: Encoded, max_labels: Int[Tensor, " batch"]) -> list[Nbest]:
        """The n-best of every utterance; hypotheses have at most `max_labels` labels. Raises DecodeError on NaN.

        An utterance whose posteriors allow no labeling at all gets an empty one with score -inf, cut.
        """
        names = [part.name for part in self.parts]
        empty = Hypothesis((), -torch.inf, dict.fromkeys(names, -torch.inf), "cut")
        backtrace = Backtrace(self._run(encoded, max_labels), names, batch=len(max_labels))
        nbests = (backtrace.nbest(n, self.cfg.nbest, normalise=self.cfg.normalise) for n in range(len(max_labels)))
        return [nbest or [empty] for nbest in nbests]

    def _run(self, encoded: Encoded, max_labels: Int[Tensor, " batch"]) -> list[Step]:
        """Search to the end."""
        beam = self._start(encoded, max_labels)
        states = [part.scorer.start(encoded, self.cfg.beam) for part in self.parts]
        first = self._first_slots(beam)
        bounds: list[int] = max_labels.tolist()  # of the live ones, on the host
        steps: list[Step] = []
        while True:
            last = beam.last.flatten()
            scored = [part.scorer.score(state, last) for part, state in zip(self.parts, states, strict=True)]
            states = [state for _, state in scored]
            cut = self._at_bound(bounds, len(steps), beam.bounds)
            step = self._prune(beam, [increments for increments, _ in scored], cut)
            steps.append(step)
            beam = self._proceed(beam, step, len(steps))
            if len(steps) % self._stop_check_every(last.device) == 0 or max(bounds) < len(steps):
                rows = self._unfinished(beam, len(steps))
                if not rows:
                    return steps
                if len(bounds) - len(rows) >= SHRINK_SHARE * len(bounds):
                    live = torch.tensor(rows, device=last.device)
                    states = [part.scorer.keep(state, live) for part, state in zip(self.parts, states, strict=True)]
                    beam, step = beam.keep(live), step._replace(parents=step.parents[live])
                    bounds = [bounds[row] for row in rows]
                    first = self._first_slots(beam)
            states = self._advance(states, (step.parents + first).flatten(), beam.last.flatten())

    def _start(self, encoded: Encoded, max_labels: Int[Tensor, " batch"]) -> Beam:
        """One empty hypothesis for each utterance; the other slots are empty."""
        batch, slots = len(max_labels), self.cfg.beam
        scores = torch.full((batch, slots), -torch.inf, dtype=torch.float64, device=encoded.states.device)
        scores[:, 0] = 0.0
        return Beam(
            utterances=torch.arange(batch, device=scores.device),
            bounds=max_labels.to(scores.device),
            last=torch.full_like(scores, self.sos, dtype=torch.int64),
            scores=scores,
            parts=scores.new_zeros(len(self.parts), batch, slots),
            ranks=scores.new_full((batch, self.cfg.nbest), -torch.inf),
        )

    def _stop_check_every(self, device: torch.device) -> int:
        """Steps between two checks; the steps that a finished utterance makes until then change nothing."""
        return 1 if on_host(device) else STOP_CHECK_EVERY

    def _at_bound(self, bounds: list[int], length: int, bound: Int[Tensor, " live"]) -> Bool[Tensor, " live"] | None:
        """Utterances whose hypotheses, of `length` labels, must end now; None if there are none."""
        return bound <= length if min(bounds) <= length else None

    def _first_slots(self, beam: Beam) -> Int[Tensor, "live 1"]:
        """The place of each utterance's first slot among all hypotheses."""
        return torch.arange(0, beam.scores.numel(), self.cfg.beam, device=beam.scores.device)[:, None]

    def _prune(
        self, beam: Beam, increments: list[Float[Tensor, "hyps vocab"]], cut: Bool[Tensor, " live"] | None
    ) -> Step:
        """The best continuations and ends of each utterance, as many as it has slots.

        Each hypothesis's best labels are found in the precision of the increments, and those of an utterance among
        them in float64: the whole vocabulary is read a few times only.
        """
        live, slots = beam.scores.shape
        weighted = self._gains(increments, cut)
        labels = best_indices(weighted, min(slots, weighted.shape[1]))  # (N, some)
        gained = torch.stack([part.gather(1, labels) for part in increments]).double()
        gained = gained.clamp_(max=0.0)  # rounding must not make them positive
        gains = self.parts[0].weight * gained[0]
        for part, gain in zip(self.parts[1:], gained[1:], strict=True):
            gains = gains.add_(gain, alpha=part.weight)
        if self.cfg.length_bonus:  # of each label, and of the end
            gains.add_(labels != self.eos, alpha=self.cfg.length_bonus - self.bonus_of_end).add_(self.bonus_of_end)
        if cut is not None or self._preselects(weighted):
            gains.masked_fill_(weighted.gather(1, labels) == -torch.inf, -torch.inf)
        totals = beam.scores[..., None] + gains.view(live, slots, -1)  # (U, K, some)
        totals = totals.flatten(1)
        chosen = best_indices(totals, slots)
        parents = chosen // labels.shape[1]
        scores, labels = totals.gather(1, chosen), labels.view(live, -1).gather(1, chosen)
        gained = gained.view(len(gained), live, -1).gather(2, chosen.expand(len(gained), -1, -1))
        sums = beam.parts.gather(2, parents.expand_as(gained)).add_(gained)
        return Step(beam.utterances, parents, labels, scores, sums, labels == self.eos, cut)

    def _gains(
        self, increments: list[Float[Tensor, "hyps vocab"]], cut: Bool[Tensor, " live"] | None
    ) -> Float[Tensor, "hyps vocab"]:
        """What each label adds to a hypothesis's score, up to a constant; -inf for forbidden labels.

        Those that are never allowed are made impossible in the increments, too.
        """
        for increment in increments:
            for unit in self.excluded:
                increment[:, unit] = -torch.inf
        weighted = increments[0] * self.parts[0].weight
        for part, increment in zip(self.parts[1:], increments[1:], strict=True):
            weighted.add_(increment, alpha=part.weight)
        if self.cfg.length_bonus:
            weighted[:, self.eos].sub_(self.cfg.length_bonus - self.bonus_of_end)
        if self._preselects(weighted):
            self._preselect(weighted, increments[-1])
        if cut is not None:
            end = weighted[:, self.eos].clone()
            weighted.masked_fill_(cut.repeat_interleave(len(weighted) // len(cut))[:, None], -torch.inf)
            weighted[:, self.eos] = end
        return weighted

    def _preselects(self, weighted: Float[Tensor, "hyps vocab"]) -> bool:
        """Whether only some labels of each hypothesis go on."""
        return 0 < self.candidates < weighted.shape[1]

    def _preselect(self, weighted: Float[Tensor, "hyps vocab"], full: Float[Tensor, "hyps vocab"]) -> None:
        """Leave each hypothesis its end and its best labels by the last scorer, attention where there is one."""
        others = torch.ones_like(weighted, dtype=torch.bool).scatter_(1, best_indices(full, self.candidates), False)
        others[:, self.eos] = False
        weighted.masked_fill_(others, -torch.inf)

    def _proceed(self, beam: Beam, step: Step, length: int) -> Beam:
        """The beam after a step; hypotheses that are still live have `length` labels, ended ones have one less."""
        ended = step.scores.masked_fill(~step.ended, -torch.inf)
        live = step.scores.masked_fill(step.ended, -torch.inf)
        ranks = self._ranks(beam.ranks, ended, length - 1)
        return Beam(step.utterances, beam.bounds, step.labels, live, step.parts, ranks)

    def _ranks(self, ranks: Float64[Tensor, "live nbest"], ended: Float64[Tensor, "live slots"], length: int) -> Tensor:
        """The best that have ended so far, now that hypotheses of `length` labels have with the scores `ended`."""
        return torch.cat([ranks, self._rank(ended, length)], dim=1).topk(ranks.shape[1]).values

    def _unfinished(self, beam: Beam, length: int) -> list[int]:
        """The rows of the utterances that go on; the slots of the others are emptied. Raises DecodeError on NaN."""
        finished = self._finished(beam, length)
        not_a_number = torch.cat([beam.scores, beam.ranks], dim=1).isnan().any(1)
        over, bad = torch.stack([finished, not_a_number]).tolist()
        if any(bad):
            raise nan_error(sorted(beam.utterances[not_a_number].tolist()))
        if any(over):
            beam.scores.masked_fill_(finished[:, None], -torch.inf)
        return [row for row, done in enumerate(over) if not done]

    def _finished(self, beam: Beam, length: int) -> Bool[Tensor, " live"]:
        """Whether no live hypothesis can still enter the n-best: not even if all its further increments were 0.

        Its rank is then monotone in its final length, so the best is reached by ending now or at the bound. An equal
        rank goes on, since the tie could fall to its labels.
        """
        best = beam.scores.amax(1)
        full = best + self.cfg.length_bonus * (beam.bounds - length)
        reachable = torch.maximum(self._rank(best, length), self._rank(full, beam.bounds))
        return (best == -torch.inf) | (beam.ranks[:, -1] > reachable)

    def _advance(self, states: list[Any], rows: Int[Tensor, " hyps"], labels: Int[Tensor, " hyps"]) -> list[Any]:
        """The scorers' states for the survivors."""
        return [part.scorer.advance(state, rows, labels) for part, state in zip(self.parts, states, strict=True)]

    def _rank(self, scores: Tensor, lengths: Tensor | int) -> Tensor:
        """What hypotheses of so many labels are ranked by."""
        return scores / (lengths + 1) if self.cfg.normalise == "length" else scores
