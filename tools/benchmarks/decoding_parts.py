"""The two halves of our search done plainly, to see what each brings: frame-by-frame CTC scores, an uncached decoder.

Axes: N hypotheses (those of an utterance stand side by side), T frames, L labels, V units, C labels that are scored.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from hybrid_asr.decoding.joint import Part
from hybrid_asr.decoding.scorer import AttentionScorer
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import StepOutput
from tools.peers.decoding_toolkits import ForcedDecoder

NOTHING = -1e10  # the logarithm of zero, such that differences stay numbers


class FrameState(NamedTuple):
    """Forward variables after each frame, in label and in blank: of the hypotheses, and of all that was scored last."""

    log_probs: Tensor  # (N, T, V)
    forward: Tensor  # (N, T, 2)
    prefix: Tensor  # (N,) log ψ
    last: Tensor  # (N,); -1 for nothing yet
    labels: Tensor  # (N, C)
    extended: Tensor  # (N, T, 2, C)
    extended_prefix: Tensor  # (N, C)


class FrameByFrameScorer:
    """CTC prefix scores by a loop over frames (Watanabe et al., 2017, algorithm 2), for the decoder's best labels."""

    def __init__(self, log_probs: Tensor, attention: "RememberingScorer", *, blank: int, eos: int):
        self.log_probs, self.attention = log_probs, attention
        self.blank, self.eos = blank, eos

    def start(self, encoded: Encoded, beams: int) -> FrameState:
        log_probs = self.log_probs.repeat_interleave(beams, dim=0)
        blanks = log_probs[..., self.blank].cumsum(1)
        forward = torch.stack([torch.full_like(blanks, NOTHING), blanks], dim=2)
        nobody = torch.full((len(log_probs),), -1, device=log_probs.device)
        return FrameState(log_probs, forward, blanks[:, 0] * 0.0, nobody, nobody[:, None], forward, forward)

    def score(self, state: FrameState, last: Tensor) -> tuple[Tensor, FrameState]:
        labels = self.attention.best
        frames = state.log_probs.shape[1]
        emitted = state.log_probs.gather(2, labels[:, None].expand(-1, frames, -1))
        blank = state.log_probs[..., self.blank, None]
        inflow = state.forward.logsumexp(2)[..., None].expand_as(emitted)
        inflow = torch.where((labels == state.last[:, None])[:, None], state.forward[..., 1:], inflow)
        nothing = torch.full_like(emitted[:, 0], NOTHING)
        first = torch.where(state.last[:, None] < 0, emitted[:, 0], nothing)
        steps = [torch.stack([first, nothing], dim=1)]
        prefix = first
        for frame in range(1, frames):
            before, flow = steps[-1], inflow[:, frame - 1]
            in_label = torch.logaddexp(before[:, 0], flow) + emitted[:, frame]
            in_blank = torch.logaddexp(before[:, 0], before[:, 1]) + blank[:, frame]
            steps.append(torch.stack([in_label, in_blank], dim=1))
            prefix = torch.logaddexp(prefix, flow + emitted[:, frame])
        increments = torch.full_like(state.log_probs[:, 0], -torch.inf)
        increments.scatter_(1, labels, prefix - state.prefix[:, None])
        increments[:, self.eos] = state.forward[:, -1].logsumexp(1) - state.prefix
        return increments, state._replace(labels=labels, extended=torch.stack(steps, dim=1), extended_prefix=prefix)

    def advance(self, state: FrameState, parents: Tensor, labels: Tensor) -> FrameState:
        place = (state.labels[parents] == labels[:, None]).int().argmax(1)
        forward = state.extended[parents, :, :, place]
        prefix = state.extended_prefix[parents, place]
        return state._replace(
            log_probs=state.log_probs[parents],
            forward=forward,
            prefix=prefix,
            last=labels,
            labels=state.labels[parents],
        )

    def keep(self, state: FrameState, utterances: Tensor) -> FrameState:
        raise AssertionError("the workload's utterances end together")


class RememberingScorer(AttentionScorer):
    """The attention decoder's scores; it remembers the best labels of its last step for the scorer beside it."""

    best: Tensor

    def __init__(self, decoder, candidates: int):
        super().__init__(decoder)
        self.candidates = candidates

    def score(self, state: Any, last: Tensor) -> tuple[Tensor, Any]:
        scores, state = super().score(state, last)
        self.best = scores.topk(self.candidates).indices
        return scores, state


class Said(NamedTuple):
    """What hypotheses have said, and nothing else: everything is computed anew at each step."""

    encoded: Encoded  # of every hypothesis
    labels: Tensor  # (N, L)


class UncachedDecoder:
    """A Transformer decoder that reads the whole prefix at every step."""

    def __init__(self, decoder):
        self.decoder = decoder

    def __call__(self, encoded: Encoded, labels: Tensor) -> Tensor:
        return self.decoder(encoded, labels)

    def start(self, encoded: Encoded, beams: int) -> Said:
        states, frames = (part.repeat_interleave(beams, dim=0) for part in encoded)
        return Said(Encoded(states, frames), frames[:, None][:, :0])

    def step(self, state: Said, last: Tensor, **_: Any) -> StepOutput:
        labels = torch.cat([state.labels, last[:, None]], dim=1)
        logits = self.decoder(state.encoded, labels[:, 1:])[:, -1]  # the first is sos, which the decoder puts there
        return StepOutput(logits.log_softmax(-1), state._replace(labels=labels), None)  # type: ignore[arg-type]

    def reorder(self, state: Said, parents: Tensor) -> Said:
        return state._replace(labels=state.labels[parents])  # of the same utterance: `encoded` stays

    def keep(self, state: Said, utterances: Tensor) -> Said:
        raise AssertionError("the workload's utterances end together")


class PlainDecoder(ForcedDecoder):
    """Our search with one half or both done plainly."""

    def __init__(self, *args: Any, frame_by_frame: bool, uncached: bool, **settings: Any):
        super().__init__(*args, **settings)
        self.frame_by_frame, self.uncached = frame_by_frame, uncached

    def _parts(self, log_probs: Tensor | None) -> list[Part]:
        assert log_probs is not None and self.decoder is not None
        weight = self.cfg.ctc_weight
        decoder = UncachedDecoder(self.decoder) if self.uncached else self.decoder
        if not self.frame_by_frame:
            [ctc] = [part for part in super()._parts(log_probs) if part.name == "ctc"]
            return [ctc, Part("attention", AttentionScorer(decoder), 1 - weight)]
        attention = RememberingScorer(decoder, self.cfg.candidates)  # it goes first, to tell which labels are asked for
        ctc = FrameByFrameScorer(log_probs, attention, blank=self.blank, eos=self.eos)
        return [Part("attention", attention, 1 - weight), Part("ctc", ctc, weight)]
