"""The data of the page's attention viewer: spectrogram, CTC posteriors and alignment, attention of every head.

templates/attention_viewer.js draws them.

Axes: F bins, T' encoder frames, R rows (the labels and the end), H heads.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from hybrid_asr.attention.capture import (
    AttentionKind,
    attention_kinds,
    bands_of,
    over_frequency,
    over_time,
    self_attention_modules,
)
from hybrid_asr.attention.utterance_view import END, UtteranceView, view_attention, view_utterance
from hybrid_asr.decoding.ctc_align import Alignment
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.pages.kit import pack, quantize_range, quantize_root
from hybrid_asr.scoring.scores import Metric, UtteranceScore

SHOWN = 4  # utterances
LONGEST_S = 20.0  # a longer one would be too fine to see, and too large for the page
MOST_WEIGHTS = 20_000_000  # of one utterance: layers beyond that are neither computed nor shown
HEADS = 4  # of a layer, as a guess before anything is computed
BUDGET = 4_000_000  # characters of attention on a page, so that it stays small whatever the model


def choose_utterances(rows: Sequence[UtteranceScore], seconds: dict[str, float], metric: Metric) -> list[str]:
    """The worst utterance, the median of those with errors, a typical and a long one without; always the same.

    `seconds` has the durations of those that may be shown.
    """
    known = [row for row in rows if seconds.get(row.id, LONGEST_S + 1) <= LONGEST_S and row.hypothesis]
    wrong = sorted(
        (row for row in known if row.counts(metric).errors), key=lambda row: (-row.counts(metric).errors, row.id)
    )
    right = sorted((row for row in known if not row.counts(metric).errors), key=lambda row: (seconds[row.id], row.id))
    picked = [*wrong[:1], *wrong[len(wrong) // 2 :][:1], *right[len(right) // 2 :][:1], *right[-1:], *right, *wrong]
    return list(dict.fromkeys(row.id for row in picked))[:SHOWN]


def picture(bundle: Bundle, samples: np.ndarray, text: str, *, budget: int = BUDGET) -> dict[str, Any]:
    """Everything that is drawn of an utterance, for the page's JSON; what the model lacks is None, or an empty list.

    Attention that takes more than `budget` characters is left out, layer by layer, and a note says so. Raises UserError
    for audio that gives no encoder frame.
    """
    view = view_utterance(bundle, samples, bundle.tokenizer.encode(text))
    shown, notes = _attentions(bundle, view, budget)
    drawn: dict[str, Any] = {
        "seconds": view.seconds,
        "frame_s": view.frame_s,
        "pieces": [*view.pieces, END],
        "spectrogram": spectrogram(view),
        "ctc": None,
        "spans": None,
        "attentions": shown,
        "notes": notes,
    }
    if view.spikes is not None:
        names, values = view.spikes
        drawn["ctc"] = {"names": names, "frames": values.shape[1], "values": pack(_bytes(values))}
        drawn["spans"] = None if view.alignment is None else spans(view.alignment)
        if view.alignment is None:
            notes.append("CTC cannot write this text in so few frames: no alignment.")
    return drawn


def _attentions(bundle: Bundle, view: UtteranceView, budget: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Each kind of attention with the layers that fit into `budget` characters, and notes on the others."""
    shown: list[dict[str, Any]] = []
    notes: list[str] = []
    for of in ("decoder", "labels", "encoder"):  # the most informative one takes from the budget first
        if of not in attention_kinds(bundle.model):
            continue
        kinds, layer_count = _kind(bundle, view, of)
        for kind in kinds:
            kept = []
            for layer in kind["layers"]:
                if len(layer["values"]) <= budget:
                    kept.append(layer)
                    budget -= len(layer["values"])
            if kept:
                shown.append(kind | {"layers": sorted(kept, key=lambda layer: layer["number"])})
            if len(kept) < layer_count:
                what = (
                    f"{NAMES[kind['of']]}: {layer_count - len(kept)} of {layer_count} layers are too large for the page"
                )
                notes.append(f"{what}; hybrid-asr show attention draws them.")
    return shown, notes


NAMES = {
    "decoder": "Decoder cross-attention",
    "labels": "Decoder self-attention",
    "encoder": "Encoder self-attention",
    "bands": "Encoder, bands of frequency",
}


def _kind(bundle: Bundle, view: UtteranceView, of: AttentionKind) -> tuple[list[dict[str, Any]], int]:
    """One kind of attention in bytes, the layers that matter most first, and how many layers the model has.

    Attention between patches is there twice: from time to time and from band to band.
    """
    bands = bands_of(bundle.model) if of == "encoder" else 1
    wanted = None if of == "decoder" else _affordable(len(self_attention_modules(bundle.model, of)), view, bands, of)
    if of == "decoder":
        step = view_attention(bundle, view._replace(labels=view.labels[:0]), of)
        if sum(values.numel() for values in step.layers.values()) * len(view.pieces) > MOST_WEIGHTS:
            return [], step.layer_count
    weights = view_attention(bundle, view, of, wanted)
    layers = {number: weights.layers[number][0] for number in wanted or weights.layers}
    if of == "encoder":
        size = view.frames * bands
        square = {number: values[:, :size, :size] for number, values in layers.items()}
        time = {number: over_time(values, bands) for number, values in square.items()}
        kinds = [_packed("encoder", time)] if time else []
        if bands > 1 and square:
            kinds.append(_packed("bands", {number: over_frequency(values, bands) for number, values in square.items()}))
        return kinds, weights.layer_count
    if of == "decoder":
        layers = {number: values[..., : view.frames] for number, values in layers.items()}
    return [_packed(of, layers)] if layers else [], weights.layer_count


def _affordable(layer_count: int, view: UtteranceView, bands: int, of: AttentionKind) -> list[int]:
    """The layers whose weights may be computed: the last, the first, then those between, as many as MOST_WEIGHTS."""
    size = view.frames * bands if of == "encoder" else len(view.pieces) + 1
    order = list(dict.fromkeys([layer_count - 1, 0, *range(1, layer_count - 1)]))
    return order[: MOST_WEIGHTS // (HEADS * size**2)]


def _packed(of: str, layers: dict[int, Tensor]) -> dict[str, Any]:
    """Layers of (H, rows, columns)."""
    heads, rows, columns = next(iter(layers.values())).shape
    packed = [{"number": number, "values": pack(quantize_root(values.numpy()))} for number, values in layers.items()]
    return {"of": of, "heads": heads, "rows": rows, "columns": columns, "layers": packed}


def spectrogram(view: UtteranceView) -> dict[str, Any]:
    """The features before their normalization, in bytes, a row a bin, the lowest bin first."""
    return {
        "frame_s": view.feature_s,
        "frames": view.raw.shape[0],
        "bins": view.raw.shape[1],
        "values": pack(quantize_range(view.raw.T)),
    }


def spans(alignment: Alignment) -> list[tuple[int, int, float]]:
    """Of each label its first encoder frame, the one after its last, and its mean posterior."""
    return [(span.start, span.end, round(span.confidence, 4)) for span in alignment.spans]


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8)
