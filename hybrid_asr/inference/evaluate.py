"""The one way from audio to hypotheses: audio is read ahead, encoded once, and decoded by any number of decoders.

`evaluate` is the loop of decoding, validation, transcription, sweeps and the measures of attention. Which utterances go
together is decided by a `Batching`; `evaluate_set` collects the outcomes of a set.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import held_bytes
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.decoding.settings import LONGEST_S
from hybrid_asr.inference.batching import Batching
from hybrid_asr.inference.encode import EncodedBatch, encode_batch
from hybrid_asr.inference.out_of_memory import split_on_failure
from hybrid_asr.inference.outcomes import Decoded, Evaluation, FailedUtterance, decoded_utterance
from hybrid_asr.inference.search import shared_searches, timed, worth_measuring
from hybrid_asr.inference.short import expected_labels, is_short
from hybrid_asr.inference.source import AudioBatch, AudioSource, read_ahead
from hybrid_asr.inference.task import DecodingFailure, DecodingTask, SearchResult, too_long
from hybrid_asr.models.bundle import Bundle


class EvaluatedBatch(NamedTuple):
    """What was made of a batch, or of a piece of it where memory did not suffice for all.

    `indices` are positions in the source, `seconds` the lengths of the audio that was read; `encoded_batch.indices`
    are positions in these two. `results` has each task's hypotheses, `failures` what was read or decoded since the
    batch before and has none. `encode_s` are the seconds that features and encoder took.
    """

    indices: list[int]
    seconds: list[float]
    encoded_batch: EncodedBatch
    results: dict[str, SearchResult]
    failures: list[DecodingFailure]
    encode_s: float = 0.0


def evaluate(
    bundle: Bundle,
    source: AudioSource,
    tasks: Mapping[str, DecodingTask],
    *,
    batching: Batching,
    device: torch.device,
) -> Iterator[EvaluatedBatch]:
    """Encode each utterance once and decode it by all `tasks`, of which there may be none; one batch after the other.

    The next batch is read while one is decoded. A batch that does not fit into memory is cut in two, and again. An
    utterance that cannot be read, encoded or decoded is a failure, the others go on.
    """
    assert not bundle.model.training, "dropout would act: call eval() first"
    work = _Pass(bundle, source, tasks, batching, device)
    for audio in read_ahead(source, work.batches(), bundle.frontend.rate):
        yield from work.evaluate(audio)
    if work.failures:
        yield EvaluatedBatch([], [], EncodedBatch([], None, None), {}, work.failures)


class _Pass:
    """What the batches of one pass share."""

    def __init__(
        self,
        bundle: Bundle,
        source: AudioSource,
        tasks: Mapping[str, DecodingTask],
        batching: Batching,
        device: torch.device,
    ):
        self.bundle, self.source, self.batching, self.device = bundle, source, batching, device
        self.searches = shared_searches(tasks, batching, device)
        self.failures: list[DecodingFailure] = []  # not yet handed on
        self.largest_s = 0.0  # the largest batch so far, of those that are encoded

    def batches(self) -> Iterator[list[int]]:
        """What is read together: utterances that any task accepts; those that are encoded in pieces alone."""
        for batch in self.batching.batches(self.source.durations):
            accepted = [index for index in batch if self._accepts(index)]
            long = [index for index in accepted if self.source.durations[index] > LONGEST_S]
            yield from ([index] for index in long)  # in their batch the others would be encoded in pieces, too
            if len(long) < len(accepted):
                yield [index for index in accepted if index not in long]

    def _accepts(self, index: int) -> bool:
        """Whether any task accepts an utterance of this length; for the others it is a failure."""
        seconds = float(self.source.durations[index])
        for search in self.searches:
            if seconds > search.longest_s:
                refusal = UserError(too_long(seconds, search.longest_s))
                self.failures.append(DecodingFailure(index, refusal, search.names))
        return not self.searches or any(seconds <= search.longest_s for search in self.searches)

    def _failed(self, index: int, error: UserError) -> None:
        """Note an utterance that could not be read or encoded: no task that accepts it has a result."""
        seconds = self.source.durations[index]
        names = [name for search in self.searches if seconds <= search.longest_s for name in search.names]
        self.failures.append(DecodingFailure(index, error, tuple(names)))

    def evaluate(self, audio: AudioBatch) -> Iterator[EvaluatedBatch]:
        """Encode a batch, in as many pieces as memory asks for, and let every search decode each."""
        for index, error in audio.unreadable.items():
            self._failed(index, error)
        if not audio.indices:
            return
        indices, seconds = audio.indices, [len(samples) / self.bundle.frontend.rate for samples in audio.samples]
        padded_s = len(indices) * max(seconds)
        measure = worth_measuring(self.batching, padded_s, self.largest_s)
        self.largest_s = max(self.largest_s, padded_s)
        before = held_bytes(self.device)
        peaks: list[int | None] = []

        def encode(rows: list[int]) -> tuple[EncodedBatch, float]:
            encoded_batch, took, peak = timed(
                self.device,
                lambda: encode_batch(self.bundle, [audio.samples[row] for row in rows], self.device),
                measure_memory=measure,
            )
            peaks.append(peak)
            return encoded_batch, took

        for rows, (encoded_batch, encode_s) in split_on_failure(
            range(len(indices)),
            encode,
            failed=lambda row, error: self._failed(indices[row], error),
            ran_out_with=lambda count: self.batching.note_out_of_memory(count * padded_s / len(indices)),
        ):
            piece = [indices[row] for row in rows]
            results = self._decode(piece, encoded_batch)
            peaks += [search.peak for search in self.searches]
            failures, self.failures = self.failures, []
            yield EvaluatedBatch(piece, [seconds[row] for row in rows], encoded_batch, results, failures, encode_s)
            del encoded_batch, results  # their memory is free while the next piece is encoded
        known = [peak for peak in peaks if peak is not None]
        if measure and known and before is not None:
            self.batching.learn(len(indices), padded_s, max(known) - before)

    def _decode(self, indices: Sequence[int], encoded_batch: EncodedBatch) -> dict[str, SearchResult]:
        results: dict[str, SearchResult] = {}
        for search in self.searches:
            task_results, failures = search.run(indices, self.source.durations[list(indices)], encoded_batch)
            results |= task_results
            self.failures += failures
        return results


def evaluate_set(
    bundle: Bundle,
    manifest: Manifest,
    tasks: Mapping[str, DecodingTask],
    *,
    batching: Batching,
    device: torch.device,
    failures: Literal["collect", "raise"] = "collect",
) -> dict[str, Evaluation]:
    """Decode a set, or those utterances of it that `batching` gives, by all tasks in one pass.

    Failures are named in the outcome, or the first one raises UserError.
    """
    outcomes = {name: _Outcomes() for name in tasks}
    encode_s = 0.0
    batches = evaluate(bundle, manifest, tasks, batching=batching, device=device)
    for batch in batches if failures == "collect" else refuse_failures(batches, manifest):
        encode_s += batch.encode_s
        for failure in batch.failures:
            failed = FailedUtterance(manifest[failure.index].id, failure.reason)
            for name in failure.tasks:
                outcomes[name].failed.append((failure.index, failed))
        expected = expected_labels(bundle, batch.encoded_batch, batch.seconds)
        labels = {batch.indices[position]: count for position, count in expected.items()}
        for name, result in batch.results.items():
            outcomes[name].add(bundle, manifest, result, labels)
        del batch  # its memory is free while the next one is encoded
    return {name: outcome.evaluation(encode_s) for name, outcome in outcomes.items()}


class _Outcomes:
    """The outcomes of one task so far."""

    def __init__(self) -> None:
        self.items: list[Decoded] = []
        self.failed: list[tuple[int, FailedUtterance]] = []  # with their positions in the manifest
        self.search_s = 0.0
        self.peak: int | None = None

    def add(self, bundle: Bundle, manifest: Manifest, result: SearchResult, expected: Mapping[int, float]) -> None:
        """Add those of a batch; `expected` has the labels that an utterance should have at least."""
        self.search_s += result.seconds
        self.peak = result.peak
        self.items += [
            decoded_utterance(
                bundle,
                index,
                manifest[index],
                nbest,
                missed=result.missed.get(index),
                short=is_short(nbest[0], expected.get(index)),
            )
            for index, nbest in result.nbests.items()
        ]

    def evaluation(self, encode_s: float) -> Evaluation:
        """All of them, in the manifest's order; `encode_s` is what all tasks share."""
        failed = tuple(utterance for _, utterance in sorted(self.failed))
        return Evaluation(sorted(self.items), self.search_s + encode_s, encode_s, failed, self.peak)


def refuse_failures(batches: Iterator[EvaluatedBatch], manifest: Manifest) -> Iterator[EvaluatedBatch]:
    """The same batches; raises UserError that names the first utterance that could not be read or decoded."""
    for batch in batches:
        for failure in batch.failures:
            name = manifest[failure.index].id
            raise UserError(f"{manifest.path}: utterance '{name}': {failure.reason}") from failure.error
        yield batch
        del batch
