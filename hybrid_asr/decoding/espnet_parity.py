"""The joint search as ESPnet's BatchBeamSearch does it (release 202511), to compare with it number by number.

Axes: U live utterances, K slots (hypotheses of an utterance), V labels.

Where it differs from the search of this toolkit:

- only the 1.5 × beam labels that the attention decoder finds best get a CTC score and go on, and the end; blank may be
  among them and takes a place;
- the end counts as a label for the length bonus;
- it stops once each of three lengths in a row has an ended hypothesis that is more than 10 nats worse than the best;
- it makes at most T' steps, and all hypotheses get an end without its score after the last one: those that are live,
  and those that have ended in it, which counts for their length.
"""

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from hybrid_asr.decoding.backtrace import Step
from hybrid_asr.decoding.hypothesis import Hypothesis, Nbest
from hybrid_asr.decoding.joint import Beam, JointSearch, Part, SearchConfig
from hybrid_asr.models.encoded import Encoded

WORSE = -10.0  # nats: ends that are so much worse than the best tell that longer ones will not be better
LENGTHS, FROM = 3, 2  # so many lengths in a row, from the one that ended two steps ago


class EspnetSearch(JointSearch):
    """ESPnet's rules of pre-selection, stopping and the last end. `Beam.ranks` holds the best score that ever ended,
    then the best of each of the last steps."""

    def __init__(self, parts: list[Part], cfg: SearchConfig, *, blank: int, sos: int, eos: int) -> None:
        super().__init__(parts, cfg, blank=blank, sos=sos, eos=eos)
        self.candidates = (cfg.candidates or int(1.5 * cfg.beam)) if len(parts) > 1 else 0
        self.excluded = []  # CTC excludes blank by itself, and nothing excludes sos
        self.bonus_of_end = cfg.length_bonus

    def __call__(self, encoded: Encoded, max_labels: Int[Tensor, " batch"]) -> list[Nbest]:
        nbests = super().__call__(encoded, max_labels)
        return [[_without(hypothesis, self.eos) for hypothesis in nbest] for nbest in nbests]

    def _start(self, encoded: Encoded, max_labels: Int[Tensor, " batch"]) -> Beam:
        beam = super()._start(encoded, max_labels)
        return beam._replace(ranks=beam.scores.new_full((len(max_labels), 1 + FROM + LENGTHS), -torch.inf))

    def _prune(
        self, beam: Beam, increments: list[Float[Tensor, "hyps vocab"]], cut: Bool[Tensor, " live"] | None
    ) -> Step:
        if cut is None:
            return super()._prune(beam, increments, cut)
        rows = cut.repeat_interleave(self.cfg.beam)
        for part in increments:
            part[rows, self.eos] = 0.0
        step = super()._prune(beam, increments, cut)
        return step._replace(scores=step.scores - self.bonus_of_end * cut[:, None].double())

    def _proceed(self, beam: Beam, step: Step, length: int) -> Beam:
        step.ended.masked_fill_((beam.bounds == length)[:, None], False)  # the last end is yet to come
        return super()._proceed(beam, step, length)

    def _stop_check_every(self, device: torch.device) -> int:
        """1: hypotheses that end after ESPnet would have stopped could enter the n-best."""
        return 1

    def _ranks(self, ranks: Float64[Tensor, "live kept"], ended: Float64[Tensor, "live slots"], length: int) -> Tensor:
        best = ended.amax(1, keepdim=True)
        return torch.cat([torch.maximum(ranks[:, :1], best), best, ranks[:, 1:-1]], dim=1)

    def _finished(self, beam: Beam, length: int) -> Bool[Tensor, " live"]:
        """Once each of three lengths in a row has an end, all far worse than the best; never before the last end."""
        recent = beam.ranks[:, 1 + FROM :]
        detected = ((recent > -torch.inf) & (recent - beam.ranks[:, :1] < WORSE)).all(1)
        return (beam.scores.amax(1) == -torch.inf) | (detected & (length < beam.bounds))


def _without(hypothesis: Hypothesis, label: int) -> Hypothesis:
    """The same hypothesis with all its labels except `label`."""
    return hypothesis._replace(labels=tuple(other for other in hypothesis.labels if other != label))
