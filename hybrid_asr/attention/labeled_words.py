"""The words of a decoding with their confidence, and which of them are wrong."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.inference.batching import ATTENTION_S, OrderedBatching
from hybrid_asr.inference.evaluate import evaluate, refuse_failures
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.scoring.align import Step, Unit, align
from hybrid_asr.scoring.scores import Scored, UtteranceScore

D = TypeVar("D")  # of a word: CtcConfidence or ErrorSigns


@dataclass(frozen=True)
class LabeledWords(Generic[D]):
    """An utterance's alignment with its reference, and the confidence of each unit of the hypothesis, in order.

    `error_signs` is None where CTC cannot align the hypothesis, or the audio is too short for a frame.
    """

    id: str
    steps: list[Step]
    error_signs: list[D] | None

    @property
    def wrong(self) -> list[bool]:
        """Whether each unit of the hypothesis is an error; deletions are not in the hypothesis."""
        return [step.kind != "equal" for step in self.steps if step.hypothesis]


def label_words(
    bundle: Bundle,
    manifest: Manifest,
    rows: Sequence[Scored | UtteranceScore],
    score_words: Callable[..., list[list[D] | None]],
    *,
    unit: Unit = "word",
    bad: Callable[[int, UserError], None] | None = None,
) -> Iterator[LabeledWords[D]]:
    """Apply `score_words` (`ctc_confidence` or `error_signs`) to the utterances that have a text, the shortest first.

    `bad` gets the index in the manifest and the error of an utterance that cannot be read, which is left out; without
    `bad` it raises UserError, as does an utterance that is not in the manifest.
    """
    index_by_id = {utterance.id: index for index, utterance in enumerate(manifest)}
    for row in rows:
        if row.id not in index_by_id:
            raise UserError(f"{manifest.path}: has no utterance '{row.id}' any more; decode the set again")
    written = {index_by_id[row.id]: row for row in rows if row.hypothesis}
    shortest_first = sorted(written, key=lambda index: (manifest.durations[index], index))
    batching = OrderedBatching(shortest_first, ATTENTION_S)
    batches = evaluate(bundle, manifest, {}, batching=batching, device=next(bundle.model.parameters()).device)
    for batch in refuse_failures(batches, manifest) if bad is None else batches:
        for failure in batch.failures:
            assert bad is not None
            bad(failure.index, failure.error)
        encoded_rows = [written[batch.indices[index]] for index in batch.encoded_batch.indices]
        texts = [row.hypothesis for row in encoded_rows]
        signs = score_words(bundle, batch.encoded_batch, texts, unit=unit) if texts else []
        signs_by_id = {row.id: words for row, words in zip(encoded_rows, signs, strict=True)}
        for row in (written[index] for index in batch.indices):
            yield _label(row, signs_by_id.get(row.id), unit)


def _label(row: Scored | UtteranceScore, error_signs: list[D] | None, unit: Unit) -> LabeledWords[D]:
    """Align an utterance; without signs where its labels spell another number of units than are scored."""
    steps = align(row.reference, row.hypothesis, unit)
    if error_signs is not None and len(error_signs) != sum(1 for step in steps if step.hypothesis):
        error_signs = None
    return LabeledWords(row.id, steps, error_signs)


def choose_evenly(manifest: Manifest, ids: Sequence[str], *, most: int, longest_s: float, seconds: float) -> list[str]:
    """Some of the utterances `ids`, evenly over the manifest and always the same.

    At most `most` of them, none longer than `longest_s`, and about `seconds` of audio together.
    """
    wanted = set(ids)
    known = [row for row, item in enumerate(manifest) if item.id in wanted and item.duration_s <= longest_s]
    if not known:
        return []
    mean = float(np.mean(manifest.durations[known]))
    count = max(1, min(most, len(known), int(seconds / max(mean, 1e-3))))
    chosen = np.linspace(0, len(known) - 1, count).round().astype(int)
    return [manifest[known[index]].id for index in chosen]
