"""Waveforms to what decoders start from: padded, encoded once.  Axes: B utterances, S samples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.label_counts import least_seconds
from hybrid_asr.decoding.settings import LONGEST_S
from hybrid_asr.inference.long_form import states_in_pieces
from hybrid_asr.inference.padding import pad_audio
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded


@torch.inference_mode()
def encode(bundle: Bundle, samples: Sequence[np.ndarray], device: torch.device) -> Encoded:
    """Features and encoder for a batch of waveforms at the front end's rate; those too long for a search in pieces."""
    if max(map(len, samples)) > LONGEST_S * bundle.frontend.rate:
        states = [states_in_pieces(bundle, waveform, device) for waveform in samples]
        frames = torch.tensor([len(each) for each in states], device=device)
        return Encoded(torch.nn.utils.rnn.pad_sequence(states, batch_first=True), frames)
    audio, lengths = pad_audio(samples)
    return bundle.model.encode(bundle.frontend(audio.to(device), lengths.to(device)))


class EncodedBatch(NamedTuple):
    """Encoder outputs of the waveforms that are long enough for a frame; `indices` are their positions in the batch."""

    indices: list[int]
    encoded: Encoded | None  # None where there are none
    log_probs: Tensor | None  # (B, T', V), log; None of a model without a CTC head, too

    def pick(self, rows: Sequence[int]) -> "EncodedBatch":
        """These rows as a batch of their own, with no more padding than it needs."""
        assert self.encoded is not None
        if len(rows) == len(self.indices):
            return self
        chosen = torch.tensor(rows, device=self.encoded.frames.device)
        frames = self.encoded.frames[chosen]
        time = int(frames.max())
        log_probs = None if self.log_probs is None else self.log_probs[chosen, :time]
        encoded = Encoded(self.encoded.states[chosen, :time], frames)
        return EncodedBatch([self.indices[row] for row in rows], encoded, log_probs)


@torch.inference_mode()
def encode_batch(bundle: Bundle, samples: Sequence[np.ndarray], device: torch.device) -> EncodedBatch:
    """Encode the waveforms that are long enough for one encoder frame; the CTC head runs once for all decoders."""
    lengths = [bundle.model.output_length(bundle.frontend.frames(len(waveform))) for waveform in samples]
    indices = [index for index, length in enumerate(lengths) if length > 0]
    if not indices:
        return EncodedBatch([], None, None)
    encoded = encode(bundle, [samples[index] for index in indices], device)
    for index, frames in zip(indices, encoded.frames.tolist(), strict=True):
        if frames != lengths[index]:
            raise UserError(
                f"the encoder makes {frames} frames of {len(samples[index]) / bundle.frontend.rate:.2f} s, and its "
                f"output_length says {lengths[index]}; correct output_length: batches and the bounds of a search rest "
                "on it"
            )
    return EncodedBatch(indices, encoded, None if bundle.model.ctc is None else bundle.model.ctc(encoded))


def shortest_audio(bundle: Bundle) -> float:
    """The shortest audio, in seconds, that fills a frame of the encoder.

    A pyramid makes one of less, filled up with zeros; but where a frame is longer than an utterance, that utterance is
    one state, and neither CTC nor attention has anything to choose from.
    """
    return max(first_frame_s(bundle), bundle.frame_s)


def first_frame_s(bundle: Bundle) -> float:
    """The shortest audio, in seconds, of which the encoder makes a frame."""
    front, model = bundle.frontend, bundle.model
    return float(least_seconds(1, frames=front.frames, output_length=model.output_length, rate=front.rate)[1])
