"""Encode audio of any length in overlapping pieces, whose outer frames are cut off from the outputs.

Axes: `frames` encoder frames of the whole audio, `batch` pieces that are encoded at once.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from hybrid_asr.decoding.hypothesis import DecodeError
from hybrid_asr.inference.batching import PIECES, in_order
from hybrid_asr.inference.padding import pad_audio
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded

PIECE_S = 30.0
CONTEXT_S = 4.0  # of audio on either side of a piece that are encoded with it


Waveform = Float32[np.ndarray, " samples"]


class Piece(NamedTuple):
    """Encoder frames of the whole audio: `begin` to `end` are encoded, `first` to `last` kept (ends are exclusive)."""

    begin: int
    first: int
    last: int
    end: int


def cut(frames: int, piece: int, context: int) -> list[Piece]:
    """Pieces of equal length, at most `piece` frames; a single one if a piece with both contexts covers all frames."""
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
    """Encoder outputs of one waveform at the front end's rate, nearly those of encoding it at once.

    Features that are normalized by utterance are normalized by piece. Audio that fits into one piece with its contexts
    is not cut. Raises DecodeError for audio too short to give a frame.
    """
    return torch.cat(list(_encoded(bundle, samples, device, piece_s, context_s)))


@torch.inference_mode()
def log_probs_in_pieces(
    bundle: Bundle, samples: Waveform, device: torch.device, *, piece_s: float = PIECE_S, context_s: float = CONTEXT_S
) -> Float[Tensor, "frames units"]:
    """CTC log probabilities of `states_in_pieces`, on the CPU. Raises DecodeError also without a CTC head."""
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
    frames_per_second = 1.0 / bundle.frame_s
    pieces = cut(total, max(1, round(piece_s * frames_per_second)), round(context_s * frames_per_second))
    for batch in in_order(pieces, PIECES):
        audio, lengths = pad_audio([_piece_samples(bundle, samples, piece, total) for piece in batch])
        encoded = model.encode(frontend(audio.to(device), lengths.to(device)))
        for piece, row in zip(batch, encoded.states, strict=True):
            yield row[piece.first - piece.begin : piece.last - piece.begin]


def _piece_samples(bundle: Bundle, samples: Waveform, piece: Piece, total: int) -> Float32[np.ndarray, " cut"]:
    """The samples of a piece with its contexts; its frames begin where frames of the whole audio begin."""
    frontend, stride = bundle.frontend, bundle.model.encoder.stride
    begin = piece.begin * stride * frontend.shift_samples
    if piece.end == total:
        return samples[begin:]
    needed = piece.end - piece.begin
    windows = stride * needed
    while bundle.model.output_length(windows) < needed:
        windows += 1
    return samples[begin : begin + (windows - 1) * frontend.shift_samples + frontend.window_samples]
