"""CTC prefix beam search: frame by frame, alignments of equal labelings merged (Hannun et al., 2014).

A hypothesis is a labeling g with the probabilities that the frames so far emit exactly g and end in blank, or in its
last label. With each frame it stays as it is (a blank, or its last label again) or is extended by one label; what
arrives at the same labeling by different paths is added up. Only the loop over frames is Python's: a frame is a fixed
number of operations on all utterances, hypotheses and labels, and the host never waits for the device in between.
Probabilities are float64, scaled by the best of each frame; what is 1e-308 of it or less counts as impossible.

Axes: B utterances, T frames, V labels, K slots (hypotheses of an utterance), C labels that may open a hypothesis.
"""

import math
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from pydantic import Field
from torch import Tensor

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config
from hybrid_asr.decoding.hypothesis import WIDEST, Hypothesis, Nbest, nan_error
from hybrid_asr.decoding.settings import BeamSettings, Needs

NO_LABEL = -1
SMALLEST = 1e-300  # by which a frame is scaled where all is impossible
HEAP_FROM = 64  # torch's topk is three times as fast if there are this many times as many labels as it returns
FACTOR = 6364136223846793005  # of the hash (Knuth's multiplier modulo 2^64)


@config
class CtcPrefixBeamConfig(BeamSettings):
    """CTC prefix beam search: `beam` hypotheses an utterance, of which the best `nbest` are given.

    In each frame only its `candidates` most probable labels open new hypotheses (0: all of them); hypotheses in the
    beam get all of their probability.
    """

    kind: Literal["ctc_prefix_beam"] = "ctc_prefix_beam"
    beam: Annotated[int, Field(gt=0, le=WIDEST)] = 10
    candidates: Annotated[int, Field(ge=0)] = 10
    nbest: Annotated[int, Field(gt=0, le=WIDEST)] = 1

    @property
    def needs(self) -> Needs:
        """The CTC head."""
        return Needs(ctc=True)


class Frames(NamedTuple):
    """All frames, made ready at once; padding is blank for sure, which changes nothing."""

    values: Float[Tensor, "time batch vocab"]  # log probabilities
    blanks: Float64[Tensor, "time batch 1"]  # probabilities of blank
    labels: Int64[Tensor, "time batch 1 options"]  # no label (to stay), then those that may be added
    probs: Float64[Tensor, "time batch 1 options"]  # of these
    nodes: Int64[Tensor, "time batch slots"]  # what each slot may open


class Beam(NamedTuple):
    """The hypotheses. A labeling is known by a hash of 64 bits: two in a beam collide once in 1e14 utterances."""

    probs: Float64[Tensor, "2 batch slots"]  # of emitting exactly this and ending in blank, or in the last label
    names: Int64[Tensor, "5 batch slots"]  # hash, hash without the last label, last label, the one before it, node


class Opened(NamedTuple):
    """What a frame may have opened in each slot: the node it continues, and by which label."""

    nodes: Int64[Tensor, "batch slots"]
    labels: Int64[Tensor, "batch slots"]


@torch.inference_mode()
def ctc_prefix_beam(
    log_probs: Float[Tensor, "batch time vocab"],
    frames: Int[Tensor, " batch"],
    cfg: CtcPrefixBeamConfig,
    *,
    blank: int,
    excluded: tuple[int, ...] = (),
) -> list[Nbest]:
    """The n-best of every utterance; scores are the logarithm of the summed probability of the alignments in the beam.

    Labels in `excluded` are not used. Equal scores are ordered by labels. Raises DecodeError on NaN.
    """
    ready = _prepare(log_probs, frames, cfg, blank, excluded)
    beam = start = _start(log_probs.shape[0], cfg.beam, blank, log_probs.device)
    opened, scales = [], []
    for frame in zip(*(part.unbind(0) for part in ready), strict=True):
        beam, new, scale = _step(beam, Frames(*frame), start.names)
        opened.append(new)
        scales.append(scale)
    scores = beam.probs.sum(0).log() + torch.cat(scales, 1).log().sum(1, keepdim=True)
    return _nbests(scores, beam.names[-1], opened, cfg.nbest)


def _prepare(
    log_probs: Float[Tensor, "batch time vocab"],
    frames: Int[Tensor, " batch"],
    cfg: CtcPrefixBeamConfig,
    blank: int,
    excluded: tuple[int, ...],
) -> Frames:
    """Mask, and choose every frame's candidates."""
    batch, time, vocab = log_probs.shape
    padding = ~valid_mask(frames, time)
    values = log_probs.masked_fill(padding[..., None], -torch.inf)
    if bad := values.amax((1, 2)).isnan().nonzero()[:, 0].tolist():
        raise nan_error(bad)
    blanks = values[..., blank:][..., :1].masked_fill(padding[..., None], 0.0)
    unused = sorted({blank, *excluded})
    values.index_fill_(2, torch.tensor(unused, device=values.device), -torch.inf)
    usable = vocab - len(unused)
    labels = _best_labels(values, min(cfg.candidates or usable, usable))
    scores = torch.cat([blanks, values.gather(2, labels)], 2)
    labels = torch.nn.functional.pad(labels, (1, 0), value=NO_LABEL)
    labels, probs = labels.transpose(0, 1), scores.double().exp().transpose(0, 1).contiguous()
    nodes = torch.arange(cfg.beam, (time + 1) * cfg.beam, device=values.device).view(time, 1, -1)
    return Frames(
        values=values.transpose(0, 1),
        blanks=probs[..., :1],
        labels=labels.unsqueeze(2),
        probs=probs.unsqueeze(2),
        nodes=nodes.expand(-1, batch, -1),
    )


def _best_labels(values: Float[Tensor, "batch time vocab"], count: int) -> Int64[Tensor, "batch time candidates"]:
    """The `count` most probable labels of every frame; of equal ones the smaller labels."""
    vocab, heap = values.shape[2], HEAP_FROM * (count + 1)
    if vocab < heap <= 2 * vocab:
        values = torch.nn.functional.pad(values, (0, heap - vocab), value=-torch.inf)
    best = values.topk(min(count + 1, vocab), dim=2)
    labels = best.indices[..., :count]
    tied = (best.values[..., count - 1 : count] == best.values[..., count:]).any(2)
    if tied.any():  # topk leaves open which it takes
        labels[tied] = values[tied].sort(dim=1, descending=True, stable=True).indices[:, :count]
    return labels


def _start(batch: int, slots: int, blank: int, device: torch.device) -> Beam:
    """The empty labeling in the first slot; the others are impossible, and have names unlike all others."""
    probs = torch.zeros(2, batch, slots, dtype=torch.float64, device=device)
    probs[0, :, 0] = 1.0
    numbers = torch.arange(slots, device=device)
    none = torch.full_like(numbers, blank)
    names = torch.stack([~numbers * FACTOR, numbers, none, none, numbers])
    return Beam(probs, names[:, None].repeat(1, batch, 1))


def _step(
    beam: Beam, frame: Frames, impossible: Int64[Tensor, "5 batch slots"]
) -> tuple[Beam, Opened, Float64[Tensor, "batch 1"]]:
    """One frame for all: the beam after it, what it opened, and the scale of its probabilities.

    `impossible` are the names of slots whose hypotheses are impossible.
    """
    in_blank, in_label = beam.probs.unbind(0)
    last = beam.names[2]
    total = in_blank + in_label
    has, parent, inflow = _inflow(beam, total)
    emission = frame.values.gather(1, last).double().exp_()  # 0 of the empty labeling, whose last label is blank
    stays = torch.stack([total * frame.blanks, inflow.add_(in_label).mul_(emission)])

    same = last.unsqueeze(2) == frame.labels  # (B, K, 1 + C)
    grown = torch.where(same, in_blank.unsqueeze(2), total.unsqueeze(2)).mul_(frame.probs)
    offered, option = same.max(2)
    twin = (parent * same.shape[2]).add_(option).mul_(offered & has)  # what the parent would open a second time
    scores = grown.flatten(1).scatter_(1, twin, -1.0)
    torch.sum(stays, 0, out=grown[..., 0])
    scores, indices = scores.topk(last.shape[1])
    new, survivors = _survivors(beam, frame, stays, scores, indices)
    names = torch.where(scores > 0, survivors.names, impossible)
    scale = scores[:, :1].clamp(min=SMALLEST)
    return Beam(survivors.probs.div_(scale), names), new, scale


def _inflow(
    beam: Beam, total: Float64[Tensor, "batch slots"]
) -> tuple[Bool[Tensor, "batch slots"], Int64[Tensor, "batch slots"], Float64[Tensor, "batch slots"]]:
    """Of each hypothesis: whether its parent is in the beam, in which slot, and the probability that it contributes."""
    hashes, parents, last, before, _ = beam.names.unbind(0)
    has, parent = (parents.unsqueeze(2) == hashes.unsqueeze(1)).max(2)
    parent_total, in_blank = total.gather(1, parent), beam.probs[0].gather(1, parent)
    inflow = torch.where(last != before, parent_total, in_blank).mul_(has)  # equal labels need a blank between them
    return has, parent, inflow


def _survivors(
    beam: Beam,
    frame: Frames,
    stays: Float64[Tensor, "2 batch slots"],
    scores: Float64[Tensor, "batch slots"],
    indices: Int64[Tensor, "batch slots"],
) -> tuple[Opened, Beam]:
    """The best hypotheses, whose `scores` stand at `places`: slot × options + option, of which option 0 stays."""
    options = frame.labels.shape[-1]
    slots, option = indices // options, indices % options
    new, labels = option > 0, frame.labels.squeeze(1).gather(1, option)
    survivors = beam.names.gather(2, slots.expand(5, -1, -1))
    hashes, _, last, _, nodes = survivors.unbind(0)
    grown = torch.stack([torch.add(labels, hashes, alpha=FACTOR), hashes, labels, last, frame.nodes])
    probs = stays.gather(2, slots.expand(2, -1, -1)).masked_fill_(new, 0.0)
    torch.where(new, scores, probs[1], out=probs[1])
    return Opened(nodes, labels), Beam(probs, torch.where(new, grown, survivors))


def _nbests(
    scores: Float64[Tensor, "batch slots"], ends: Int64[Tensor, "batch slots"], opened: list[Opened], count: int
) -> list[Nbest]:
    """Read the labels of the survivors, and rank them."""
    nodes, labels = (torch.stack(part).cpu().numpy() for part in zip(*opened, strict=True))  # (T, B, K)
    nbests = []
    for utterance, rows in enumerate(zip(scores.tolist(), ends.tolist(), strict=True)):
        possible = [(score, end) for score, end in zip(*rows, strict=True) if score > -math.inf]
        labelings = [(score, _labels(end, nodes[:, utterance], labels[:, utterance])) for score, end in possible]
        ranked = sorted(labelings or [(-math.inf, ())], key=lambda pair: (-pair[0], pair[1]))
        nbests.append([_hypothesis(score, labels) for score, labels in ranked[:count]])
    return nbests


def _labels(node: int, nodes: np.ndarray, labels: np.ndarray) -> tuple[int, ...]:
    """The labeling that was opened at `node`, from its last label back to the first."""
    slots, path = nodes.shape[1], []
    while node >= slots:
        at = divmod(node - slots, slots)
        path.append(int(labels[at]))
        node = int(nodes[at])
    return tuple(path[::-1])


def _hypothesis(score: float, labels: tuple[int, ...]) -> Hypothesis:
    """An impossible labeling counts as cut, since nothing was found."""
    return Hypothesis(labels, score, {"ctc": score}, "eos" if score > -math.inf else "cut")
