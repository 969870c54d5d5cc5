"""Manifests: one utterance a line of JSON, checked when read, then random access that keeps numbers only in memory.

    {"id": "fash-an251", "audio": "wav/an251.wav", "start_s": 0.0, "duration_s": 2.1, "text": "yes", "speaker": "fash"}

`audio` is relative to the manifest's folder, or absolute. `start_s` (0 when left out), `speaker`, `language` and
`channel` (1 is the first; the mean of all when left out) are optional. Where `audio` is a tar shard (shards.py),
`offset` and `bytes` say where in it the audio file lies, and `crc32` is its checksum.

A large manifest has an index beside it (manifest_index.py), which is memory-mapped: its numbers are shared by all
processes of a machine. What is computed from all its utterances is kept there, too (`Manifest.kept`).
"""

import hashlib
import json
import operator
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, SupportsIndex, TypeVar

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt64

from hybrid_asr.audio import io
from hybrid_asr.audio.embedded import AudioFile
from hybrid_asr.common.files import A_FOLDER, MISSING, did_you_mean, read_problem
from hybrid_asr.common.problems import Problems, examples
from hybrid_asr.data.kept_arrays import Columns, Store
from hybrid_asr.data.line_file import LineFile
from hybrid_asr.data.manifest_index import Audio, note_repeats, read_index
from hybrid_asr.data.manifest_lines import ManifestError, Transcript, Utterance, utterance_key, write_manifest
from hybrid_asr.data.parallel import map_in_processes
from hybrid_asr.data.shards import read_member

__all__ = ["Manifest", "ManifestError", "ManifestFile", "Utterance", "write_manifest"]

KEPT_PARTS = 50_000  # utterances from which on the arrays of a selection are kept on disk, to be shared
PIECE = 20_000  # utterances that a process works on at once
PARALLEL = 100_000  # utterances: processes take 1.5 s to start

T = TypeVar("T")
Item = TypeVar("Item")


class ManifestFile(NamedTuple):
    """One file of a manifest; `digest` is the SHA-256 of its bytes."""

    path: Path
    digest: str


class Manifest:
    """The utterances of one or several files on disk: `manifest[i]` reads a line again, in memory are only numbers.

    `durations` (seconds), `keys` (a hash of each id: what random draws depend on) and `lines` (1 is the first) have one
    entry an utterance; do not change them, since all processes may share them. `digest` is the SHA-256 of the file (of
    several: of their digests). `notes` says which headers of audio files are doubtful: the first few, and the number
    of all. It can be sent to another process: one with an index is sent as its path.
    """

    def __init__(
        self,
        files: Sequence[ManifestFile],
        columns: Columns,
        *,
        store: Store,
        identity: str = "",
        notes: tuple[str, ...] = (),
    ):
        self.files, self.notes = tuple(files), notes
        self._columns, self._store, self._identity = columns, store, identity
        self._open = [LineFile(file.path) for file in files]

    @classmethod
    def read(cls, path: Path | str, audio: Audio = "headers") -> "Manifest":
        """Read and check every line; with "headers" also that every audio file is there and reaches to the entry's end.

        Raises ManifestError, which names the bad lines.
        """
        path = Path(path)
        problem = read_problem(path)
        if problem:
            remedy = "write it with 'hybrid-asr prepare'"
            if problem == A_FOLDER and (there := sorted(path.glob("*.jsonl"))):
                remedy = f"name one of its manifests: {examples([str(file) for file in there])}"
            if problem == MISSING:
                problem, remedy = "there is no such manifest", remedy + did_you_mean(path, (".jsonl",))
            raise ManifestError(f"{path}: {problem}; {remedy}")
        index = read_index(path, audio)
        return cls([ManifestFile(path, index.digest)], index.columns, store=index.store, notes=index.notes)

    @classmethod
    def read_all(cls, paths: Sequence[Path | str], audio: Audio = "headers") -> "Manifest":
        """Several manifests, one after the other, as one, in which every id occurs once; one is as by `read`.

        Raises ManifestError.
        """
        return _joined([cls.read(path, audio) for path in paths])

    @property
    def path(self) -> Path:
        """The file, the first one of several."""
        return self.files[0].path

    @property
    def digest(self) -> str:
        """What decides the manifest: the SHA-256 of its file, of several that of their digests."""
        if len(self.files) == 1:
            return self.files[0].digest
        return hashlib.sha256("".join(file.digest for file in self.files).encode()).hexdigest()

    @property
    def durations(self) -> Float64[np.ndarray, " utterances"]:
        """Seconds of each utterance."""
        return self._columns["durations"]

    @property
    def keys(self) -> UInt64[np.ndarray, " utterances"]:
        """A hash of each utterance's id."""
        return self._columns["keys"]

    @property
    def lines(self) -> Int64[np.ndarray, " utterances"]:
        """The line of each utterance in its file, counted from 1."""
        return self._columns["lines"]

    def file_number(self, index: SupportsIndex) -> int:
        """Which of `files` utterance `index` is in."""
        return 0 if len(self.files) == 1 else int(self._columns["files"][operator.index(index)])

    def file_numbers(self) -> np.ndarray:
        """Which of `files` each utterance is in; it never falls, unless by `select`. One file needs no memory."""
        return np.broadcast_to(np.uint16(0), len(self)) if len(self.files) == 1 else self._columns["files"]

    def __len__(self) -> int:
        return len(self._columns["offsets"])

    def __getitem__(self, index: SupportsIndex) -> Utterance:
        index = operator.index(index)
        raw = self._open[self.file_number(index)].line(int(self._columns["offsets"][index]))
        return self._parsed(index, raw, _utterance)

    def __iter__(self) -> Iterator[Utterance]:
        for first in range(0, len(self), PIECE):
            yield from self.utterances(first, min(first + PIECE, len(self)))

    def utterances(self, first: int, stop: int) -> Iterator[Utterance]:
        """Those from number `first` to the one before `stop`, read one after the other."""
        return self._parsed_lines(first, stop, _utterance)

    def transcripts(self, first: int, stop: int) -> Iterator[Transcript]:
        """As `utterances`, but only what is said in them, which takes half the time."""
        return self._parsed_lines(first, stop, _transcript)

    def map(self, work: Callable[[int, Iterator[Utterance]], T], *, what: str) -> Iterator[T]:
        """The results of `work(first, utterances)` for pieces of the manifest, in order, by several processes if large.

        `first` is the number of a piece's first utterance; `work` must be a function of a module, or a partial of one;
        `what` is done is told on stderr.
        """
        return self._map(_Piece(self, Manifest.utterances, work), what)

    def map_transcripts(self, work: Callable[[int, Iterator[Transcript]], T], *, what: str) -> Iterator[T]:
        """As `map`, for work on transcripts alone."""
        return self._map(_Piece(self, Manifest.transcripts, work), what)

    def _map(self, work: Callable[[tuple[int, int]], T], what: str) -> Iterator[T]:
        pieces = [(first, min(first + PIECE, len(self))) for first in range(0, len(self), PIECE)]
        processes = None if len(self) >= PARALLEL else 1
        return map_in_processes(work, pieces, what=f"{self.path}: {what}", processes=processes)

    def kept(self, name: str, key: str, make: Callable[[], Columns]) -> Columns:
        """What `make` computes from the utterances, kept beside a large manifest under `name` and `key`.

        `key` must say all that decides the result but the manifest and the selection. Of several processes that ask
        at once one computes.
        """
        return self._store.get(name, _short_digest(self._identity, key), make)

    @property
    def keeps(self) -> bool:
        """Whether the manifest is so large that what is computed from it is kept beside it."""
        return bool(self._store.folders)

    def audio_path(self, index: SupportsIndex) -> Path:
        """Where the audio of utterance `index` lies, which is in no shard."""
        utterance = self[index]
        assert utterance.member is None, "what is in a shard has no path"
        return self.folder(index) / utterance.audio

    def folder(self, index: SupportsIndex) -> Path:
        """What a relative path of utterance `index` is relative to."""
        return self.files[self.file_number(index)].path.parent

    def audio_file(self, index: SupportsIndex, utterance: Utterance) -> AudioFile:
        """The audio file of utterance `index`, which was read before; in memory, if it is in a shard.

        Raises AudioError that names a shard that cannot be read.
        """
        folder = self.folder(index)
        return folder / utterance.audio if utterance.member is None else read_member(utterance.member, folder)

    def read_audio(
        self, index: SupportsIndex, rate: int, tell: Callable[[str], None] = io.warn
    ) -> Float32[np.ndarray, " samples"]:
        """The samples of utterance `index` at `rate` Hz, full scale 1. Raises AudioError that names its file.

        `tell` gets what is doubtful about them.
        """
        return self.read_audio_of(index, self[index], rate, tell)

    def read_audio_of(
        self, index: SupportsIndex, utterance: Utterance, rate: int, tell: Callable[[str], None] = io.warn
    ) -> Float32[np.ndarray, " samples"]:
        """As `read_audio`, of an utterance that was read before."""
        start, duration, channel = utterance.start_s, utterance.duration_s, utterance.channel
        file = self.audio_file(index, utterance)
        return io.read(file, start_s=start, duration_s=duration, rate=rate, channel=channel, tell=tell)

    def where(self, index: SupportsIndex) -> str:
        """File, line and id of utterance `index`, for messages."""
        path = self.files[self.file_number(index)].path
        return f"{path}:{self.lines[index]}: utterance '{self[index].id}'"

    def select(self, indices: np.ndarray) -> "Manifest":
        """The same manifest with only the utterances at `indices`, or where the mask `indices` is True."""
        mask = indices.dtype == np.bool_
        if mask and indices.all():
            return self
        count = int(np.count_nonzero(indices)) if mask else len(indices)

        def chosen() -> Columns:
            return Columns({name: array[indices] for name, array in self._columns.arrays.items()})

        digest = hashlib.sha256((np.packbits(indices) if mask else np.ascontiguousarray(indices)).data).hexdigest()
        identity = _short_digest(self._identity, digest)
        columns = chosen() if count < KEPT_PARTS else self._store.get("part", identity, chosen)
        return Manifest(self.files, columns, store=self._store, identity=identity, notes=self.notes)

    def _parsed_lines(self, first: int, stop: int, make: Callable[[dict[str, Any]], Item]) -> Iterator[Item]:
        with LineFile.reading(self._open) as readers:
            places = self._columns["offsets"][first:stop].tolist()
            for index, (number, place) in enumerate(zip(self.file_numbers()[first:stop], places, strict=True), first):
                yield self._parsed(index, readers[number].at(place), make)

    def _parsed(self, index: int, raw: bytes, make: Callable[[dict[str, Any]], Item]) -> Item:
        try:
            record = json.loads(raw.decode())
            made = make(record) if utterance_key(record["id"]) == self.keys[index] else None
        except (ValueError, TypeError, LookupError, AttributeError):
            made = None
        if made is None:
            path = self.files[self.file_number(index)].path
            raise ManifestError(f"{path}: the manifest was changed while it was in use; start the command again")
        return made


def _utterance(record: dict[str, Any]) -> Utterance:
    return Utterance(**record)


def _transcript(record: dict[str, Any]) -> Transcript:
    return Transcript(record["text"], record.get("language"), record.get("speaker"))


class _Piece(Generic[Item, T]):
    """The work on what is read from one number to another."""

    def __init__(
        self,
        manifest: Manifest,
        read: Callable[[Manifest, int, int], Iterator[Item]],
        work: Callable[[int, Iterator[Item]], T],
    ):
        self._manifest, self._read, self._work = manifest, read, work

    def __call__(self, numbers: tuple[int, int]) -> T:
        return self._work(numbers[0], self._read(self._manifest, *numbers))


def _joined(manifests: Sequence[Manifest]) -> Manifest:
    """Manifests as one. Raises ManifestError for ids that are in several."""
    if len(manifests) == 1:
        return manifests[0]
    files = [file for manifest in manifests for file in manifest.files]

    def make() -> Columns:
        columns = {
            name: np.concatenate([one._columns[name] for one in manifests]) for name in manifests[0]._columns.arrays
        }
        columns["files"] = np.repeat(np.arange(len(manifests), dtype=np.uint16), [len(one) for one in manifests])
        problems = Problems()
        note_repeats([file.path for file in files], columns, problems)
        problems.raise_any(ManifestError)
        return Columns(columns)

    store = next((one._store for one in manifests if one._store.folders), Store())
    identity = _short_digest(*(file.digest for file in files))
    columns = store.get("joined", identity, make)
    notes = tuple(note for one in manifests for note in one.notes)
    return Manifest(files, columns, store=store, identity=identity, notes=notes)


def _short_digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
