"""Which words of a hypothesis may be wrong: how probable CTC and attention find each, and whether they place it alike.

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

MIN_POSTERIOR = 1e-6  # a lower one is taken for this, so that its logarithm stays finite
NEAR_S = 0.2  # seconds from a label's place in the CTC alignment


class CtcConfidence(NamedTuple):
    """How probable CTC finds a word: `ctc` is minus the mean log posterior of its labels in the alignment, in nats."""

    text: str
    ctc: float

    @property
    def probability(self) -> float:
        """The same as a probability: the geometric mean of the labels' posteriors, 0 to 1."""
        return math.exp(-self.ctc)


class ErrorSigns(NamedTuple):
    """Signs that a word is wrong, each the larger the likelier; means over the word's labels.

    `ctc` and `attention` are minus the log probability that CTC's alignment, and the decoder, give its labels, in nats.
    `distance_s` is the distance of the attention weights from the labels' places in the alignment, the mean over all
    heads, in seconds; `outside` is the share of the weights further than `NEAR_S` from them; `entropy` theirs, in nats.
    """

    text: str
    ctc: float
    attention: float
    distance_s: float
    outside: float
    entropy: float


class _AlignedText(NamedTuple):
    """A text aligned with its utterance: the words, each with the positions of its labels, and the labels' spans."""

    units: list[tuple[str, list[int]]]
    alignment: Alignment

    def ctc(self) -> Float64[Tensor, " labels"]:
        probabilities = torch.tensor([span.confidence for span in self.alignment.spans], dtype=torch.float64)
        return -probabilities.clamp(min=MIN_POSTERIOR).log()


@torch.inference_mode()
def ctc_confidence(
    bundle: Bundle, encoded_batch: EncodedBatch, texts: Sequence[str], *, unit: Unit = "word"
) -> list[list[CtcConfidence] | None]:
    """The CTC confidence of the words (or characters) of each text; None where CTC cannot align it, or it is empty.

    `texts` belong to the rows of `encoded_batch`. The model must have a CTC head, and labels that spell text.
    """
    aligned = _align_texts(bundle, encoded_batch, _labels(bundle, texts), unit)
    return [
        None
        if text is None
        else [CtcConfidence(word, float(text.ctc()[positions].mean())) for word, positions in text.units]
        for text in aligned
    ]


@torch.inference_mode()
def error_signs(
    bundle: Bundle, encoded_batch: EncodedBatch, texts: Sequence[str], *, unit: Unit = "word"
) -> list[list[ErrorSigns] | None]:
    """The same with all signs of an error. The model must have a CTC head and an attention decoder."""
    decoder, encoded = bundle.model.decoder, encoded_batch.encoded
    assert decoder is not None and encoded is not None
    labelings = _labels(bundle, texts)
    labels = torch.nn.utils.rnn.pad_sequence(labelings, batch_first=True).to(encoded.frames.device)
    weights = teacher_forced(decoder, encoded, labels, sos=bundle.tokenizer.sos)
    nats, frame_s = label_nats(decoder, encoded, labels), bundle.frame_s
    aligned = _align_texts(bundle, encoded_batch, labelings, unit)
    return [
        None if text is None else _all_signs(text, weights[row], nats[row], frame_s) for row, text in enumerate(aligned)
    ]


def _labels(bundle: Bundle, texts: Sequence[str]) -> list[Int[Tensor, " labels"]]:
    return [torch.tensor(bundle.tokenizer.encode(text), dtype=torch.long) for text in texts]


def _align_texts(
    bundle: Bundle, encoded_batch: EncodedBatch, labelings: Sequence[Tensor], unit: Unit
) -> list[_AlignedText | None]:
    """Align each labeling with its utterance by CTC, and find its words."""
    assert encoded_batch.log_probs is not None and encoded_batch.encoded is not None
    device, tokenizer = encoded_batch.log_probs.device, bundle.tokenizer
    labels = torch.nn.utils.rnn.pad_sequence(list(labelings), batch_first=True).to(device)
    lengths = torch.tensor([len(labeling) for labeling in labelings], device=device)
    alignments = ctc_align(
        encoded_batch.log_probs, encoded_batch.encoded.frames, labels, lengths, blank=tokenizer.blank
    )
    return [
        None
        if alignment is None or not len(labeling)
        else _AlignedText(units_of(tokenizer.pieces(labeling.tolist()), unit), alignment)
        for labeling, alignment in zip(labelings, alignments, strict=True)
    ]


def units_of(pieces: Sequence[str], unit: Unit) -> list[tuple[str, list[int]]]:
    """The words or characters that labels spell, as they are scored, each with the positions of its labels."""
    text = "".join(pieces)
    owners = [position for position, piece in enumerate(pieces) for _ in piece]  # of each character
    units, end = [], 0
    for unit_text in split(text, unit):
        positions = []
        for character in unit_text:  # spaces between units belong to none
            end = text.index(character, end) + 1
            positions.append(owners[end - 1])
        units.append((unit_text, list(dict.fromkeys(positions))))
    return units


def _all_signs(
    text: _AlignedText,
    weights: Float[Tensor, "layers heads rows time"],
    nats: Float[Tensor, " labels"],
    frame_s: float,
) -> list[ErrorSigns]:
    spans = text.alignment.spans
    mean = weights[:, :, : len(spans)].mean((0, 1)).cpu().double()  # over layers and heads: (L, T')
    middles = torch.tensor([(span.start + span.end) / 2 for span in spans], dtype=mean.dtype)
    distances = (torch.arange(mean.shape[1]) + 0.5 - middles[:, None]).abs() * frame_s
    signs = torch.stack(
        [
            text.ctc(),
            nats[: len(spans)].cpu().double(),
            (mean * distances).sum(1),
            (mean * (distances > NEAR_S)).sum(1),
            torch.special.entr(mean).sum(1),
        ]
    )
    return [ErrorSigns(word, *signs[:, positions].mean(1).tolist()) for word, positions in text.units]
