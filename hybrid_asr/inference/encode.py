"""Waveforms to what decoders start from: read ahead, padded, encoded once.  Axes: B utterances, S samples."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.check import least_seconds
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.settings import LONGEST_S
from hybrid_asr.inference.batching import OutOfMemory
from hybrid_asr.inference.long_form import states_in_pieces
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded


def pad_audio(samples: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Stack waveforms, zeros to the right; also their lengths."""
    lengths = torch.tensor([len(one) for one in samples])
    audio = torch.zeros(len(samples), int(lengths.max()))
    for row, one in zip(audio, samples, strict=True):
        row[: len(one)] = torch.from_numpy(one)
    return audio, lengths


@torch.inference_mode()
def encode(bundle: Bundle, samples: Sequence[np.ndarray], device: torch.device) -> Encoded:
    """Features and encoder for a batch of waveforms at the front end's rate; those too long for a search in pieces."""
    if max(map(len, samples)) > LONGEST_S * bundle.frontend.rate:
        states = [states_in_pieces(bundle, one, device) for one in samples]
        frames = torch.tensor([len(one) for one in states], device=device)
        return Encoded(torch.nn.utils.rnn.pad_sequence(states, batch_first=True), frames)
    audio, lengths = pad_audio(samples)
    return bundle.model.encode(bundle.frontend(audio.to(device), lengths.to(device)))


class EncodedBatch(NamedTuple):
    """The waveforms of a batch that give an encoder frame at all: their places, and what the model made of them."""

    places: list[int]
    encoded: Encoded | None  # None where there are none
    log_probs: Tensor | None  # (B, T', V), log; None of a model without a CTC head, too

    def pick(self, rows: Sequence[int]) -> "EncodedBatch":
        """These rows as a batch of their own, with no more padding than it needs."""
        assert self.encoded is not None
        if len(rows) == len(self.places):
            return self
        chosen = torch.tensor(rows, device=self.encoded.frames.device)
        frames = self.encoded.frames[chosen]
        time = int(frames.max())
        log_probs = None if self.log_probs is None else self.log_probs[chosen, :time]
        encoded = Encoded(self.encoded.states[chosen, :time], frames)
        return EncodedBatch([self.places[row] for row in rows], encoded, log_probs)


@torch.inference_mode()
def encode_batch(bundle: Bundle, samples: Sequence[np.ndarray], device: torch.device) -> EncodedBatch:
    """Encode the waveforms that are long enough for one encoder frame; the CTC head runs once for all decoders."""
    lengths = [bundle.model.output_length(bundle.frontend.frames(len(one))) for one in samples]
    places = [place for place, length in enumerate(lengths) if length > 0]
    if not places:
        return EncodedBatch([], None, None)
    encoded = encode(bundle, [samples[place] for place in places], device)
    if (found := encoded.frames.tolist()) != (said := [lengths[place] for place in places]):
        row = next(row for row, pair in enumerate(zip(found, said, strict=True)) if len(set(pair)) > 1)
        raise UserError(
            f"the encoder makes {found[row]} frames of {len(samples[places[row]]) / bundle.frontend.rate:.2f} s, and "
            f"its output_length says {said[row]}; correct output_length: batches and the bounds of a search rest on it"
        )
    return EncodedBatch(places, encoded, None if bundle.model.ctc is None else bundle.model.ctc(encoded))


def read_ahead(
    manifest: Manifest,
    batches: Iterable[list[int]],
    rate: int,
    *,
    bad: Callable[[int, UserError], None] | None = None,
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Batches of waveforms, each read while the one before is in use; the next batch is asked for that early, too.

    With `bad`, an utterance that cannot be read is told to it and left out; else UserError names the first one.
    """

    def read(index: int) -> np.ndarray | UserError:
        try:
            return manifest.read_audio(index, rate)
        except MemoryError:
            return OutOfMemory("no memory is left to read it")
        except UserError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        reading: list[tuple[int, Future[np.ndarray | UserError]]] = []
        for indices in chain(batches, [[]]):
            before, reading = reading, [(index, pool.submit(read, index)) for index in indices]
            whole = {}
            for index, future in before:
                found = future.result()
                if not isinstance(found, UserError):
                    whole[index] = found
                elif bad is None:
                    raise UserError(f"{manifest.path}: utterance '{manifest[index].id}': {found}") from found
                else:
                    bad(index, found)
            if whole:
                yield list(whole), list(whole.values())


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
