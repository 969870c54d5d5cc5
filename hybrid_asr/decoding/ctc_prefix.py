"""CTC prefix probabilities over the whole vocabulary (Graves, 2008; Watanabe et al., 2017), as linear algebra.

For a labeling g let rⁿ_t and rᵇ_t be the probabilities that the frames before t emit exactly g and end in its last
label, or in blank. Then, p_t being the probabilities of the labels in frame t,

    ψ(g·c) = Σ_t (rⁿ_t + rᵇ_t) p_t(c)      the probability that the labeling begins with g·c, c ≠ last(g);
    ψ(g·c) = Σ_t rᵇ_t p_t(c)               for c = last(g), since a blank must stand between equal labels;
    P(g)   = rⁿ_T + rᵇ_T                   the probability of exactly g; so ψ(g) = P(g) + Σ_c ψ(g·c).

The first sum is one product of (hypotheses × T) with (T × V), in the precision of the CTC head: relative to each
row's maximum nothing is lost by that (2e-7 of log ψ in float32). The recursions for rⁿ and rᵇ are first-order linear,
so cumulative sums run them over all frames at once, in float64, since float32 would be off by 1e-2 at 3,000 frames;
only hypotheses that survive the pruning need them, and their ψ is computed anew from them.

Axes: B utterances, K hypotheses of each, N = B × K hypotheses (n belongs to utterance n // K), T frames, V labels.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.decoding.logcumsumexp import logcumsumexp

FLOOR = -300.0  # what is below e^-300 counts as e^-300: zeros stay finite, and products of two stay normal numbers
RAISED = 40.0  # nats: weights are multiplied by e^40, which uses the range of float32 above 1 as well as that below
NEGLIGIBLE = {torch.float32: -120.0, torch.float64: FLOOR - 50.0}  # beside the largest weight, and never denormal
NO_LABEL = -1  # the last label of the empty labeling


class PrefixState(NamedTuple):
    """Log probabilities of the utterances, forward variables of their hypotheses; all are logarithms but `probs`."""

    log_probs: Float[Tensor, "batch time vocab"]
    peaks: Float[Tensor, "batch 1 vocab"]  # the largest of each label over the frames
    probs: Float[Tensor, "batch time vocab"]  # relative to its peak, so that none is too small; 0 at padded frames
    frames: Int[Tensor, " batch"]
    padding: Float64[Tensor, "batch 1 time"] | None  # 0, at padded frames -inf; None where there are none
    blank: int
    blanks: Float64[Tensor, "batch 1 time"]  # sums of the blank's log probabilities up to each frame
    total: Float64[Tensor, "hyps time+1"]  # rⁿ + rᵇ before each frame, and after the last one
    in_blank: Float64[Tensor, "hyps time+1"]  # rᵇ
    emission: Float64[Tensor, "hyps time"] | None  # log p_t of the last label; None for the empty labeling
    prefix: Float64[Tensor, " hyps"]  # ψ
    last: Int[Tensor, " hyps"]


def start(
    log_probs: Float[Tensor, "batch time vocab"], frames: Int[Tensor, " batch"], beams: int, *, blank: int
) -> PrefixState:
    """The empty labeling, `beams` times for each utterance: ψ = 1, and blanks are all that it emits."""
    batch, time, _ = log_probs.shape
    padded = ~valid_mask(frames, time)
    padding = torch.zeros(batch, 1, time, dtype=torch.float64, device=log_probs.device)
    padding = padding.masked_fill(padded[:, None], -torch.inf) if padded.any() else None
    # what padding holds must not matter, NaN included
    masked = log_probs if padding is None else log_probs.masked_fill(padded[..., None], -torch.inf)
    peaks = masked.amax(1, keepdim=True).clamp(min=FLOOR)
    probs = (masked - peaks).exp_()
    silence = log_probs[..., blank].double().clamp(min=FLOOR).masked_fill(padded, 0.0)  # `total` stays behind the end
    blanks = silence.cumsum(1)
    in_blank = torch.nn.functional.pad(blanks, (1, 0)).repeat_interleave(beams, dim=0)
    return PrefixState(
        log_probs=log_probs,
        peaks=peaks,
        probs=probs,
        frames=frames,
        padding=padding,
        blank=blank,
        blanks=blanks[:, None],
        total=in_blank,
        in_blank=in_blank,
        emission=None,
        prefix=in_blank.new_zeros(batch * beams),
        last=torch.full((batch * beams,), NO_LABEL, device=log_probs.device),
    )


def increments(state: PrefixState) -> Float[Tensor, "hyps vocab"]:
    """log ψ(g·c) - log ψ(g) of every hypothesis g and every label c; -inf for blank and for what cannot be."""
    hyps, (batch, time, vocab) = len(state.last), state.probs.shape
    before = _at_real(state, state.total[:, :-1])
    peak = before.amax(1, keepdim=True).clamp(min=torch.finfo(before.dtype).min)  # a dead hypothesis has no peak
    relative = before - peak
    weights = (relative + RAISED).exp_().masked_fill_(relative < NEGLIGIBLE[state.probs.dtype], 0.0)
    scores = torch.bmm(weights.view(batch, -1, time).to(state.probs.dtype), state.probs).log_()
    scores = scores.add_(state.peaks).view(hyps, vocab)
    scores += _since(state, peak - RAISED).to(scores.dtype)
    if state.emission is not None:
        repeated = (_at_real(state, state.in_blank[:, :-1]) + state.emission).logsumexp(1, keepdim=True)
        scores.scatter_(1, state.last[:, None], _since(state, repeated).to(scores.dtype))
    scores[:, state.blank] = -torch.inf
    return scores


def ending(state: PrefixState) -> Float64[Tensor, " hyps"]:
    """log P(g) - log ψ(g) of every hypothesis g."""
    at = state.frames.repeat_interleave(len(state.last) // len(state.frames))[:, None]
    return _since(state, state.total.gather(1, at))[:, 0]


def advance(state: PrefixState, parents: Int[Tensor, " hyps"], labels: Int[Tensor, " hyps"]) -> PrefixState:
    """Continue with `parents`, each within its own utterance, and give each its label."""
    batch, _, time = state.blanks.shape
    before = state.total[parents, :-1]
    if state.emission is not None:
        repeats = (state.last[parents] == labels)[:, None]
        before = torch.where(repeats, state.in_blank[parents, :-1], before)
    emission = _emission(state, labels)
    in_label = _run(before, emission.cumsum(1))
    in_blank = _run(in_label[:, :-1], state.blanks.expand(-1, len(labels) // batch, -1).reshape(-1, time))
    return state._replace(
        total=torch.logaddexp(in_label, in_blank),
        in_blank=in_blank,
        emission=emission,
        prefix=_at_real(state, before + emission).logsumexp(1),
        last=labels,
    )


def keep(state: PrefixState, utterances: Int[Tensor, " live"]) -> PrefixState:
    """Drop all utterances but `utterances`, with their hypotheses."""
    beams = len(state.last) // len(state.frames)
    rows = (utterances[:, None] * beams + torch.arange(beams, device=utterances.device)).flatten()
    return PrefixState(
        log_probs=state.log_probs[utterances],
        peaks=state.peaks[utterances],
        probs=state.probs[utterances],
        frames=state.frames[utterances],
        padding=None if state.padding is None else state.padding[utterances],
        blank=state.blank,
        blanks=state.blanks[utterances],
        total=state.total[rows],
        in_blank=state.in_blank[rows],
        emission=None if state.emission is None else state.emission[rows],
        prefix=state.prefix[rows],
        last=state.last[rows],
    )


def _run(inflow: Float64[Tensor, "hyps time"], gains: Float64[Tensor, "hyps time"]) -> Float64[Tensor, "hyps time+1"]:
    """Run y_{t+1} = (y_t + inflow_t) · gain_t from y_0 = 0 in the log domain; `gains` are sums up to each frame."""
    before = torch.nn.functional.pad(gains[:, :-1], (1, 0))
    return torch.nn.functional.pad(gains + logcumsumexp(inflow - before), (1, 0), value=-torch.inf)


def _emission(state: PrefixState, labels: Int[Tensor, " hyps"]) -> Float64[Tensor, "hyps time"]:
    """log p_t of one label per hypothesis."""
    batch, time, _ = state.log_probs.shape
    wanted = labels.view(batch, 1, -1).expand(-1, time, -1)
    scores = state.log_probs.gather(2, wanted).transpose(1, 2).double().clamp(min=FLOOR)  # (B, K, T)
    if state.padding is not None:
        scores = torch.where(state.padding == 0.0, scores, FLOOR)
    return scores.reshape(-1, time)


def _since(state: PrefixState, values: Float64[Tensor, "hyps 1"]) -> Float64[Tensor, "hyps 1"]:
    """`values` - log ψ(g); nothing follows the impossible."""
    dead = state.prefix == -torch.inf
    return (values - state.prefix.masked_fill(dead, 0.0)[:, None]).masked_fill(dead[:, None], -torch.inf)


def _at_real(state: PrefixState, values: Float64[Tensor, "hyps time"]) -> Float64[Tensor, "hyps time"]:
    """-inf at padded frames."""
    if state.padding is None:
        return values
    return (values.view(len(state.frames), -1, values.shape[1]) + state.padding).view_as(values)
