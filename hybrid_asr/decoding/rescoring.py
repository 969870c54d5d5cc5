"""Attention rescoring: the attention decoder ranks what CTC prefix beam search has found (Zhang et al., 2020).

Axes: B utterances, K labelings of each, T frames, L labels, V vocabulary.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config
from hybrid_asr.decoding.hypothesis import WIDEST, DecodeError, Hypothesis, Nbest, nan_error
from hybrid_asr.decoding.scorer import AttentionDecoder
from hybrid_asr.decoding.settings import BeamSettings, Needs
from hybrid_asr.models.encoded import Encoded

TOGETHER = 2**25  # logits, or cells of the CTC recursion, computed at once


@config
class RescoringConfig(BeamSettings):
    """The `beam` best of CTC prefix beam search, ranked by `ctc_weight` * CTC + (1 - `ctc_weight`) * attention."""

    kind: Literal["rescoring"] = "rescoring"
    beam: Annotated[int, Field(gt=0, le=WIDEST)] = 10
    candidates: Annotated[int, Field(ge=0)] = 10
    ctc_weight: Annotated[float, Field(ge=0, le=1)] = 0.3
    nbest: Annotated[int, Field(gt=0, le=WIDEST)] = 1

    @property
    def needs(self) -> Needs:
        """Both heads."""
        return Needs(ctc=True, attention=True)


@torch.inference_mode()
def rescore(
    nbests: Sequence[Nbest],
    encoded: Encoded,
    log_probs: Float[Tensor, "batch time vocab"],
    decoder: AttentionDecoder,
    *,
    ctc_weight: float,
    blank: int,
    eos: int,
) -> list[Nbest]:
    """The same labelings with both parts, best first: the log probability under CTC, and under the attention decoder.

    The CTC part counts all alignments, not only those that the beam has seen. Raises DecodeError on NaN.
    """
    attention = attention_scores(decoder, encoded, _labels(nbests), eos=eos, vocab_size=log_probs.shape[2])
    if bad := [utterance for utterance, scores in enumerate(attention) if any(map(math.isnan, scores))]:
        raise nan_error(bad)
    ranked = []
    for nbest, attention_row, row, frames in zip(nbests, attention, log_probs, encoded.frames.tolist(), strict=True):
        ctc = ctc_scores(row[:frames], [hypothesis.labels for hypothesis in nbest], blank=blank)
        parts = [dict(zip(("ctc", "attention"), pair, strict=True)) for pair in zip(ctc, attention_row, strict=True)]
        scored = [hypothesis._replace(parts=both) for hypothesis, both in zip(nbest, parts, strict=True)]
        ranked.append(rerank(scored, ctc_weight=ctc_weight))
    return ranked


def _labels(nbests: Sequence[Nbest]) -> list[list[tuple[int, ...]]]:
    return [[hypothesis.labels for hypothesis in nbest] for nbest in nbests]


def rerank(nbest: Nbest, *, ctc_weight: float) -> Nbest:
    """The same hypotheses by another weight; of equal scores the smaller labels come first.

    Raises DecodeError if they lack a part that has a weight.
    """
    weights = {name: weight for name, weight in (("ctc", ctc_weight), ("attention", 1.0 - ctc_weight)) if weight > 0}
    if missing := sorted(name for hypothesis in nbest for name in weights if name not in hypothesis.parts):
        raise DecodeError(f"these hypotheses have no score of '{missing[0]}'; decode them with 'rescoring' or 'joint'")

    def score(hypothesis: Hypothesis) -> float:
        return sum(weight * hypothesis.parts[name] for name, weight in weights.items())

    scored = [hypothesis._replace(score=score(hypothesis)) for hypothesis in nbest]
    return sorted(scored, key=lambda hypothesis: (-hypothesis.score, hypothesis.labels))


def attention_scores(
    decoder: AttentionDecoder,
    encoded: Encoded,
    labels: Sequence[Sequence[tuple[int, ...]]],
    *,
    eos: int,
    vocab_size: int,
) -> list[list[float]]:
    """Log probabilities of whole labelings, the end included, under the attention decoder (teacher forcing).

    Utterances of similar length are scored together, all labelings of an utterance beside one copy of its memory.
    """
    scores: list[list[float]] = [[] for _ in labels]
    beams = max(map(len, labels))
    lengths = [max(map(len, labelings)) for labelings in labels]
    for utterances in _groups(lengths, most=max(1, TOGETHER // (beams * vocab_size))):
        rows: list[tuple[int, ...]] = []
        for utterance in utterances:
            rows += [*labels[utterance], *[()] * (beams - len(labels[utterance]))]
        part = Encoded(encoded.states[utterances], encoded.frames[utterances])
        log_probs = _teacher_forced(decoder, part, rows, eos).view(len(utterances), beams).tolist()
        for utterance, row in zip(utterances, log_probs, strict=True):
            scores[utterance] = row[: len(labels[utterance])]
    return scores


def _groups(lengths: Sequence[int], *, most: int) -> list[list[int]]:
    """Indices of utterances by length, in groups of at most `most` steps, the end counted; one utterance at least."""
    groups: list[list[int]] = []
    for utterance in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        if not groups or (len(groups[-1]) + 1) * (lengths[groups[-1][0]] + 1) > most:
            groups.append([])
        groups[-1].append(utterance)
    return groups


def _teacher_forced(
    decoder: AttentionDecoder, encoded: Encoded, rows: Sequence[tuple[int, ...]], eos: int
) -> Float[Tensor, " hyps"]:
    """One log probability for each labeling; those of an utterance stand side by side."""
    labels, counts = _padded(rows, encoded.states.device)
    logits = decoder(encoded, labels)
    exact = logits if logits.dtype == torch.float64 else logits.float()
    targets = F.pad(labels, (0, 1)).scatter_(1, counts[:, None], eos)
    chosen = exact.gather(2, targets[..., None])[..., 0] - exact.logsumexp(2)
    return chosen.double().masked_fill(~valid_mask(counts + 1, targets.shape[1]), 0.0).sum(1)


def ctc_scores(log_probs: Float[Tensor, "time vocab"], labels: Sequence[tuple[int, ...]], *, blank: int) -> list[float]:
    """The log probability of each labeling of one utterance, over all of its alignments, in float64."""
    padded, counts = _padded(labels, log_probs.device)
    used, numbers = torch.cat([padded.new_tensor([blank]), padded.flatten()]).unique(return_inverse=True)
    ctc_row = log_probs[:, used].double()[:, None]  # (T, 1, used): the columns of all other labels are not needed
    frames, targets, silence = len(log_probs), numbers[1:].view_as(padded), int(numbers[0])
    rows_at_once = max(1, TOGETHER // (frames * (2 * padded.shape[1] + 1)))
    negative = []
    for targets_part, lengths in zip(targets.split(rows_at_once), counts.split(rows_at_once), strict=True):
        times = torch.full_like(lengths, frames)
        negative.append(
            F.ctc_loss(ctc_row.expand(-1, len(lengths), -1), targets_part, times, lengths, silence, reduction="none")
        )
    return (-torch.cat(negative)).tolist()


def _padded(labels: Sequence[tuple[int, ...]], device: torch.device) -> tuple[Int[Tensor, "k l"], Int[Tensor, " k"]]:
    """Labelings as rows, zeros to the right, and their lengths."""
    rows = [torch.tensor(labeling, dtype=torch.int64) for labeling in labels]
    counts = torch.tensor([len(labeling) for labeling in labels], device=device)
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device), counts
