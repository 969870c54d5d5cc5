"""Which words of a hypothesis may be wrong: what attention and CTC think of each, and whether they look alike.

Axes: B utterances, L labels, T' frames.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from hybrid_asr.attention.teacher_forcing import label_nats, teacher_forced
from hybrid_asr.decoding.ctc_align import Alignment, ctc_align
from hybrid_asr.inference.encode import EncodedBatch
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.scoring.align import Unit, split

LEAST = 1e-6  # a posterior below that tells no more
NEAR_S = 0.2


class CtcConfidence(NamedTuple):
    """How little CTC bears a word out: minus the log posterior of its labels in the alignment, their mean, in nats."""

    text: str
    ctc: float

    @property
    def support(self) -> float:
        """The same as a probability: the geometric mean of the labels' posteriors, 0 to 1."""
        return math.exp(-self.ctc)


class ErrorSigns(NamedTuple):
    """Signs that a word is wrong, each the larger the likelier; means over the word's labels.

    `ctc` and `attention` are minus the log probability that CTC's alignment, and the decoder, give its labels, in nats.
    `distance_s` is how far from their places in the alignment attention looks, the mean over all heads, in seconds;
    `outside` is the share of it that looks further than `NEAR_S` from them; `entropy` how far it spreads, in nats.
    """

    text: str
    ctc: float
    attention: float
    distance_s: float
    outside: float
    entropy: float


class _Placed(NamedTuple):
    """A text in its utterance: the words, each with the places of its labels, and where CTC aligns these."""

    units: list[tuple[str, list[int]]]
    alignment: Alignment

    def ctc(self) -> Float64[Tensor, " labels"]:
        probabilities = torch.tensor([span.confidence for span in self.alignment.spans], dtype=torch.float64)
        return -probabilities.clamp(min=LEAST).log()


@torch.inference_mode()
def ctc_confidence(
    bundle: Bundle, encoded_batch: EncodedBatch, texts: Sequence[str], *, unit: Unit = "word"
) -> list[list[CtcConfidence] | None]:
    """The words (or characters) of each text with CTC's doubt; None where CTC cannot align it, or it is empty.

    `texts` belong to the rows of `heard`. The model must have a CTC head; its labels must spell (`writes`: text).
    """
    placed = _place(bundle, encoded_batch, _labels(bundle, texts), unit)
    return [
        None if one is None else [CtcConfidence(text, float(one.ctc()[places].mean())) for text, places in one.units]
        for one in placed
    ]


@torch.inference_mode()
def error_signs(
    bundle: Bundle, encoded_batch: EncodedBatch, texts: Sequence[str], *, unit: Unit = "word"
) -> list[list[ErrorSigns] | None]:
    """The same with all signs of doubt. The model must have both heads."""
    decoder, encoded = bundle.model.decoder, encoded_batch.encoded
    assert decoder is not None and encoded is not None
    written = _labels(bundle, texts)
    labels = torch.nn.utils.rnn.pad_sequence(written, batch_first=True).to(encoded.frames.device)
    weights = teacher_forced(decoder, encoded, labels, sos=bundle.tokenizer.sos)
    nats, frame_s = label_nats(decoder, encoded, labels), bundle.frame_s
    placed = _place(bundle, encoded_batch, written, unit)
    return [
        None if one is None else _all_signs(one, weights[row], nats[row], frame_s) for row, one in enumerate(placed)
    ]


def _labels(bundle: Bundle, texts: Sequence[str]) -> list[Int[Tensor, " labels"]]:
    return [torch.tensor(bundle.tokenizer.encode(text), dtype=torch.long) for text in texts]


def _place(bundle: Bundle, encoded_batch: EncodedBatch, written: Sequence[Tensor], unit: Unit) -> list[_Placed | None]:
    """Align each labeling, and find its words."""
    assert encoded_batch.log_probs is not None and encoded_batch.encoded is not None
    device, tokenizer = encoded_batch.log_probs.device, bundle.tokenizer
    labels = torch.nn.utils.rnn.pad_sequence(list(written), batch_first=True).to(device)
    sizes = torch.tensor([len(one) for one in written], device=device)
    aligned = ctc_align(encoded_batch.log_probs, encoded_batch.encoded.frames, labels, sizes, blank=tokenizer.blank)
    return [
        None if one is None or not len(said) else _Placed(units_of(tokenizer.pieces(said.tolist()), unit), one)
        for said, one in zip(written, aligned, strict=True)
    ]


def units_of(pieces: Sequence[str], unit: Unit) -> list[tuple[str, list[int]]]:
    """The words or characters that labels spell, as they are scored, each with the places of its labels."""
    text = "".join(pieces)
    owners = [place for place, piece in enumerate(pieces) for _ in piece]
    found, at = [], 0
    for one in split(text, unit):
        places = []
        for character in one:  # what stands between units, spaces, belongs to none
            at = text.index(character, at) + 1
            places.append(owners[at - 1])
        found.append((one, list(dict.fromkeys(places))))
    return found


def _all_signs(
    placed: _Placed,
    weights: Float[Tensor, "layers heads rows time"],
    nats: Float[Tensor, " labels"],
    frame_s: float,
) -> list[ErrorSigns]:
    spans = placed.alignment.spans
    looks = weights[:, :, : len(spans)].mean((0, 1)).cpu().double()  # (L, T')
    middles = torch.tensor([(span.start + span.end) / 2 for span in spans], dtype=looks.dtype)
    away = (torch.arange(looks.shape[1]) + 0.5 - middles[:, None]).abs() * frame_s
    signs = torch.stack(
        [
            placed.ctc(),
            nats[: len(spans)].cpu().double(),
            (looks * away).sum(1),
            (looks * (away > NEAR_S)).sum(1),
            torch.special.entr(looks).sum(1),
        ]
    )
    return [ErrorSigns(text, *signs[:, places].mean(1).tolist()) for text, places in placed.units]
