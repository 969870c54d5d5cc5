"""Attention of a few utterances, measured: is there a head that follows the speech?  Axes: B utterances, L labels."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hybrid_asr.attention.alarms import Heads
from hybrid_asr.attention.forced import teacher_forced
from hybrid_asr.attention.measures import Measures, measure
from hybrid_asr.audio import io
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.align import ctc_align
from hybrid_asr.encoding import hear
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.normalise import normalise

LONGEST_S = 20.0  # of the utterances that are looked at
TOGETHER = 8  # of them


class Diagnosis(NamedTuple):
    """Measures of some utterances; `leading` is the layer and the head, from 0, that follow the speech best."""

    ids: list[str]
    measures: Measures

    def heads(self) -> Heads:
        """What the alarm looks at."""
        return Heads(*(self.mean(name) for name in Heads._fields))

    def mean(self, name: str) -> Float[np.ndarray, "layers heads"]:
        """The mean over the utterances that have a number, NaN where none has."""
        return getattr(self.measures, name).nanmean(0).cpu().numpy()

    def row(self) -> dict[str, float]:
        """The means of the leading head, for metrics.csv; what nobody can tell is left out."""
        place = self.heads().leading()
        found = {f"attention.{name}": float(self.mean(name)[place]) for name in Measures._fields}
        return {name: value for name, value in found.items() if not np.isnan(value)}

    def lines(self) -> list[dict[str, Any]]:
        """A line for each utterance with all layers and heads, for attention.jsonl."""
        rounded = {name: value.cpu().numpy().round(4) for name, value in self.measures._asdict().items()}
        return [
            {"id": name} | {key: _plain(values[place]) for key, values in rounded.items()}
            for place, name in enumerate(self.ids)
        ]


def _plain(values: Float[np.ndarray, "layers heads"]) -> list[list[float | None]]:
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


def choose(manifest: Manifest, count: int) -> list[int]:
    """Utterances to look at, evenly from the shortest to the longest of at most 20 s; always the same."""
    order = np.argsort(manifest.durations, kind="stable")
    order = order[manifest.durations[order] <= LONGEST_S]
    if not len(order):
        return []
    return sorted({int(order[place]) for place in np.linspace(0, len(order) - 1, count).round().astype(int)})


@torch.inference_mode()
def diagnose(bundle: Bundle, manifest: Manifest, places: Sequence[int], device: torch.device) -> Diagnosis | None:
    """Measure the decoder's attention while it writes the transcripts of utterances.

    None where there is no decoder, or no utterance that gives an encoder frame. Raises UserError on unreadable audio.
    """
    found: list[Diagnosis] = []
    for first in range(0, len(places), TOGETHER):
        part = _diagnose_batch(bundle, manifest, places[first : first + TOGETHER], device)
        if part is not None:
            found.append(part)
    if not found:
        return None
    ids = [name for part in found for name in part.ids]
    return Diagnosis(ids, Measures(*(torch.cat(parts) for parts in zip(*(one.measures for one in found), strict=True))))


def _diagnose_batch(
    bundle: Bundle, manifest: Manifest, places: Sequence[int], device: torch.device
) -> Diagnosis | None:
    heard = hear(bundle, [_read(bundle, manifest, place) for place in places], device)
    if bundle.model.decoder is None or heard.encoded is None:
        return None
    utterances = [manifest[places[row]] for row in heard.places]
    texts = [torch.tensor(bundle.tokenizer.encode(normalise(one.text, bundle.text.rules))) for one in utterances]
    labels = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True).to(device)
    sizes = torch.tensor([len(text) for text in texts], device=device)
    middles = None
    if heard.posteriors is not None:
        middles = ctc_places(heard.posteriors, heard.encoded.frames, labels, sizes, blank=bundle.tokenizer.blank)
    weights = teacher_forced(bundle.model.decoder, heard.encoded, labels, sos=bundle.tokenizer.sos)
    frame_s = bundle.frontend.seconds_per_frame * bundle.model.encoder.stride
    measures = measure(weights, sizes + 1, heard.encoded.frames, places=middles, frame_s=frame_s)
    return Diagnosis([one.id for one in utterances], measures)


def _read(bundle: Bundle, manifest: Manifest, place: int) -> np.ndarray:
    utterance = manifest[place]
    path, rate = manifest.audio_path(place), bundle.frontend.rate
    return io.read(path, start_s=utterance.start_s, duration_s=utterance.duration_s, rate=rate)


def ctc_places(
    posteriors: Float[Tensor, "batch time units"],
    frames: Int[Tensor, " batch"],
    labels: Int[Tensor, "batch labels"],
    sizes: Int[Tensor, " batch"],
    *,
    blank: int,
) -> Float[Tensor, "batch labels"]:
    """The middle of each label in the CTC alignment, in encoder frames; NaN where there is none."""
    middles = torch.full(labels.shape, torch.nan, device=labels.device)
    for row, one in enumerate(ctc_align(posteriors, frames, labels, sizes, blank=blank)):
        if one is not None:
            spans = [(span.start + span.end) / 2 for span in one.spans]
            middles[row, : len(spans)] = torch.tensor(spans, device=labels.device)
    return middles
