"""CTC prefix probabilities over the whole vocabulary (Graves, 2008; Watanabe et al., 2017), as linear algebra.

For a labeling g let rⁿ_t and rᵇ_t be the probabilities that the frames before t emit exactly g and end in its last
label, or in blank. Then, p_t being the probabilities of the labels in frame t,

    ψ(g·c) = Σ_t (rⁿ_t + rᵇ_t) p_t(c)      the probability that the labeling begins with g·c, c ≠ last(g);
    ψ(g·c) = Σ_t rᵇ_t p_t(c)               for c = last(g), since a blank must stand between equal labels;
    P(g)   = rⁿ_T + rᵇ_T                   the probability of exactly g; so ψ(g) = P(g) + Σ_c ψ(g·c).

The first sum is one product of (hypotheses × T) with (T × V), in the precision of the CTC head: relative to each
row's maximum nothing is lost by that (2e-7 of log ψ in float32), but a labeling that lives on frames e^-120 below it
counts as e^-300 there (`NEGLIGIBLE`): no search would take it. The recursions for rⁿ and rᵇ are first-order linear,
so cumulative sums run them over all frames at once, in float64, since float32 would be off by 1e-2 at 3,000 frames;
only hypotheses that survive the pruning need them, and their ψ is computed anew from them.

What is impossible (-inf) stays so to the bit. A sum over frames would be -inf for ever behind an impossible frame, so
there it goes down by `BARRIER`; what has come through such a frame all the same is then set to -inf. All of that is
done only for batches that hold an impossible log probability at all.

Axes: B utterances, K hypotheses of each, N = B × K hypotheses (n belongs to utterance n // K), T frames, V labels.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor
from torch.nn import functional as F

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.decoding.logcumsumexp import logcumsumexp

FLOOR = -300.0  # what is below e^-300, but possible, counts as e^-300: products of two stay normal numbers
BARRIER = -3e4  # in sums over frames in place of -inf: below whatever a hundred frames at the floor amount to
RAISED = 40.0  # nats: weights are multiplied by e^40, which uses the range of float32 above 1 as well as that below
NEGLIGIBLE = {torch.float32: -120.0, torch.float64: FLOOR - 50.0}  # beside the largest weight, and never denormal
LEAST = torch.finfo(torch.float64).min
NO_LABEL = -1  # the last label of the empty labeling


class PrefixState(NamedTuple):
    """Log probabilities of the utterances, forward variables of their hypotheses. `probs` alone is no logarithm."""

    emissions: Float[Tensor, "batch vocab time"]  # log p_t of each label, not below the floor unless impossible
    peaks: Float[Tensor, "batch 1 vocab"]  # the largest of each label over the frames
    probs: Float[Tensor, "batch time vocab"]  # relative to its peak, so that none is too small; 0 at padded frames
    possible: Float[Tensor, "batch time vocab"] | None  # 1, or 0 where nothing can be; None where everything can
    ends: Int[Tensor, "hyps 1"]  # the frames of each hypothesis's utterance
    padding: Float64[Tensor, "batch 1 time"] | None  # 0, at padded frames -inf; None where there are none
    blank: int
    blanks: Float64[Tensor, "batch 1 time"]  # sums of the blank's log probabilities up to each frame
    forward: Float64[Tensor, "2 hyps time+1"]  # rⁿ + rᵇ, and rᵇ, before each frame, and after the last one
    emission: Float64[Tensor, "hyps time"] | None  # log p_t of the last label; None for the empty labeling
    prefix: Float64[Tensor, " hyps"]  # ψ
    divisor: Float64[Tensor, " hyps"]  # the same, but a number where it is impossible
    last: Int[Tensor, " hyps"]

    @property
    def total(self) -> Float64[Tensor, "hyps boundaries"]:
        """rⁿ + rᵇ before each frame, and after the last one."""
        return self.forward[0]

    @property
    def in_blank(self) -> Float64[Tensor, "hyps boundaries"]:
        """rᵇ before each frame, and after the last one."""
        return self.forward[1]


def start(
    log_probs: Float[Tensor, "batch time vocab"], frames: Int[Tensor, " batch"], beams: int, *, blank: int
) -> PrefixState:
    """The empty labeling, `beams` times for each utterance: ψ = 1, and blanks are all that it emits."""
    batch, time, _ = log_probs.shape
    padded = ~valid_mask(frames, time)
    holes = (log_probs.amin(2) == -torch.inf) & ~padded
    has_padding, has_holes = torch.stack([padded.any(), holes.any()]).tolist()
    floored = log_probs.detach().clamp(min=FLOOR)
    if has_holes:
        floored.masked_fill_(log_probs == -torch.inf, -torch.inf)
    # what padding holds must not matter, NaN included
    real = floored.masked_fill(padded[..., None], -torch.inf) if has_padding else floored
    emissions = floored.masked_fill_(padded[..., None], FLOOR).transpose(1, 2).contiguous()
    peaks = real.amax(1, keepdim=True).clamp(min=FLOOR)
    silence = emissions[:, blank].double().masked_fill(padded, 0.0)  # `total` stays behind the end
    blanks = silence.clamp(min=BARRIER).cumsum(1)
    in_blank = F.pad(blanks.masked_fill(silence.cumsum(1) == -torch.inf, -torch.inf), (1, 0))
    return PrefixState(
        emissions=emissions,
        peaks=peaks,
        probs=(real - peaks).exp_(),
        possible=(real > -torch.inf).to(real.dtype) if has_holes else None,
        ends=frames.repeat_interleave(beams)[:, None],
        padding=_padding(padded) if has_padding else None,
        blank=blank,
        blanks=blanks[:, None],
        forward=in_blank.repeat_interleave(beams, dim=0).expand(2, -1, -1),
        emission=None,
        prefix=in_blank.new_zeros(batch * beams),
        divisor=in_blank.new_zeros(batch * beams),
        last=torch.full((batch * beams,), NO_LABEL, device=log_probs.device),
    )


def increments(state: PrefixState) -> Float[Tensor, "hyps vocab"]:
    """log ψ(g·c) - log ψ(g) of every hypothesis g and every label c; -inf for blank and for what cannot be."""
    hyps, (batch, time, vocab) = len(state.last), state.probs.shape
    before, in_blank = _at_real(state, state.forward[..., :-1]).unbind(0)
    shift = before.amax(1, keepdim=True).clamp_(min=LEAST).sub_(RAISED)  # a dead hypothesis has no peak
    weights = (before - shift).exp_()
    weights = F.threshold(weights, math.exp(NEGLIGIBLE[state.probs.dtype] + RAISED), 0.0, inplace=True)
    scores = torch.bmm(weights.view(batch, -1, time).to(state.probs.dtype), state.probs).log_()
    scores = scores.add_(state.peaks).view(hyps, vocab)
    scores += _since(state, shift).to(scores.dtype)
    if state.possible is not None:
        reached = torch.bmm((before > -torch.inf).to(state.possible.dtype).view(batch, -1, time), state.possible)
        scores.masked_fill_((scores == -torch.inf) & (reached.view_as(scores) > 0.0), FLOOR)
    if state.emission is not None:
        repeated = (in_blank + state.emission).logsumexp(1, keepdim=True)
        scores.scatter_(1, state.last[:, None], _since(state, repeated).to(scores.dtype))
    scores[:, state.blank] = -torch.inf
    return scores


def ending(state: PrefixState) -> Float64[Tensor, " hyps"]:
    """log P(g) - log ψ(g) of every hypothesis g."""
    return _since(state, state.total.gather(1, state.ends))[:, 0]


def advance(state: PrefixState, parents: Int[Tensor, " hyps"], labels: Int[Tensor, " hyps"]) -> PrefixState:
    """Continue with `parents`, each within its own utterance, and give each its label."""
    batch, _, time = state.blanks.shape
    total, in_blank = state.forward[:, parents, :-1].unbind(0)
    if state.emission is not None:
        repeats = (state.last[parents] == labels)[:, None]
        total = torch.where(repeats, in_blank, total)
    wanted = labels.view(batch, -1, 1).expand(-1, -1, time)
    emission = state.emissions.gather(1, wanted).view(-1, time).double()
    inflow = total + emission
    prefix = _at_real(state, inflow).logsumexp(1)
    return state._replace(
        forward=_forward(state, inflow, emission),
        emission=emission,
        prefix=prefix,
        divisor=prefix.clamp(min=LEAST),
        last=labels,
    )


def _forward(
    state: PrefixState, inflow: Float64[Tensor, "hyps time"], emission: Float64[Tensor, "hyps time"]
) -> Float64[Tensor, "2 hyps time+1"]:
    """The forward variables of labelings whose last label is emitted in frame t for the first time by `inflow`.

    p and q being the probabilities of label and blank, rⁿ_{t+1} = rⁿ_t p_t + inflow_t and rᵇ_{t+1} = (rᵇ_t + rⁿ_t) q_t.
    """
    batch, _, time = state.blanks.shape
    hyps = len(inflow)
    sums = (emission if state.possible is None else emission.clamp(min=BARRIER)).cumsum(1)
    in_label = logcumsumexp(inflow - sums).add_(sums)
    forward = inflow.new_full((2, hyps, time + 1), -torch.inf)
    total, in_blank = forward[0, :, 1:], forward[1, :, 1:]
    if state.possible is not None:
        in_label.masked_fill_(_cut_off(inflow, emission), -torch.inf)
    before = (in_label.view(batch, -1, time)[..., :-1] - state.blanks[..., :-1]).flatten(0, 1)
    by_utterance = in_blank[:, 1:].unflatten(0, (batch, -1))
    torch.add(logcumsumexp(before).view_as(by_utterance), state.blanks[..., 1:], out=by_utterance)
    if state.possible is not None:
        silence = state.emissions[:, state.blank, 1:].repeat_interleave(hyps // batch, dim=0)
        in_blank[:, 1:].masked_fill_(_cut_off(in_label[:, :-1], silence), -torch.inf)
    torch.logaddexp(in_label, in_blank, out=total)
    return forward


def _cut_off(inflow: Float[Tensor, "hyps time"], gains: Float[Tensor, "hyps time"]) -> Bool[Tensor, "hyps time"]:
    """Where nothing arrives any more: since the last frame with any inflow there was one that nothing gets through."""
    frames = torch.arange(inflow.shape[1], device=inflow.device)
    arrived = torch.where(inflow > -torch.inf, frames, -1).cummax(1).values
    closed = torch.where(gains == -torch.inf, frames, -1).cummax(1).values
    return arrived <= closed


def keep(state: PrefixState, utterances: Int[Tensor, " live"]) -> PrefixState:
    """Drop all utterances but `utterances`, with their hypotheses."""
    beams = len(state.last) // len(state.blanks)
    rows = (utterances[:, None] * beams + torch.arange(beams, device=utterances.device)).flatten()
    return PrefixState(
        emissions=state.emissions[utterances],
        peaks=state.peaks[utterances],
        probs=state.probs[utterances],
        possible=None if state.possible is None else state.possible[utterances],
        ends=state.ends[rows],
        padding=None if state.padding is None else state.padding[utterances],
        blank=state.blank,
        blanks=state.blanks[utterances],
        forward=state.forward[:, rows],
        emission=None if state.emission is None else state.emission[rows],
        prefix=state.prefix[rows],
        divisor=state.divisor[rows],
        last=state.last[rows],
    )


def _since(state: PrefixState, values: Float64[Tensor, "hyps 1"]) -> Float64[Tensor, "hyps 1"]:
    """`values` - log ψ(g); nothing follows the impossible."""
    return values - state.divisor[:, None]


def _padding(padded: Bool[Tensor, "batch time"]) -> Float64[Tensor, "batch 1 time"]:
    """0, at padded frames -inf."""
    zeros = torch.zeros(padded.shape, dtype=torch.float64, device=padded.device)
    return zeros.masked_fill_(padded, -torch.inf)[:, None]


def _at_real(state: PrefixState, values: Float64[Tensor, "*any hyps time"]) -> Float64[Tensor, "*any hyps time"]:
    """-inf at padded frames."""
    if state.padding is None:
        return values
    return (values.unflatten(-2, (len(state.blanks), -1)) + state.padding).flatten(-3, -2)
