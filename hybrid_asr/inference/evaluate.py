"""One pass over a set: every utterance is read and encoded once, then goes through every decoder."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import held_bytes, measure_peak, release_unused
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.sampler import evaluation_batches
from hybrid_asr.decoding.decoder import Decoder
from hybrid_asr.decoding.hypothesis import Hypothesis, Nbest, UtteranceError
from hybrid_asr.decoding.settings import LONGEST_S
from hybrid_asr.inference.batching import Batching, split_on_failure
from hybrid_asr.inference.encode import EncodedBatch, encode_batch, read_ahead
from hybrid_asr.models.bundle import Bundle
from hybrid_asr.text.normalize import normalize
from hybrid_asr.text.tokenizer import Tokenizer

T = TypeVar("T")

NOTHING = Hypothesis(labels=(), score=0.0, parts={}, ended="cut")  # of audio too short for one encoder frame
SCORES_EQUAL = 1e-4  # nats: what rounding moves a score by


class Alternative(NamedTuple):
    """One text of an n-best."""

    text: str
    score: float
    parts: dict[str, float]


class Decoded(NamedTuple):
    """One utterance's outcome; `place` is its position in the manifest."""

    place: int
    id: str
    reference: str
    speaker: str | None
    text: str
    score: float
    parts: dict[str, float]
    ended: str
    audio_s: float
    nbest: tuple[Alternative, ...] = ()  # best first, the best included
    missed: bool | None = None  # whether twice the beam finds a better score; None where nobody looked


class Failed(NamedTuple):
    """An utterance that could not be decoded."""

    place: int
    id: str
    reason: str


class Evaluation(NamedTuple):
    """A set's outcomes in the manifest's order, and what they took.

    `decode_s` are the seconds that features, encoder and search took together, `encode_s` those without the search,
    which several decoders share. `peak` is the most memory that was held during the search, in bytes, model included.
    """

    items: list[Decoded]
    decode_s: float
    encode_s: float = 0.0
    failed: tuple[Failed, ...] = ()
    peak: int | None = None


@dataclasses.dataclass(frozen=True)
class Job:
    """A decoder of a pass. `wider` is the same search with twice the beam, which shows what the beam misses.

    Jobs that have one decoder in common run it once; each may `finish` an n-best in its own way.
    """

    decoder: Decoder
    wider: Decoder | None = None
    rank: Callable[[Hypothesis], float] = lambda hypothesis: hypothesis.score
    longest_s: float = math.inf  # seconds of audio that it takes
    finish: Callable[[Nbest], Nbest] = lambda nbest: nbest


@torch.inference_mode()
def decode_nbest(decoder: Decoder, encoded_batch: EncodedBatch) -> list[Nbest]:
    """The n-best of every utterance that was heard."""
    return [] if encoded_batch.encoded is None else decoder.decode(encoded_batch.encoded, encoded_batch.log_probs)


def evaluate_all(
    bundle: Bundle,
    jobs: Mapping[str, Job],
    manifest: Manifest,
    *,
    device: torch.device,
    batches: Iterable[list[int]] | None = None,
    room: Batching | None = None,
    bad: Callable[[Failed], None] = lambda failed: None,
) -> dict[str, Evaluation]:
    """Decode a set by all jobs in one pass; the next batch is read while one is decoded.

    The batches are those of `room`, or `batches`. A batch that does not fit into memory is cut in two, and again. An
    utterance that cannot be read or decoded is told to `bad` and stands in `failed`; the others go on.
    """
    assert not bundle.model.training, "dropout would act: call eval() first"
    work = _Pass(bundle, jobs, manifest, device, room, bad)
    if batches is None:
        assert room is not None, "batches, or a room to make them"
        batches = room.batches(manifest.durations)
    wanted = (part for batch in batches for part in _apart([one for one in batch if work.takes(one)], manifest))
    for indices, samples in read_ahead(manifest, wanted, bundle.frontend.rate, bad=work.unreadable):
        work.batch(indices, samples)
    return {name: tally.evaluation(work.encode_s) for name, tally in work.tallies.items()}


def _apart(batch: list[int], manifest: Manifest) -> Iterator[list[int]]:
    """What is heard in pieces goes alone: in its batch the others would be, too."""
    long = [index for index in batch if manifest.durations[index] > LONGEST_S]
    yield from ([index] for index in long)
    if len(long) < len(batch):
        yield [index for index in batch if index not in long]


@dataclasses.dataclass
class _Tally:
    """What one job has done so far."""

    job: Job
    items: list[Decoded] = dataclasses.field(default_factory=list)
    failed: list[Failed] = dataclasses.field(default_factory=list)
    search_s: float = 0.0
    peak: int | None = None
    largest_s: float = 0.0  # the largest batch so far

    def evaluation(self, encode_s: float) -> Evaluation:
        decode_s = self.search_s + encode_s
        return Evaluation(sorted(self.items), decode_s, encode_s, tuple(sorted(self.failed)), self.peak)


class _Pass:
    """One pass over a set."""

    def __init__(
        self,
        bundle: Bundle,
        jobs: Mapping[str, Job],
        manifest: Manifest,
        device: torch.device,
        room: Batching | None,
        bad: Callable[[Failed], None],
    ):
        self.bundle, self.manifest, self.device, self.room, self.bad = bundle, manifest, device, room, bad
        self.tallies = {name: _Tally(job) for name, job in jobs.items()}
        shared: dict[tuple[int, float], list[_Tally]] = {}
        for tally in self.tallies.values():
            shared.setdefault((id(tally.job.decoder), tally.job.longest_s), []).append(tally)
        self.groups = list(shared.values())  # of jobs with one decoder
        self.encode_s = 0.0
        self.largest_s = 0.0  # the largest batch so far, of those that are encoded

    def takes(self, index: int) -> bool:
        """Whether any job takes an utterance of this length; those that do not have failed."""
        seconds = float(self.manifest.durations[index])
        for tally in self.tallies.values():
            if seconds > tally.job.longest_s:
                self._failed(tally, index, too_long(seconds, tally.job.longest_s))
        return any(seconds <= tally.job.longest_s for tally in self.tallies.values())

    def unreadable(self, index: int, error: UserError) -> None:
        """An utterance that no job can have."""
        for tally in self.tallies.values():
            if self.manifest.durations[index] <= tally.job.longest_s:
                self._failed(tally, index, str(error))

    def _failed(self, tally: _Tally, index: int, reason: str) -> None:
        failed = Failed(index, self.manifest[index].id, reason)
        tally.failed.append(failed)
        self.bad(failed)

    def batch(self, indices: Sequence[int], samples: Sequence[np.ndarray]) -> None:
        """Encode a batch, in as many pieces as memory asks for, and give each to every job."""
        seconds = len(indices) * max(map(len, samples)) / self.bundle.frontend.rate
        measuring = self._is_larger(seconds, self.largest_s)
        self.largest_s = max(self.largest_s, seconds)
        before, peaks = held_bytes(self.device), []

        def encode(rows: list[int]) -> EncodedBatch:
            encoded_batch, took, peak = self._timed(
                lambda: encode_batch(self.bundle, [samples[row] for row in rows], self.device), measuring
            )
            self.encode_s += took
            peaks.append(peak)
            return encoded_batch

        for rows, encoded_batch in split_on_failure(
            range(len(indices)),
            encode,
            failed=lambda row, error: self.unreadable(indices[row], error),
            ran_out_with=lambda rows: self._too_much(rows, seconds / len(indices)),
        ):
            places = [indices[row] for row in rows]
            for group in self.groups:
                peaks.append(self._decode(group, places, encoded_batch))
        known = [peak for peak in peaks if peak is not None]
        if self.room is not None and measuring and known and before is not None:
            self.room.learn(len(indices), seconds, max(known) - before)

    def _decode(self, group: Sequence[_Tally], places: Sequence[int], encoded_batch: EncodedBatch) -> int | None:
        """Give the jobs of one decoder what was heard of the utterances at `places`."""
        lengths, job = self.manifest.durations[list(places)], group[0].job
        own = [row for row, place in enumerate(encoded_batch.places) if lengths[place] <= job.longest_s]
        longest = float(lengths.max())
        measuring = bool(own) and self._is_larger(len(own) * longest, group[0].largest_s)
        for tally in group:
            tally.largest_s = max(tally.largest_s, len(own) * longest)
        peaks: list[int | None] = [None]

        def decode(rows: list[int]) -> list[Nbest]:
            found, took, peak = self._timed(lambda: decode_nbest(job.decoder, encoded_batch.pick(rows)), measuring)
            peaks.append(peak)
            for tally in group:
                tally.search_s += took
            return found

        def failed(row: int, error: UserError) -> None:
            for tally in group:
                self._failed(tally, places[encoded_batch.places[row]], reason_alone(error))

        for rows, nbests in split_on_failure(
            own, decode, failed=failed, ran_out_with=lambda n: self._too_much(n, longest)
        ):
            for tally in group:
                found = [tally.job.finish(nbest) for nbest in nbests]
                missed = self._missed(tally.job, encoded_batch, rows, found)
                outcomes = zip((places[encoded_batch.places[row]] for row in rows), found, missed, strict=True)
                tally.items += [self._outcome(*outcome) for outcome in outcomes]
        heard_of = set(encoded_batch.places)
        unheard = [place for row, place in enumerate(places) if row not in heard_of]
        for tally in group:
            tally.items += [self._outcome(place, [NOTHING], None) for place in unheard]
            tally.peak = max((one for one in (tally.peak, *peaks) if one is not None), default=None)
        return group[0].peak

    def _is_larger(self, seconds: float, largest_s: float) -> bool:
        """Whether it is worth while to measure what a batch takes: one much like another tells nothing new."""
        return self.room is not None and seconds > 1.2 * largest_s

    def _missed(
        self, job: Job, encoded_batch: EncodedBatch, rows: list[int], nbests: Sequence[Nbest]
    ) -> list[bool | None]:
        """Whether twice the beam finds a better hypothesis; where that fails, nobody knows."""
        found: dict[int, bool | None] = dict.fromkeys(rows)
        best = {row: nbest[0] for row, nbest in zip(rows, nbests, strict=True)}
        if job.wider is None:
            return list(found.values())
        wider = job.wider
        for piece, wide in split_on_failure(
            rows, lambda piece: decode_nbest(wider, encoded_batch.pick(piece)), failed=lambda *_: None
        ):
            for row, nbest in zip(piece, wide, strict=True):
                gain = job.rank(nbest[0]) - job.rank(best[row])
                found[row] = _said(nbest[0]) != _said(best[row]) and gain > SCORES_EQUAL
        return list(found.values())

    def _outcome(self, place: int, nbest: Nbest, missed: bool | None) -> Decoded:
        utterance, best = self.manifest[place], nbest[0]
        tokenizer = self.bundle.tokenizer
        several = (
            [Alternative(text_of(one, tokenizer), one.score, dict(one.parts)) for one in nbest] if nbest[1:] else []
        )
        return Decoded(
            place=place,
            id=utterance.id,
            reference=normalize(utterance.text, self.bundle.text.rules),
            speaker=utterance.speaker,
            text=several[0].text if several else text_of(best, tokenizer),
            score=best.score,
            parts=dict(best.parts),
            ended=best.ended,
            audio_s=utterance.duration_s,
            nbest=tuple(several),
            missed=missed,
        )

    def _too_much(self, rows: int, each_s: float) -> None:
        if self.room is not None:
            self.room.note_out_of_memory(rows * each_s)

    def _timed(self, work: Callable[[], T], measuring: bool) -> tuple[T, float, int | None]:
        """Do some work; also its seconds and, where asked for, the most bytes that were held."""
        if measuring:
            release_unused()  # else what the work before has left would count, too
        began = time.perf_counter()
        found, peak = measure_peak(self.device, work) if measuring else (work(), None)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return found, time.perf_counter() - began, peak


def reason_alone(error: UserError) -> str:
    """Why an utterance that was alone in its batch could not be decoded."""
    return error.reason if isinstance(error, UtteranceError) else str(error)


def _said(hypothesis: Hypothesis) -> str | tuple[int, ...]:
    """What tells two hypotheses apart: words may be pronounced in several ways."""
    return hypothesis.labels if hypothesis.text is None else hypothesis.text


def text_of(hypothesis: Hypothesis, tokenizer: Tokenizer) -> str:
    """The words of a hypothesis: the decoder's own, else what its labels stand for."""
    return tokenizer.decode(hypothesis.labels) if hypothesis.text is None else hypothesis.text


def too_long(seconds: float, limit: float) -> str:
    """Why audio is refused by a search, and what to do."""
    return (
        f"lasts {seconds:.1f} s; a search takes at most {limit:g} s: cut it (start_s and duration_s in the manifest), "
        "or use the decoder ctc_greedy, which takes any length"
    )


def gather(mine: Evaluation) -> Evaluation:
    """Put the shares of all processes together, on each of them; alone, nothing changes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mine
    shares: list[Evaluation | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(shares, mine)
    items = sorted(item for share in shares if share is not None for item in share.items)
    return mine._replace(items=items, decode_s=max(share.decode_s for share in shares if share is not None))


def decode_best(decoder: Decoder, encoded_batch: EncodedBatch, count: int) -> list[Hypothesis]:
    """The best hypothesis of each of `count` waveforms; one too short to be heard has an empty one, marked as cut."""
    best = [NOTHING] * count
    for place, nbest in zip(encoded_batch.places, decode_nbest(decoder, encoded_batch), strict=True):
        best[place] = nbest[0]
    return best


def evaluate(
    bundle: Bundle,
    decoder: Decoder,
    manifest: Manifest,
    *,
    device: torch.device,
    batch_seconds: float,
    rank: int = 0,
    ranks: int = 1,
) -> Evaluation:
    """Decode a set, or this rank's share of it, by one decoder. Raises UserError that names the first bad utterance."""
    parts = evaluation_batches(manifest, batch_seconds, rank, ranks)
    batches = [[row.indices[0] for row in part.utterances] for part in parts if part.utterances[0].weight > 0]

    def bad(failed: Failed) -> None:
        raise UserError(f"{manifest.path}: utterance '{failed.id}': {failed.reason}")

    return evaluate_all(bundle, {"": Job(decoder)}, manifest, device=device, batches=batches, bad=bad)[""]
