"""The results of decoding a set: a text for each utterance or the reason for none, and the time and memory used."""

from typing import NamedTuple

import torch

from hybrid_asr.data.manifest import Utterance
from hybrid_asr.decoding.hypothesis import Hypothesis, Nbest
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.tokenizer import Tokenizer


class Alternative(NamedTuple):
    """One hypothesis of an n-best list; `parts` are the summands of its score."""

    text: str
    score: float
    parts: dict[str, float]


class Decoded(NamedTuple):
    """One decoded utterance; `index` is its position in the manifest."""

    index: int
    id: str
    reference: str
    speaker: str | None
    text: str
    score: float
    parts: dict[str, float]
    ended: str
    audio_s: float
    nbest: tuple[Alternative, ...] = ()  # best first, the best included
    missed: bool | None = None  # whether twice the beam finds a better score; None if not measured
    short: bool | None = None  # whether the search ended far too early; None where that is not known


class FailedUtterance(NamedTuple):
    """An utterance that could not be decoded, and why."""

    id: str
    reason: str


class Evaluation(NamedTuple):
    """A set decoded by one decoder, in the manifest's order, with its cost.

    `decode_s` are the seconds of features, encoder and search together, `encode_s` those without the search, which
    several decoders share. `peak` is the largest memory use during the search, in bytes, model included.
    """

    items: list[Decoded]
    decode_s: float
    encode_s: float = 0.0
    failed: tuple[FailedUtterance, ...] = ()
    peak: int | None = None


def text_of(hypothesis: Hypothesis, tokenizer: Tokenizer) -> str:
    """The words of a hypothesis: the decoder's own, else the text of its labels."""
    return tokenizer.decode(hypothesis.labels) if hypothesis.text is None else hypothesis.text


def decoded_utterance(
    bundle: Bundle, index: int, utterance: Utterance, nbest: Nbest, *, missed: bool | None, short: bool | None
) -> Decoded:
    """The outcome of an utterance from its n-best list."""
    best, tokenizer = nbest[0], bundle.tokenizer
    alternatives = [
        Alternative(text_of(hypothesis, tokenizer), hypothesis.score, dict(hypothesis.parts))
        for hypothesis in nbest
        if nbest[1:]
    ]
    return Decoded(
        index=index,
        id=utterance.id,
        reference=bundle.text.spell(utterance.text, utterance.language),
        speaker=utterance.speaker,
        text=alternatives[0].text if alternatives else text_of(best, tokenizer),
        score=best.score,
        parts=dict(best.parts),
        ended=best.ended,
        audio_s=utterance.duration_s,
        nbest=tuple(alternatives),
        missed=missed,
        short=short,
    )


def gather(share: Evaluation) -> Evaluation:
    """The results of all processes together, on each of them; in a single process, `share` itself."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return share
    gathered: list[Evaluation | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(gathered, share)
    shares = [each for each in gathered if each is not None]
    items = sorted(item for each in shares for item in each.items)
    return share._replace(items=items, decode_s=max(each.decode_s for each in shares))
