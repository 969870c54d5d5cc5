"""Attention of a few utterances, measured: is there a head that follows the speech?

Axes: B utterances, N layers, H heads, L labels, R rows (the labels and the end), T encoder frames.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hybrid_asr.attention.alarms import PER_HEAD, Heads, listening
from hybrid_asr.attention.attention_line import AttentionLine
from hybrid_asr.attention.measures import Measures, measure
from hybrid_asr.attention.teacher_forcing import label_nats, teacher_forced
from hybrid_asr.common.masks import valid_mask
from hybrid_asr.data.manifest import Manifest, Utterance
from hybrid_asr.decoding.ctc_align import Alignment, LabelSpan, ctc_align
from hybrid_asr.inference.batching import DIAGNOSED_UTTERANCES, OrderedBatching
from hybrid_asr.inference.evaluate import EvaluatedBatch, evaluate, refuse_failures
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.models.encoded import Encoded

LONGEST_S = 20.0  # of the utterances that are measured
SHUFFLES = 2  # of the frames, to tell a decoder that uses the audio from one whose attention only moves on


class KeptWeights(NamedTuple):
    """The weights in one utterance, on the host; `spans` is its CTC alignment, empty where there is none."""

    id: str
    seconds: float
    frame_s: float  # from one encoder frame to the next
    pieces: list[str]  # the labels' texts
    spans: tuple[LabelSpan, ...]
    weights: Float[np.ndarray, "layers heads rows time"]


class Diagnosis(NamedTuple):
    """Measures of some utterances; `kept_weights` are of those whose weights were to be kept, from short to long.

    `nats` are what a label costs the decoder, the mean over an utterance's, and `nats_shuffled` the same with its
    frames in random order.
    """

    ids: list[str]
    measures: Measures
    nats: Float[Tensor, " batch"]
    nats_shuffled: Float[Tensor, " batch"]
    kept_weights: list[KeptWeights]

    def heads(self) -> Heads:
        """The measures that the alarm checks."""
        return Heads(**{name: self.mean(name) for name in PER_HEAD}, listening=self.listening)

    @property
    def listening(self) -> float:
        """How much of the text the decoder takes from the frames' order: 0 nothing, 1 all."""
        return listening(float(self.nats.mean()), float(self.nats_shuffled.mean()))

    def mean(self, name: str) -> Float[np.ndarray, "layers heads"]:
        """The mean over the utterances that have a number, NaN where none has."""
        return getattr(self.measures, name).nanmean(0).cpu().numpy()

    def row(self) -> dict[str, float]:
        """The means of the leading head, for metrics.csv; NaN is left out."""
        leading = self.heads().leading()
        means = {name: float(self.mean(name)[leading]) for name in Measures._fields} | {"listening": self.listening}
        return {f"attention.{name}": value for name, value in means.items() if not np.isnan(value)}

    def lines(self, epoch: int) -> list[AttentionLine]:
        """A line for each utterance with all layers and heads, for attention.jsonl."""
        tables = {name: value.cpu().double().numpy() for name, value in self.measures._asdict().items()}
        costs = zip(self.nats.tolist(), self.nats_shuffled.tolist(), strict=True)
        return [
            AttentionLine(
                epoch,
                name,
                {"nats": nats, "nats_shuffled": shuffled},
                {measure: values[index] for measure, values in tables.items()},
            )
            for index, (name, (nats, shuffled)) in enumerate(zip(self.ids, costs, strict=True))
        ]


def choose_utterances(manifest: Manifest, count: int) -> list[int]:
    """Utterances to measure, evenly from the shortest to the longest of at most 20 s; always the same."""
    return sorted(spread_by_length(manifest, np.flatnonzero(manifest.durations <= LONGEST_S), count))


def spread_by_length(manifest: Manifest, indices: Sequence[int] | Int[np.ndarray, " indices"], count: int) -> list[int]:
    """At most `count` of the utterances at `indices`, evenly from the shortest to the longest."""
    order = np.array(indices, dtype=int)
    order = order[np.argsort(manifest.durations[order], kind="stable")]
    if not len(order):
        return []
    return order[np.unique(np.linspace(0, len(order) - 1, count).round().astype(int))].tolist()


@torch.inference_mode()
def diagnose(
    bundle: Bundle, manifest: Manifest, indices: Sequence[int], device: torch.device, *, keep: Sequence[int] = ()
) -> Diagnosis | None:
    """Measure the decoder's attention, teacher-forced on the transcripts of utterances, and keep the weights of some.

    Utterances without a word are passed over. None where there is no decoder, or no utterance that gives an encoder
    frame. Raises UserError on unreadable audio.
    """
    parts: list[Diagnosis] = []
    indices = [index for index in indices if _labels(bundle, manifest[index])]
    batching = OrderedBatching(indices, seconds=math.inf, most_utterances=DIAGNOSED_UTTERANCES)
    batches = evaluate(bundle, manifest, {}, batching=batching, device=device)
    for batch in refuse_failures(batches, manifest):
        part = _diagnose_batch(bundle, manifest, batch, keep)
        if part is not None:
            parts.append(part)
    if not parts:
        return None
    ids = [name for part in parts for name in part.ids]
    measures = Measures(*(torch.cat(values) for values in zip(*(part.measures for part in parts), strict=True)))
    return Diagnosis(
        ids,
        measures,
        torch.cat([part.nats for part in parts]),
        torch.cat([part.nats_shuffled for part in parts]),
        sorted((kept for part in parts for kept in part.kept_weights), key=lambda kept: kept.seconds),
    )


def _diagnose_batch(bundle: Bundle, manifest: Manifest, batch: EvaluatedBatch, keep: Sequence[int]) -> Diagnosis | None:
    encoded_batch, decoder = batch.encoded_batch, bundle.model.decoder
    if decoder is None or encoded_batch.encoded is None:
        return None
    device = encoded_batch.encoded.states.device
    utterances = [manifest[batch.indices[index]] for index in encoded_batch.indices]
    texts = [torch.tensor(_labels(bundle, utterance)) for utterance in utterances]
    labels = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True).to(device)
    sizes, frames = torch.tensor([len(text) for text in texts], device=device), encoded_batch.encoded.frames
    aligned: list[Alignment | None] = [None] * len(texts)
    if encoded_batch.log_probs is not None:
        aligned = ctc_align(encoded_batch.log_probs, frames, labels, sizes, blank=bundle.tokenizer.blank)
    states = [encoded_batch.encoded, *(shuffled_frames(encoded_batch.encoded, seed) for seed in range(SHUFFLES))]
    weights, *others = (teacher_forced(decoder, encoded, labels, sos=bundle.tokenizer.sos) for encoded in states)
    middles = ctc_middles(aligned, labels)
    measures = measure(weights, sizes + 1, frames, label_middles=middles, frame_s=bundle.frame_s, shuffled=others)

    def cost(encoded: Encoded) -> Float[Tensor, " batch"]:
        nats = label_nats(decoder, encoded, labels).double()
        return (nats * valid_mask(sizes, labels.shape[1])).sum(1) / sizes

    nats, *shuffled = (cost(encoded).cpu() for encoded in states)
    kept_weights = [
        KeptWeights(
            id=utterances[row].id,
            seconds=batch.seconds[index],
            frame_s=bundle.frame_s,
            pieces=bundle.tokenizer.pieces(texts[row].tolist()),
            spans=() if (alignment := aligned[row]) is None else alignment.spans,
            weights=weights[row, :, :, : len(texts[row]) + 1, : int(frames[row])].float().cpu().numpy(),
        )
        for row, index in enumerate(encoded_batch.indices)
        if batch.indices[index] in keep
    ]
    ids = [item.id for item in utterances]
    return Diagnosis(ids, measures, nats, torch.stack(shuffled).mean(0), kept_weights)


def _labels(bundle: Bundle, utterance: Utterance) -> list[int]:
    return bundle.tokenizer.encode(bundle.text.spell(utterance.text, utterance.language))


def shuffled_frames(encoded: Encoded, seed: int) -> Encoded:
    """The real frames of each utterance in random order, the same in every batch; padding stays."""
    order = torch.arange(encoded.states.shape[1]).repeat(len(encoded.states), 1)
    for row, frames in zip(order, encoded.frames.tolist(), strict=True):
        row[:frames] = torch.randperm(frames, generator=torch.Generator().manual_seed(seed))
    return encoded._replace(states=encoded.states.take_along_dim(order[..., None].to(encoded.states.device), 1))


def ctc_middles(
    aligned: Sequence[Alignment | None], labels: Int[Tensor, "batch labels"]
) -> Float[Tensor, "batch labels"]:
    """The middle of each label in the CTC alignment, in encoder frames; NaN where there is none."""
    middles = torch.full(labels.shape, torch.nan, device=labels.device)
    for row, alignment in enumerate(aligned):
        if alignment is not None:
            spans = [(span.start + span.end) / 2 for span in alignment.spans]
            middles[row, : len(spans)] = torch.tensor(spans, device=labels.device)
    return middles
