"""What the model hears in one utterance: spectrogram, CTC posteriors and their alignment, attention of every head.

Axes: F bins, T' encoder frames, R rows (the labels and the end), H heads.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from hybrid_asr.attention.utterance_view import END, UtteranceView, bands_of, view_attention, view_utterance
from hybrid_asr.attention.weights import (
    AttentionKind,
    attention_kinds,
    over_frequency,
    over_time,
    self_attention_modules,
)
from hybrid_asr.decoding.ctc_align import Alignment
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.kit import pack, quantize_range, quantize_root
from hybrid_asr.scoring.scores import Metric, UtteranceScore

SHOWN = 4  # utterances
LONGEST_S = 20.0  # a longer one would be too fine to see, and too large for the page
MOST_WEIGHTS = 20_000_000  # of one utterance: more are neither computed nor shown
HEADS = 4  # of a layer, as a guess before anything is computed
BUDGET = 4_000_000  # characters of attention on a page, so that it stays small whatever the model


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


def picture(bundle: Bundle, samples: np.ndarray, text: str, *, budget: int = BUDGET) -> dict[str, Any]:
    """Everything that is drawn of an utterance, for the page's script; what the model lacks is None, or an empty list.

    Attention that takes more than `budget` characters is left out, layer by layer, and a note says so. Raises UserError
    for audio that is too short to be heard.
    """
    one = view_utterance(bundle, samples, bundle.tokenizer.encode(text))
    shown, notes = _attentions(bundle, one, budget)
    found: dict[str, Any] = {
        "seconds": one.seconds,
        "frame_s": one.frame_s,
        "pieces": [*one.pieces, END],
        "spectrogram": spectrogram(one),
        "ctc": None,
        "spans": None,
        "attentions": shown,
        "notes": notes,
    }
    if one.spikes is not None:
        names, values = one.spikes
        found["ctc"] = {"names": names, "frames": values.shape[1], "values": pack(_bytes(values))}
        found["spans"] = None if one.alignment is None else spans(one.alignment)
        if one.alignment is None:
            notes.append("CTC cannot write this text in so few frames: no alignment.")
    return found


def _attentions(bundle: Bundle, one: UtteranceView, budget: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Each kind of attention with the layers that fit, and what must be said of the others."""
    found: list[dict[str, Any]] = []
    notes: list[str] = []
    for of in ("decoder", "labels", "encoder"):  # the most telling one goes first, while there is room
        if of not in attention_kinds(bundle.model):
            continue
        kinds, there = _kind(bundle, one, of)
        for kind in kinds:
            kept = []
            for layer in kind["layers"]:
                if len(layer["values"]) <= budget:
                    kept.append(layer)
                    budget -= len(layer["values"])
            if kept:
                found.append(kind | {"layers": sorted(kept, key=lambda layer: layer["number"])})
            if len(kept) < there:
                what = f"{NAMES[kind['of']]}: {there - len(kept)} of {there} layers are too large for the page"
                notes.append(f"{what}; hybrid-asr show attention draws them.")
    return found, notes


NAMES = {
    "decoder": "Decoder cross-attention",
    "labels": "Decoder self-attention",
    "encoder": "Encoder self-attention",
    "bands": "Encoder, bands of frequency",
}


def _kind(bundle: Bundle, one: UtteranceView, of: AttentionKind) -> tuple[list[dict[str, Any]], int]:
    """One kind of attention in bytes, the layers that matter most first, and how many layers the model has.

    Attention to patches comes twice: from time to time and from band to band.
    """
    bands = bands_of(bundle) if of == "encoder" else 1
    wanted = None if of == "decoder" else _affordable(len(self_attention_modules(bundle.model, of)), one, bands, of)
    if of == "decoder":
        step = view_attention(bundle, one._replace(labels=one.labels[:0]), of)
        if sum(values.numel() for values in step.layers.values()) * len(one.pieces) > MOST_WEIGHTS:
            return [], step.there
    weights = view_attention(bundle, one, of, wanted)
    layers = {number: weights.layers[number][0] for number in wanted or weights.layers}
    if of == "encoder":
        size = one.frames * bands
        square = {number: values[:, :size, :size] for number, values in layers.items()}
        time = {number: over_time(values, bands) for number, values in square.items()}
        kinds = [_packed("encoder", time)] if time else []
        if bands > 1 and square:
            kinds.append(_packed("bands", {number: over_frequency(one, bands) for number, one in square.items()}))
        return kinds, weights.there
    if of == "decoder":
        layers = {number: values[..., : one.frames] for number, values in layers.items()}
    return [_packed(of, layers)] if layers else [], weights.there


def _affordable(there: int, one: UtteranceView, bands: int, of: AttentionKind) -> list[int]:
    """The layers whose weights may be computed: the last, the first, then those between, as many as MOST_WEIGHTS."""
    size = one.frames * bands if of == "encoder" else len(one.pieces) + 1
    order = list(dict.fromkeys([there - 1, 0, *range(1, there - 1)]))
    return order[: MOST_WEIGHTS // (HEADS * size**2)]


def _packed(of: str, layers: dict[int, Tensor]) -> dict[str, Any]:
    """Layers of (H, rows, columns)."""
    heads, rows, columns = next(iter(layers.values())).shape
    packed = [{"number": number, "values": pack(quantize_root(one.numpy()))} for number, one in layers.items()]
    return {"of": of, "heads": heads, "rows": rows, "columns": columns, "layers": packed}


def spectrogram(one: UtteranceView) -> dict[str, Any]:
    """The features before their normalization, in bytes, a row a bin, the lowest bin first."""
    return {
        "frame_s": one.feature_s,
        "frames": one.raw.shape[0],
        "bins": one.raw.shape[1],
        "values": pack(quantize_range(one.raw.T)),
    }


def spans(alignment: Alignment) -> list[tuple[int, int, float]]:
    """Of each label its first encoder frame, the one after its last, and its mean posterior."""
    return [(span.start, span.end, round(span.confidence, 4)) for span in alignment.spans]


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
