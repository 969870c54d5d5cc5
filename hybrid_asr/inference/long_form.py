"""Audio of any length through the encoder: in pieces that overlap, of whose outputs the outer frames are cut off.

Axes: T' encoder frames of the whole, V units, B pieces that are encoded at once.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from hybrid_asr.decoding.hypothesis import DecodeError
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded

PIECE_S = 30.0
CONTEXT_S = 4.0  # that the encoder hears on either side of a piece
TOGETHER = 4  # pieces


Waveform = Float32[np.ndarray, " samples"]


class Piece(NamedTuple):
    """Encoder frames of the whole audio: `first` to `last` (exclusive) count, `begin` to `end` are heard."""

    begin: int
    first: int
    last: int
    end: int


def cut(frames: int, piece: int, context: int) -> list[Piece]:
    """Pieces of equal length, at most `piece` frames; one, if that is no more than a piece with both its contexts."""
    count = 1 if frames <= piece + 2 * context else -(-frames // piece)
    bounds = [frames * number // count for number in range(count + 1)]
    return [
        Piece(max(0, first - context), first, last, min(frames, last + context))
        for first, last in itertools.pairwise(bounds)
    ]


@torch.inference_mode()
def states_in_pieces(
    bundle: Bundle, samples: Waveform, device: torch.device, *, piece_s: float = PIECE_S, context_s: float = CONTEXT_S
) -> Float[Tensor, "frames dim"]:
    """Encoder outputs of one waveform at the front end's rate, as if it had been heard at once.

    What is normalized by utterance is normalized by piece. Audio that fits into one piece with its contexts is not cut.
    Raises DecodeError for audio too short to give a frame.
    """
    return torch.cat(list(_encoded(bundle, samples, device, piece_s, context_s)))


@torch.inference_mode()
def log_probs_in_pieces(
    bundle: Bundle, samples: Waveform, device: torch.device, *, piece_s: float = PIECE_S, context_s: float = CONTEXT_S
) -> Float[Tensor, "frames units"]:
    """CTC log posteriors of `states_in_pieces`, on the CPU. Raises DecodeError for a model without a CTC head, too."""
    head = bundle.model.ctc
    if head is None:
        raise DecodeError("this model has no CTC head (loss.ctc_weight: 0); audio can be taken in pieces by CTC only")
    parts = _encoded(bundle, samples, device, piece_s, context_s)
    return torch.cat([head(Encoded(part[None], torch.tensor([len(part)])))[0].cpu() for part in parts])


def _encoded(
    bundle: Bundle, samples: Waveform, device: torch.device, piece_s: float, context_s: float
) -> Iterator[Float[Tensor, "some dim"]]:
    """The encoder's outputs, piece by piece."""
    model, frontend = bundle.model, bundle.frontend
    total = model.output_length(frontend.frames(len(samples)))
    if total < 1:
        raise DecodeError(f"{len(samples) / frontend.rate:.3f} s of audio are too short to give an encoder frame")
    second = 1.0 / bundle.frame_s
    for some in _some(cut(total, max(1, round(piece_s * second)), round(context_s * second))):
        encoded = model.encode(frontend(*_stacked([_heard(bundle, samples, piece, total) for piece in some], device)))
        for piece, row in zip(some, encoded.states, strict=True):
            yield row[piece.first - piece.begin : piece.last - piece.begin]


def _some(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """What is encoded at once."""
    for begin in range(0, len(pieces), TOGETHER):
        yield pieces[begin : begin + TOGETHER]


def _heard(bundle: Bundle, samples: Waveform, piece: Piece, total: int) -> Tensor:
    """The samples of a piece's frames, which begin where frames of the whole begin."""
    frontend, stride = bundle.frontend, bundle.model.encoder.stride
    begin = piece.begin * stride * frontend.shift_samples
    if piece.end == total:
        return torch.from_numpy(samples[begin:])
    needed = piece.end - piece.begin
    windows = stride * needed
    while bundle.model.output_length(windows) < needed:
        windows += 1
    return torch.from_numpy(samples[begin : begin + (windows - 1) * frontend.shift_samples + frontend.window_samples])


def _stacked(waveforms: list[Tensor], device: torch.device) -> tuple[Float32[Tensor, "batch samples"], Tensor]:
    """Waveforms as one tensor, zeros to the right, and their lengths."""
    lengths = torch.tensor([len(one) for one in waveforms])
    return torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True).to(device), lengths.to(device)
