"""A decoder teacher-forced on a given text: its cross-attention weights, and the nats of each label.

Axes: B utterances, T' encoder frames, L layers, H heads, R rows (the labels and the end).
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hybrid_asr.models.decoder import Decoder
from hybrid_asr.models.encoded import Encoded


def teacher_forced(
    decoder: Decoder[Any], encoded: Encoded, labels: Int[Tensor, "batch labels"], *, sos: int
) -> Float[Tensor, "batch layers heads rows time"]:
    """Cross-attention weights of the steps that predict `labels` and the end: row r is that of the step for label r.

    They sum to one over an utterance's real frames. Rows behind an utterance's end, where `labels` are padding, mean
    nothing.
    """
    state, rows = decoder.start(encoded, beams=1), []
    for last in torch.nn.functional.pad(labels, (1, 0), value=sos).T:
        output = decoder.step(state, last, weights="all")
        assert output.attention is not None, "weights were asked for"
        rows.append(output.attention)  # (L, B, H, T')
        state = output.state
    return torch.stack(rows, dim=3).transpose(0, 1)


def label_nats(
    decoder: Decoder[Any], encoded: Encoded, labels: Int[Tensor, "batch labels"]
) -> Float[Tensor, "batch labels"]:
    """Minus the log probability that a decoder gives each label after those before it."""
    return -decoder(encoded, labels).log_softmax(-1)[:, :-1].gather(2, labels[..., None])[..., 0]
