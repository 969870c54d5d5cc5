"""The joint search written down as in the papers, one hypothesis at a time: what the engine must equal at any size.

Frame by frame forward variables (Watanabe et al., 2017, Algorithm 2), the whole prefix through the decoder at each
step, no bound on what can still come. Slow, and it shares nothing with the engine but the model.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hybrid_asr.models.encoded import Encoded


class Prefix(NamedTuple):
    """A labeling and its CTC state: forward variables before each frame and after the last one, ψ; all logarithms."""

    labels: tuple[int, ...]
    score: float
    ctc: float
    attention: float
    in_label: np.ndarray
    in_blank: np.ndarray


def plain_search(
    encoded: Encoded,
    log_probs: Tensor,
    decoder: nn.Module,
    *,
    beam: int,
    ctc_weight: float,
    bound: int,
    sos: int,
    eos: int,
    blank: int = 0,
) -> list[tuple[tuple[int, ...], float]]:
    """All labelings of one utterance that ended, the best first, with their scores; run to the bound."""
    frames = log_probs.double().numpy()
    silence = np.concatenate([[0.0], frames[:, blank].cumsum()])
    live = [Prefix((), 0.0, 0.0, 0.0, np.full(len(silence), -np.inf), silence)]
    ended = []
    for length in range(bound + 1):
        attention = _attention(encoded, decoder, live, sos)
        grown = []
        for hyp, of_next in zip(live, attention, strict=True):
            psi, in_label, in_blank = _extensions(frames, hyp, blank)
            psi[eos] = np.logaddexp(hyp.in_label[-1], hyp.in_blank[-1])
            for unit in [eos] if length == bound else range(len(psi)):
                if unit == blank or (unit == sos and unit != eos):
                    continue
                ctc, said = psi[unit], hyp.attention + of_next[unit]
                score = (ctc_weight * ctc if ctc_weight else 0.0) + (1 - ctc_weight) * said
                if score > -np.inf:
                    grown.append((score, unit, hyp, ctc, said, in_label, in_blank))
        grown.sort(key=lambda one: -one[0])
        live = []
        for score, unit, hyp, ctc, said, in_label, in_blank in grown[:beam]:
            if unit == eos:
                ended.append((hyp.labels, float(score)))
            else:
                live.append(Prefix((*hyp.labels, unit), score, ctc, said, in_label[:, unit], in_blank[:, unit]))
        if not live:
            break
    return sorted(ended, key=lambda one: (-one[1], one[0]))


def _extensions(frames: np.ndarray, hyp: Prefix, blank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log ψ(g·c) of every c, and the forward variables (T + 1, V) of each g·c."""
    time, vocab_size = frames.shape
    in_label, in_blank = np.full((time + 1, vocab_size), -np.inf), np.full((time + 1, vocab_size), -np.inf)
    psi = np.full(vocab_size, -np.inf)
    for t in range(time):
        before = np.full(vocab_size, np.logaddexp(hyp.in_label[t], hyp.in_blank[t]))
        if hyp.labels:
            before[hyp.labels[-1]] = hyp.in_blank[t]
        in_label[t + 1] = np.logaddexp(in_label[t], before) + frames[t]
        in_blank[t + 1] = np.logaddexp(in_label[t], in_blank[t]) + frames[t, blank]
        psi = np.logaddexp(psi, before + frames[t])
    return psi, in_label, in_blank


@torch.no_grad()
def _attention(encoded: Encoded, decoder: nn.Module, live: list[Prefix], sos: int) -> np.ndarray:
    """log p(next label) of every hypothesis, computed from nothing."""
    labels = torch.tensor([hyp.labels for hyp in live], dtype=torch.int64).view(len(live), -1)
    repeated = Encoded(encoded.states.expand(len(live), -1, -1), encoded.frames.expand(len(live)))
    return decoder(repeated, labels)[:, -1].double().log_softmax(-1).numpy()
