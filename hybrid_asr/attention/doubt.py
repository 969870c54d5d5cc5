"""Which words of a hypothesis may be wrong: what attention and CTC think of each, and whether they look alike.

Axes: B utterances, L labels, T' frames.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hybrid_asr.attention.forced import teacher_forced
from hybrid_asr.decoding.align import Alignment, ctc_align
from hybrid_asr.encoding import Heard
from hybrid_asr.models.bundle import Bundle

LEAST = 1e-6  # a posterior below that tells no more


class Doubt(NamedTuple):
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


NEAR_S = 0.2


@torch.inference_mode()
def doubts(bundle: Bundle, heard: Heard, texts: Sequence[str]) -> list[list[Doubt] | None]:
    """The words of each text with their signs of doubt; None where CTC cannot align it, or it is empty.

    `texts` belong to the rows of `heard`. The model must have both heads.
    """
    decoder, encoded = bundle.model.decoder, heard.encoded
    assert decoder is not None and heard.posteriors is not None and encoded is not None
    tokenizer = bundle.tokenizer
    written = [torch.tensor(tokenizer.encode(text), dtype=torch.long) for text in texts]
    labels = torch.nn.utils.rnn.pad_sequence(written, batch_first=True).to(encoded.frames.device)
    sizes = torch.tensor([len(one) for one in written], device=labels.device)
    aligned = ctc_align(heard.posteriors, encoded.frames, labels, sizes, blank=tokenizer.blank)
    weights = teacher_forced(decoder, encoded, labels, sos=tokenizer.sos)
    nats = -decoder(encoded, labels).log_softmax(-1)[:, :-1].gather(2, labels[..., None])[..., 0]
    frame_s = bundle.frontend.seconds_per_frame * bundle.model.encoder.stride
    return [
        None if one is None or not len(said) else _of_words(bundle, said, one, weights[row], nats[row], frame_s)
        for row, (said, one) in enumerate(zip(written, aligned, strict=True))
    ]


def _of_words(
    bundle: Bundle,
    said: Tensor,
    aligned: Alignment,
    weights: Float[Tensor, "layers heads rows time"],
    nats: Float[Tensor, " labels"],
    frame_s: float,
) -> list[Doubt]:
    looks = weights[:, :, : len(said)].mean((0, 1)).cpu().double()  # (L, T')
    middles = torch.tensor([(span.start + span.end) / 2 for span in aligned.spans], dtype=looks.dtype)
    away = (torch.arange(looks.shape[1]) + 0.5 - middles[:, None]).abs() * frame_s
    signs = torch.stack(
        [
            -torch.tensor([span.confidence for span in aligned.spans], dtype=looks.dtype).clamp(min=LEAST).log(),
            nats[: len(said)].cpu().double(),
            (looks * away).sum(1),
            (looks * (away > NEAR_S)).sum(1),
            torch.special.entr(looks).sum(1),
        ]
    )
    pieces, words = bundle.tokenizer.pieces(said.tolist()), list[tuple[str, list[int]]]()
    for place, piece in enumerate(pieces):
        if piece.startswith(" ") or not words:
            words.append(("", []))
        text, places = words[-1]
        if piece.strip():
            words[-1] = (text + piece.strip(), [*places, place])
    return [Doubt(text, *signs[:, places].mean(1).tolist()) for text, places in words if places]
