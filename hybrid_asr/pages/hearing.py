"""What the model hears in one utterance: spectrogram, CTC posteriors and their alignment, attention of every head.

Axes: T feature frames, F bins, T' encoder frames, R rows (the labels and the end), L layers, H heads.

A frame is drawn from its first sample to that of the next one: encoder frame t begins at t × stride × shift, as in the
word times of `hybrid-asr transcribe`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hybrid_asr.attention.forced import teacher_forced
from hybrid_asr.audio.features import FrontEnd
from hybrid_asr.decoding.align import Alignment, ctc_align
from hybrid_asr.encoding import pad_audio
from hybrid_asr.errors import UserError
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded
from hybrid_asr.models.transformer_decoder import TransformerDecoder
from hybrid_asr.pages.kit import pack, quantise_range, quantise_root
from hybrid_asr.scoring.rows import Metric, UtteranceScore

SHOWN = 4  # utterances
LONGEST_S = 20.0  # a longer one would be too fine to see, and too large for the page
MOST_WEIGHTS = 20_000_000  # of one utterance: more are neither computed nor shown
BUDGET = 4_000_000  # characters of attention on a page, so that it stays small whatever the model
END = "⟨end⟩"


class Spikes(NamedTuple):
    """CTC posteriors over time: of each different label of the text, of blank, and of the best other label."""

    names: list[str]
    values: Float[np.ndarray, "names frames"]


def choose_utterances(rows: Sequence[UtteranceScore], seconds: dict[str, float], metric: Metric) -> list[str]:
    """The worst utterance, the middle one of those with errors, a typical and a long one without; always the same.

    `seconds` has the lengths of those that may be shown.
    """
    known = [row for row in rows if seconds.get(row.id, LONGEST_S + 1) <= LONGEST_S and row.hypothesis]
    wrong = sorted(
        (row for row in known if row.counts(metric).errors), key=lambda row: (-row.counts(metric).errors, row.id)
    )
    right = sorted((row for row in known if not row.counts(metric).errors), key=lambda row: (seconds[row.id], row.id))
    picked = [*wrong[:1], *wrong[len(wrong) // 2 :][:1], *right[len(right) // 2 :][:1], *right[-1:], *right, *wrong]
    return list(dict.fromkeys(row.id for row in picked))[:SHOWN]


@torch.inference_mode()
def picture(bundle: Bundle, samples: np.ndarray, text: str, *, budget: int = BUDGET) -> dict[str, Any]:
    """Everything that is drawn of an utterance, for the page's script; what the model lacks is None.

    Attention that takes more than `budget` characters is left out, and a note says so. Raises UserError for audio that
    is too short to be heard.
    """
    frontend, model, tokenizer = bundle.frontend, bundle.model, bundle.tokenizer
    if model.output_length(frontend.frames(len(samples))) == 0:
        raise UserError(f"{len(samples) / frontend.rate:.3f} s are too short for one frame of the encoder")
    audio, lengths = pad_audio([samples])
    raw = frontend.raw(audio, lengths).values[0]
    labels = torch.tensor(tokenizer.encode(text), dtype=torch.long)
    pieces = tokenizer.pieces(labels.tolist())
    found: dict[str, Any] = {
        "seconds": len(samples) / frontend.rate,
        "frame_s": frontend.seconds_per_frame * model.encoder.stride,
        "pieces": pieces,
        "spectrogram": spectrogram(frontend, raw.numpy()),
        "ctc": None,
        "spans": None,
        "attention": None,
        "notes": [],
    }
    encoded = model.encode(frontend(audio, lengths))
    if model.ctc is not None:
        log_probs = model.ctc(encoded)
        spikes = ctc_spikes(log_probs[0], labels, pieces, blank=tokenizer.blank)
        [alignment] = ctc_align(
            log_probs, encoded.frames, labels[None], torch.tensor([len(labels)]), blank=tokenizer.blank
        )
        found["ctc"] = {"names": spikes.names, "frames": len(spikes.values[0]), "values": pack(_bytes(spikes.values))}
        found["spans"] = None if alignment is None else spans(alignment)
        if alignment is None:
            found["notes"].append("CTC cannot write this text in so few frames: no alignment.")
    if model.decoder is not None:
        found["attention"] = _attention(model.decoder, encoded, labels, budget)
        if found["attention"] is None:
            found["notes"].append("The attention of this utterance is too large for the page.")
        else:
            found["pieces"] = [*pieces, END]
    return found


def _attention(decoder: TransformerDecoder, encoded: Encoded, labels: Tensor, budget: int) -> dict[str, Any] | None:
    """All heads of all layers in bytes; None where that is too much."""
    heads = sum(layer.cross_attention.heads for layer in decoder.layers)
    if heads * (len(labels) + 1) * int(encoded.frames[0]) > MOST_WEIGHTS:
        return None
    weights = teacher_forced(decoder, encoded, labels[None], sos=decoder.sos)[0].numpy()
    values = pack(quantise_root(weights))
    sizes = dict(zip(("layers", "heads", "rows", "frames"), weights.shape, strict=True))
    return sizes | {"values": values} if len(values) <= budget else None


def spectrogram(frontend: FrontEnd, raw: Float[np.ndarray, "frames bins"]) -> dict[str, Any]:
    """The features before their normalisation, in bytes, a row a bin, the lowest bin first."""
    return {
        "frame_s": frontend.seconds_per_frame,
        "frames": raw.shape[0],
        "bins": raw.shape[1],
        "values": pack(quantise_range(raw.T)),
    }


def ctc_spikes(
    log_probs: Float[Tensor, "frames units"], labels: Tensor, pieces: Sequence[str], *, blank: int
) -> Spikes:
    """The posteriors that matter for a text; the best other label shows what CTC would rather have written."""
    own = list(dict.fromkeys(zip(labels.tolist(), pieces, strict=True)))
    probs = log_probs.exp()
    others = torch.ones(probs.shape[1], dtype=torch.bool)
    others[[blank, *(label for label, _ in own)]] = False
    other = probs[:, others].amax(1) if others.any() else torch.zeros(len(probs))
    values = torch.stack([*(probs[:, label] for label, _ in own), probs[:, blank], other])
    return Spikes([*(piece for _, piece in own), "blank", "other"], values.numpy())


def spans(alignment: Alignment) -> list[tuple[int, int, float]]:
    """Of each label its first encoder frame, the one after its last, and its mean posterior."""
    return [(span.start, span.end, round(span.confidence, 4)) for span in alignment.spans]


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
