"""The joint loss: CTC and attention in nats per utterance, then one interpolation.

Axes: B utterances, T frames, L labels, V vocabulary.
"""

from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config

IGNORE = -100  # a target that does not count


@config
class GuideConfig:
    """The guided attention loss, which helps an `lstm` decoder to find the diagonal; off at `weight` 0.

    `width` is how far from it, as a share of the utterance, attention may look cheaply; the loss acts for the first
    `share` of the training, with a weight that falls linearly to 0.
    """

    weight: Annotated[float, Field(ge=0)] = 0.0
    width: Annotated[float, Field(gt=0)] = 0.2
    share: Annotated[float, Field(gt=0, le=1)] = 0.2

    def weight_at(self, progress: float) -> float:
        """The weight when a share of the training is done."""
        return self.weight * max(0.0, 1 - progress / self.share)


@config
class LossConfig:
    """The interpolation `ctc_weight` * CTC + (1 - `ctc_weight`) * attention; `smoothing` of the attention's targets."""

    ctc_weight: Annotated[float, Field(ge=0, le=1)]
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    guide: GuideConfig = GuideConfig()

    def __post_init__(self) -> None:
        if self.guide.weight > 0 and self.ctc_weight == 1:
            raise ValueError(
                "guide.weight needs an attention decoder, and with ctc_weight 1 there is none; set it to 0"
            )


class JointLoss(NamedTuple):
    """The interpolated loss and its parts, nats per utterance; a part that the model lacks is zero."""

    total: Float[Tensor, " batch"]
    ctc: Float[Tensor, " batch"]
    attention: Float[Tensor, " batch"]
    infeasible: Bool[Tensor, " batch"]


class Guided(NamedTuple):
    """The guided attention loss of each utterance, and the weight that it has just now."""

    loss: Float[Tensor, " batch"]
    weight: float


def ctc_needs(labels: Int[Tensor, "batch labels"], label_lengths: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """The fewest frames that can carry `labels`: one each, and a blank between equal neighbors."""
    repeats = (labels[:, 1:] == labels[:, :-1]) & valid_mask(label_lengths - 1, max(labels.shape[1] - 1, 0))
    return label_lengths + repeats.sum(1)


def ctc_feasible(
    frames: Int[Tensor, " batch"], labels: Int[Tensor, "batch labels"], label_lengths: Int[Tensor, " batch"]
) -> Bool[Tensor, " batch"]:
    """Whether CTC can align each utterance at all."""
    return frames >= ctc_needs(labels, label_lengths)


def ctc_loss(
    log_probs: Float[Tensor, "batch time vocab"],
    frames: Int[Tensor, " batch"],
    labels: Int[Tensor, "batch labels"],
    label_lengths: Int[Tensor, " batch"],
    *,
    blank: int,
) -> Float[Tensor, " batch"]:
    """Minus the log probability of `labels` over all alignments (Graves et al., 2006), in nats.

    `frames` and `label_lengths` are on the host: torch reads them there, and would wait for a device to copy them.
    An utterance that cannot be aligned has loss 0 and no gradient; count them by `ctc_feasible`.
    """
    return F.ctc_loss(
        log_probs.transpose(0, 1), labels, frames, label_lengths, blank, reduction="none", zero_infinity=True
    )


def attention_loss(
    logits: Float[Tensor, "batch steps vocab"],
    labels: Int[Tensor, "batch labels"],
    label_lengths: Int[Tensor, " batch"],
    *,
    eos: int,
    smoothing: float,
) -> Float[Tensor, " batch"]:
    """Cross entropy of each label and of the end, summed over an utterance, in nats.

    The targets are smoothed over the whole vocabulary (Szegedy et al., 2016).
    """
    targets = F.pad(labels, (0, 1))  # (B, L + 1), the end comes after the last label
    steps = torch.arange(targets.shape[1], device=labels.device)
    targets = torch.where(steps == label_lengths[:, None], eos, targets)
    targets = torch.where(steps > label_lengths[:, None], IGNORE, targets)
    nats = F.cross_entropy(
        logits.flatten(0, 1).float() if logits.dtype != torch.float64 else logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
        reduction="none",
    )
    return nats.view(targets.shape).sum(1)


def guided_loss(
    weights: Float[Tensor, "batch heads steps time"],
    frames: Int[Tensor, " batch"],
    label_lengths: Int[Tensor, " batch"],
    *,
    width: float,
) -> Float[Tensor, " batch"]:
    """How much attention is off the diagonal (Tachibana et al., 2018), summed over the steps of an utterance.

    Step n of N (the labels and the end) pays for frame t of T the share 1 - exp(-(n/N - t/T)² / 2 width²) of the
    weight that it has there, as a mean over the heads: 0 to 1 a step.
    """
    steps, time = (torch.arange(size, device=frames.device) for size in weights.shape[2:])
    exact = torch.float64 if weights.dtype == torch.float64 else torch.float32
    relative_step = steps.to(exact) / (label_lengths + 1)[:, None]  # (B, L + 1)
    relative_time = time.to(exact) / frames.clamp(min=1)[:, None]  # (B, T)
    penalty = 1 - torch.exp(-((relative_step[:, :, None] - relative_time[:, None]) ** 2) / (2 * width**2))
    valid = valid_mask(label_lengths + 1, len(steps))
    return (weights.mean(1) * penalty * valid[:, :, None]).sum((1, 2))


def joint_loss(
    ctc: Float[Tensor, " batch"] | None,
    attention: Float[Tensor, " batch"] | None,
    feasible: Bool[Tensor, " batch"],
    *,
    ctc_weight: float,
    guided: Guided | None = None,
) -> JointLoss:
    """Interpolate as w * CTC + (1 - w) * attention, nats per utterance (Watanabe et al., 2017).

    `ctc` is None where the weight is 0, `attention` where it is 1: the model then has no such part. `guided` comes on
    top, as a help that is no likelihood.
    """
    assert (ctc is None) == (ctc_weight == 0) and (attention is None) == (ctc_weight == 1)
    zero = torch.zeros(feasible.shape, device=feasible.device)
    ctc = zero if ctc is None else ctc
    attention = zero if attention is None else attention
    infeasible = ~feasible if ctc_weight > 0 else torch.zeros_like(feasible)
    total = ctc_weight * ctc + (1 - ctc_weight) * attention
    if guided is not None:
        total = total + guided.weight * guided.loss
    return JointLoss(total, ctc, attention, infeasible)
