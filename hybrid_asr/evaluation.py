"""Decoding a whole set: audio in, hypotheses out.  Validation and `hybrid-asr decode` are this same function."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from hybrid_asr.audio import io
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.sampler import evaluation_batches
from hybrid_asr.decoding.build import DecodeConfig, Decoder, build_decoder
from hybrid_asr.decoding.hypothesis import Hypothesis
from hybrid_asr.errors import UserError
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoder import Encoded
from hybrid_asr.text.normalise import normalise

NOTHING = Hypothesis(labels=(), score=0.0, parts={}, ended="cut")  # of audio too short for one encoder frame


class Decoded(NamedTuple):
    """One utterance's outcome; `place` is its position in the manifest."""

    place: int
    id: str
    reference: str
    speaker: str | None
    text: str
    score: float
    parts: dict[str, float]
    ended: str
    audio_s: float


class Evaluation(NamedTuple):
    """A set's outcomes in the manifest's order, and the seconds that features, encoder and search took together."""

    items: list[Decoded]
    decode_s: float


def pick_device(name: str = "auto") -> torch.device:
    """`auto` is a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else torch.device(name)


def decoder_for(bundle: Bundle, cfg: DecodeConfig) -> Decoder:
    """Build a decoder for a bundle. Raises DecodeError if the model lacks what it needs."""
    tokenizer = bundle.tokenizer
    return build_decoder(
        cfg,
        bundle.model,
        blank=tokenizer.blank,
        sos=tokenizer.sos,
        eos=tokenizer.eos,
        labels_per_frame=bundle.labels_per_frame,
    )


def gather(mine: Evaluation) -> Evaluation:
    """Put the shares of all processes together, on each of them; alone, nothing changes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mine
    shares: list[Evaluation | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, mine)
    items = sorted(item for share in shares if share is not None for item in share.items)
    return Evaluation(items, max(share.decode_s for share in shares if share is not None))


def pad_audio(samples: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack waveforms, zeros to the right; also their lengths."""
    lengths = torch.tensor([len(one) for one in samples])
    audio = torch.zeros(len(samples), int(lengths.max()))
    for row, one in zip(audio, samples, strict=True):
        row[: len(one)] = torch.from_numpy(one)
    return audio, lengths


@torch.inference_mode()
def encode(bundle: Bundle, samples: Sequence[np.ndarray], device: torch.device) -> Encoded:
    """Features and encoder for a batch of waveforms at the front end's rate."""
    audio, lengths = pad_audio(samples)
    return bundle.model.encode(bundle.frontend(audio.to(device), lengths.to(device)))


class Heard(NamedTuple):
    """The waveforms of a batch that give an encoder frame at all: their places, and what the encoder made of them."""

    places: list[int]
    encoded: Encoded | None  # None where there are none


def hear(bundle: Bundle, samples: Sequence[np.ndarray], device: torch.device) -> Heard:
    """Encode the waveforms that are long enough for one encoder frame."""
    lengths = [bundle.model.output_length(bundle.frontend.frames(len(one))) for one in samples]
    places = [place for place, length in enumerate(lengths) if length > 0]
    return Heard(places, encode(bundle, [samples[place] for place in places], device) if places else None)


@torch.inference_mode()
def decode_heard(decoder: Decoder, heard: Heard, count: int) -> list[Hypothesis]:
    """The best hypothesis of each of `count` waveforms; one too short to be heard has an empty one, marked as cut."""
    best = [NOTHING] * count
    if heard.encoded is not None:
        for place, nbest in zip(heard.places, decoder.decode(heard.encoded), strict=True):
            best[place] = nbest[0]
    return best


def evaluate(
    bundle: Bundle,
    decoder: Decoder,
    manifest: Manifest,
    *,
    device: torch.device,
    batch_seconds: float,
    rank: int = 0,
    ranks: int = 1,
) -> Evaluation:
    """Decode a set, or this rank's share of it. The next batch is read while one is decoded."""
    assert not bundle.model.training, "dropout would act: call eval() first"
    items, decode_s = [], 0.0
    parts = evaluation_batches(manifest, batch_seconds, rank, ranks)
    batches = [[row.indices[0] for row in part.utterances] for part in parts if part.utterances[0].weight > 0]
    for indices, samples in read_ahead(manifest, batches, bundle.frontend.rate):
        began = time.perf_counter()
        hypotheses = decode_heard(decoder, hear(bundle, samples, device), len(samples))
        decode_s += time.perf_counter() - began
        items += [_outcome(bundle, manifest, place, best) for place, best in zip(indices, hypotheses, strict=True)]
    return Evaluation(sorted(items), decode_s)


def _outcome(bundle: Bundle, manifest: Manifest, place: int, best: Hypothesis) -> Decoded:
    utterance = manifest[place]
    return Decoded(
        place=place,
        id=utterance.id,
        reference=normalise(utterance.text, bundle.text.rules),
        speaker=utterance.speaker,
        text=bundle.tokenizer.decode(best.labels),
        score=best.score,
        parts=dict(best.parts),
        ended=best.ended,
        audio_s=utterance.duration_s,
    )


def read_ahead(
    manifest: Manifest, batches: Sequence[list[int]], rate: int
) -> Iterator[tuple[list[int], list[np.ndarray]]]:
    """Batches of waveforms, each read while the one before is in use."""
    if not batches:
        return

    def read(index: int) -> np.ndarray:
        utterance = manifest[index]
        try:
            path = manifest.audio_path(index)
            return io.read(path, start_s=utterance.start_s, duration_s=utterance.duration_s, rate=rate)
        except UserError as error:
            raise UserError(f"{manifest.path}: utterance '{utterance.id}': {error}") from error

    with ThreadPoolExecutor(2) as pool:
        following = [pool.submit(read, index) for index in batches[0]]
        for place, indices in enumerate(batches):
            waiting, following = following, [pool.submit(read, index) for index in [*batches, []][place + 1]]
            yield indices, [future.result() for future in waiting]
