"""CTC prefix probabilities over the whole vocabulary (Graves, 2008; Watanabe et al., 2017), as linear algebra.

For a labelling g let rⁿ_t and rᵇ_t be the probabilities that the frames before t emit exactly g and end in its last
label, or in blank. Then, p_t being the posteriors of frame t,

    ψ(g·c) = Σ_t (rⁿ_t + rᵇ_t) p_t(c)      the probability that the labelling begins with g·c, c ≠ last(g);
    ψ(g·c) = Σ_t rᵇ_t p_t(c)               for c = last(g), since a blank must stand between equal labels;
    P(g)   = rⁿ_T + rᵇ_T                   the probability of exactly g; so ψ(g) = P(g) + Σ_c ψ(g·c).

The first sum is one product of (hypotheses × T) with (T × V). The recursions for rⁿ and rᵇ are first-order linear, so
cumulative sums run them over all frames at once; only hypotheses that survive the pruning need them.

Axes: B utterances, K hypotheses of each, N = B × K hypotheses (n belongs to utterance n // K), T frames, V labels.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hybrid_asr.lengths import valid_mask

FLOOR = -300.0  # a posterior below e^-300 counts as e^-300: zeros stay finite, and products of two stay normal numbers
NO_LABEL = -1  # the last label of the empty labelling


class PrefixState(NamedTuple):
    """Posteriors of the utterances, forward variables of their hypotheses; all are logarithms but `probs`."""

    log_probs: Float[Tensor, "batch time vocab"]
    probs: Float[Tensor, "batch time vocab"]
    frames: Int[Tensor, " batch"]
    blank: int
    in_label: Float[Tensor, "hyps time+1"]  # rⁿ before each frame, and after the last one
    in_blank: Float[Tensor, "hyps time+1"]  # rᵇ
    prefix: Float[Tensor, " hyps"]  # ψ
    last: Int[Tensor, " hyps"]


def start(
    log_probs: Float[Tensor, "batch time vocab"], frames: Int[Tensor, " batch"], beams: int, *, blank: int
) -> PrefixState:
    """The empty labelling, `beams` times for each utterance: ψ = 1, and blanks are all that it emits."""
    batch, time, _ = log_probs.shape
    padding = ~valid_mask(frames, time)[..., None]
    log_probs = log_probs.clamp(min=FLOOR).masked_fill(padding, 0.0)  # what padding holds must not matter, NaN included
    blanks = log_probs[..., blank].double().cumsum(1)
    in_blank = torch.nn.functional.pad(blanks, (1, 0)).repeat_interleave(beams, dim=0)
    hyps = batch * beams
    return PrefixState(
        log_probs=log_probs,
        probs=log_probs.double().exp(),
        frames=frames,
        blank=blank,
        in_label=torch.full_like(in_blank, -torch.inf),
        in_blank=in_blank,
        prefix=in_blank.new_zeros(hyps),
        last=torch.full((hyps,), NO_LABEL, device=log_probs.device),
    )


def extensions(state: PrefixState) -> Float[Tensor, "hyps vocab"]:
    """log ψ(g·c) of every hypothesis g and every label c; -inf for blank."""
    hyps, (batch, _, vocab) = len(state.last), state.probs.shape
    before = _real(state, torch.logaddexp(state.in_label, state.in_blank)[:, :-1])
    peak = before.amax(1, keepdim=True).clamp(min=torch.finfo(before.dtype).min)  # a dead hypothesis has no peak
    relative = before - peak
    weights = relative.exp().masked_fill(relative < FLOOR - 50.0, 0.0)  # lost beside peak × e^FLOOR, and never denormal
    summed = torch.bmm(weights.view(batch, hyps // batch, -1), state.probs).view(hyps, vocab).log() + peak
    column = state.last.clamp(min=0)[:, None]
    after_blank = _real(state, state.in_blank[:, :-1]) + _emission(state, column[:, 0])
    empty = state.last[:, None] == NO_LABEL
    found = summed.scatter(1, column, torch.where(empty, summed.gather(1, column), after_blank.logsumexp(1, True)))
    found[:, state.blank] = -torch.inf
    return found


def ending(state: PrefixState) -> Float[Tensor, " hyps"]:
    """log P(g) of every hypothesis g."""
    at = state.frames.repeat_interleave(len(state.last) // len(state.frames))[:, None]
    return torch.logaddexp(state.in_label.gather(1, at), state.in_blank.gather(1, at))[:, 0]


def advance(state: PrefixState, parents: Int[Tensor, " hyps"], labels: Int[Tensor, " hyps"]) -> PrefixState:
    """Go on with `parents`, each within its own utterance, and give each its label."""
    repeats = (state.last[parents] == labels)[:, None]
    in_blank, in_label = state.in_blank[parents, :-1], state.in_label[parents, :-1]
    before = _real(state, torch.where(repeats, in_blank, torch.logaddexp(in_label, in_blank)))
    emission = _emission(state, labels)
    in_label = _run(before, emission)
    blanks = _emission(state, torch.full_like(labels, state.blank))
    in_blank = _run(in_label[:, :-1], blanks)
    prefix = (before + emission).logsumexp(1)
    return state._replace(in_label=in_label, in_blank=in_blank, prefix=prefix, last=labels)


def keep(state: PrefixState, utterances: Int[Tensor, " live"]) -> PrefixState:
    """Let all utterances but `utterances` leave, with their hypotheses."""
    beams = len(state.last) // len(state.frames)
    rows = (utterances[:, None] * beams + torch.arange(beams, device=utterances.device)).flatten()
    return PrefixState(
        log_probs=state.log_probs[utterances],
        probs=state.probs[utterances],
        frames=state.frames[utterances],
        blank=state.blank,
        in_label=state.in_label[rows],
        in_blank=state.in_blank[rows],
        prefix=state.prefix[rows],
        last=state.last[rows],
    )


def _run(inflow: Float[Tensor, "hyps time"], gain: Float[Tensor, "hyps time"]) -> Float[Tensor, "hyps time+1"]:
    """Run y_{t+1} = (y_t + inflow_t) · gain_t from y_0 = 0 in the log domain; float64, since the sums reach 1e5."""
    total = gain.cumsum(1)
    after = total + torch.logcumsumexp(inflow - (total - gain), 1)
    return torch.nn.functional.pad(after, (1, 0), value=-torch.inf)


def _emission(state: PrefixState, labels: Int[Tensor, " hyps"]) -> Float[Tensor, "hyps time"]:
    """log p_t of one label per hypothesis."""
    batch, time, _ = state.log_probs.shape
    wanted = labels.view(batch, 1, -1).expand(-1, time, -1)
    return state.log_probs.gather(2, wanted).transpose(1, 2).reshape(-1, time).double()


def _real(state: PrefixState, values: Float[Tensor, "hyps time"]) -> Float[Tensor, "hyps time"]:
    """-inf at padded frames."""
    batch, time, _ = state.log_probs.shape
    real = valid_mask(state.frames, time)[:, None]
    return values.view(batch, -1, time).masked_fill(~real, -torch.inf).view(-1, time)
