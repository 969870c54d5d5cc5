"""CTC greedy decoding: the best label of every frame, repeats and blanks removed (Graves et al., 2006).

Axes: B utterances, T frames, V labels.
"""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hybrid_asr.common.masks import valid_mask
from hybrid_asr.config.schema import config
from hybrid_asr.decoding.hypothesis import Hypothesis, nan_error
from hybrid_asr.decoding.settings import DecoderSettings, Needs

BLOCK = 4096  # frames processed at once, so that an hour's log probabilities are not copied


@config
class CtcGreedyConfig(DecoderSettings):
    """CTC greedy decoding has no settings."""

    kind: Literal["ctc_greedy"] = "ctc_greedy"

    @property
    def needs(self) -> Needs:
        """The CTC head."""
        return Needs(ctc=True)

    @property
    def longest_s(self) -> float:
        """Any length: of long audio CTC's log probabilities are computed in pieces (inference/long_form.py)."""
        return math.inf


class BestPath(NamedTuple):
    """The most probable label of each frame."""

    labels: Int[Tensor, "batch time"]
    emits: Bool[Tensor, "batch time"]  # where a label begins: neither blank, repeat nor padding
    score: Float[Tensor, " batch"]  # log probability of the path, nats, float64

    def lengths(self) -> Int[Tensor, " batch"]:
        """Labels of each utterance."""
        return self.emits.sum(1)


def best_path(
    log_probs: Float[Tensor, "batch time vocab"],
    frames: Int[Tensor, " batch"],
    *,
    blank: int,
    excluded: tuple[int, ...] = (),
) -> BestPath:
    """Take the most probable label of each frame except those in `excluded`; of equal ones the smallest."""
    valid = valid_mask(frames, log_probs.shape[1])
    parts = [_best(part, excluded) for part in log_probs.split(BLOCK, dim=1)]
    best, labels = (torch.cat(part, dim=1) for part in zip(*parts, strict=True))
    repeats = torch.nn.functional.pad(labels[:, 1:] == labels[:, :-1], (1, 0), value=False)
    score = best.double().masked_fill(~valid, 0.0).sum(1)
    return BestPath(labels, valid & (labels != blank) & ~repeats, score)


def _best(
    log_probs: Float[Tensor, "batch time vocab"], excluded: tuple[int, ...]
) -> tuple[Float[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """The best score of each frame and the smallest label that has it; argmax leaves open which of equals it takes."""
    allowed = log_probs.index_fill(2, torch.tensor(excluded, dtype=torch.int64, device=log_probs.device), -torch.inf)
    best = allowed.amax(2, keepdim=True)
    vocab = torch.arange(log_probs.shape[2], device=log_probs.device)
    return best[..., 0], torch.where(allowed == best, vocab, len(vocab)).amin(2)


def ctc_greedy(path: BestPath) -> list[Hypothesis]:
    """The labeling of each utterance's best path, with the log probability of that path. Raises DecodeError on NaN."""
    scores, counts = path.score.tolist(), path.lengths().tolist()
    if bad := [utterance for utterance, score in enumerate(scores) if math.isnan(score)]:
        raise nan_error(bad)
    labels = path.labels[path.emits].cpu().split(counts)
    paths = zip(labels, scores, strict=True)
    return [Hypothesis(tuple(sequence.tolist()), score, {"ctc": score}, "eos") for sequence, score in paths]
