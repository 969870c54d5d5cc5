"""A decoder as a task of a pass over audio, and its results."""

import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.decoding.decoder import Decoder
from hybrid_asr.decoding.hypothesis import Hypothesis, Nbest, UtteranceError
from hybrid_asr.inference.encode import EncodedBatch

EMPTY = Hypothesis(labels=(), score=0.0, parts={}, ended="cut")  # of audio too short for one encoder frame
SCORES_EQUAL = 1e-4  # nats: what rounding moves a score by


@dataclasses.dataclass(frozen=True)
class DecodingTask:
    """A decoder of a pass. `wider` is the same search with twice the beam, which shows what the beam misses.

    Tasks that have one decoder in common run it once; each may `finish` an n-best in its own way.
    """

    decoder: Decoder
    wider: Decoder | None = None
    rank: Callable[[Hypothesis], float] = lambda hypothesis: hypothesis.score
    longest_s: float = math.inf  # seconds of audio that it takes
    finish: Callable[[Nbest], Nbest] = lambda nbest: nbest


class DecodingFailure(NamedTuple):
    """An utterance, by its index in the source, that could not be read, encoded or decoded.

    `tasks` are those that have no result of it for this reason.
    """

    index: int
    error: UserError
    tasks: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Why, of one utterance alone."""
        return reason_alone(self.error)


class SearchResult(NamedTuple):
    """What a task gave for a batch, by the utterances' indices in the source.

    `missed` tells whether twice the beam finds a better hypothesis; None where that is not known. `peak` is the most
    memory, in bytes, that was held in any search of this decoder so far.
    """

    nbests: dict[int, Nbest]
    missed: dict[int, bool | None]
    seconds: float
    peak: int | None


@torch.inference_mode()
def decode_nbest(decoder: Decoder, encoded_batch: EncodedBatch) -> list[Nbest]:
    """The n-best of every utterance that has an encoder frame."""
    return [] if encoded_batch.encoded is None else decoder.decode(encoded_batch.encoded, encoded_batch.log_probs)


def decode_best(decoder: Decoder, encoded_batch: EncodedBatch, count: int) -> list[Hypothesis]:
    """The best hypothesis of each of `count` waveforms; one too short for an encoder frame has `EMPTY`."""
    best = [EMPTY] * count
    for index, nbest in zip(encoded_batch.indices, decode_nbest(decoder, encoded_batch), strict=True):
        best[index] = nbest[0]
    return best


def reason_alone(error: UserError) -> str:
    """Why an utterance that was alone in its batch could not be decoded."""
    return error.reason if isinstance(error, UtteranceError) else str(error)


def too_long(seconds: float, limit: float) -> str:
    """Why audio is refused by a search, and what to do."""
    return (
        f"lasts {seconds:.1f} s; a search takes at most {limit:g} s: cut it (start_s and duration_s in the manifest), "
        "or use the decoder ctc_greedy, which takes any length"
    )
