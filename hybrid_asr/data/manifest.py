"""Manifests: one utterance a line of JSON, checked when read, then random access that keeps numbers only in memory.

    {"id": "fash-an251", "audio": "wav/an251.wav", "start_s": 0.0, "duration_s": 2.1, "text": "yes", "speaker": "fash"}

`audio` is relative to the manifest's folder, or absolute. `start_s` (0 when left out), `speaker`, `language` and
`channel` (1 is the first; the mean of all when left out) are optional.
"""

import hashlib
import json
import math
import operator
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, SupportsIndex

import numpy as np
from jaxtyping import Float32, Float64, UInt64

from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import A_FOLDER, MISSING, RepeatedKey, atomic_path, did_you_mean, read_problem, unique_keys
from hybrid_asr.common.problems import Problems, examples
from hybrid_asr.config.words import suggest
from hybrid_asr.data.audio_headers import AudioHeaders

_LONGEST = 1 << 24  # bytes of a line
_FIELDS = {"id": "text", "audio": "text", "start_s": "a number", "duration_s": "a number", "text": "text"}
_OPTIONAL = {"speaker": "text", "language": "text", "channel": "a whole number"}
_REQUIRED = ("id", "audio", "duration_s", "text")
_TYPES: dict[str, tuple[type, ...]] = {"text": (str,), "a number": (int, float), "a whole number": (int,)}


class ManifestError(UserError):
    """A manifest that cannot be used; the message names file, line and remedy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One transcribed piece of an audio file; times in seconds, `audio` as written in the manifest.

    `channel` is the one that is spoken on, counted from 1; None is the mean of all.
    """

    id: str
    audio: str
    start_s: float = 0.0
    duration_s: float
    text: str
    speaker: str | None = None
    language: str | None = None
    channel: int | None = None


def write_manifest(path: Path | str, utterances: Iterable[Utterance]) -> None:
    """Write `utterances` as JSON lines, whole or not at all; the same utterances give the same bytes.

    Raises ManifestError for an utterance that `Manifest.read` would refuse (the audio is not checked), and for none
    at all.
    """
    seen: set[str] = set()
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for utterance in utterances:
            record = {name: value for name, value in asdict(utterance).items() if value is not None}
            problem = _problem(record) or (f"the id '{utterance.id}' was used before" if utterance.id in seen else None)
            if problem:
                raise ManifestError(f"{path}: utterance '{utterance.id}': {problem}")
            seen.add(utterance.id)
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        if not seen:
            raise ManifestError(f"{path}: there are no utterances to write; check what the corpus was prepared from")


class Manifest:
    """A manifest on disk: `manifest[i]` reads line i again, in memory are only numbers, about 32 bytes an utterance.

    `durations` (seconds), `keys` (a hash of each id: what random draws depend on) and `lines` (1 is the first) have one
    entry an utterance; `digest` is the SHA-256 of the file. `notes` says which headers of audio files are doubtful:
    the first few, and the number of all. It holds no open file, so it can be sent to another process.
    """

    def __init__(
        self,
        path: Path,
        *,
        digest: str,
        offsets: np.ndarray,
        lines: np.ndarray,
        durations: Float64[np.ndarray, " utterances"],
        keys: UInt64[np.ndarray, " utterances"],
        notes: tuple[str, ...] = (),
    ):
        self.path, self.digest, self.notes = path, digest, notes
        self.durations, self.keys, self.lines = durations, keys, lines
        self._offsets = offsets

    @classmethod
    def read(cls, path: Path | str, audio: Literal["headers", "unchecked"] = "headers") -> "Manifest":
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
        offsets, lines, durations, keys = array("q"), array("q"), array("d"), array("Q")
        problems, headers, digest, offset = Problems(), AudioHeaders(path.parent), hashlib.sha256(), 0
        with path.open("rb") as file:
            for line, raw in enumerate(iter(lambda: file.readline(_LONGEST + 1), b""), 1):
                if len(raw) > _LONGEST:
                    raise ManifestError(f"{path}:{line}: the line has more than {_LONGEST:,} bytes; is it a manifest?")
                digest.update(raw)
                record, problem = _parse(raw)
                if not problem and audio == "headers":
                    problem = headers.problem(record)
                if problem:
                    problems.add(path, line, problem)
                else:
                    offsets.append(offset)
                    lines.append(line)
                    durations.append(record["duration_s"])
                    keys.append(_key(record["id"]))
                offset += len(raw)
        if offset == 0:
            raise ManifestError(f"{path}: the manifest is empty; run 'hybrid-asr prepare' again")
        manifest = cls(
            path,
            digest=digest.hexdigest(),
            offsets=np.frombuffer(offsets, np.int64),
            lines=np.frombuffer(lines, np.int64),
            durations=np.frombuffer(durations, np.float64),
            keys=np.frombuffer(keys, np.uint64),
            notes=headers.notes(),
        )
        manifest._note_repeats(problems)
        problems.raise_any(ManifestError)
        return manifest

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: SupportsIndex) -> Utterance:
        with self.path.open("rb") as file:
            return self._read_from(file, operator.index(index))

    def __iter__(self) -> Iterator[Utterance]:
        with self.path.open("rb") as file:
            for index in range(len(self)):
                yield self._read_from(file, index)

    def audio_path(self, index: SupportsIndex) -> Path:
        """Where the audio of utterance `index` lies."""
        return self.path.parent / self[index].audio

    def read_audio(
        self, index: SupportsIndex, rate: int, tell: Callable[[str], None] = io.warn
    ) -> Float32[np.ndarray, " samples"]:
        """The samples of utterance `index` at `rate` Hz, full scale 1. Raises AudioError that names its file.

        `tell` gets what is doubtful about them.
        """
        utterance = self[index]
        path = self.path.parent / utterance.audio
        start, duration, channel = utterance.start_s, utterance.duration_s, utterance.channel
        return io.read(path, start_s=start, duration_s=duration, rate=rate, channel=channel, tell=tell)

    def where(self, index: SupportsIndex) -> str:
        """File, line and id of utterance `index`, for messages."""
        return f"{self.path}:{self.lines[index]}: utterance '{self[index].id}'"

    def select(self, indices: np.ndarray) -> "Manifest":
        """The same manifest with only the utterances at `indices`, or where the mask `indices` is True."""
        return Manifest(
            self.path,
            digest=self.digest,
            offsets=self._offsets[indices],
            lines=self.lines[indices],
            durations=self.durations[indices],
            keys=self.keys[indices],
            notes=self.notes,
        )

    def _read_from(self, file: Any, index: int) -> Utterance:
        file.seek(self._offsets[index])
        record, problem = _parse(file.readline())
        if problem or _key(record["id"]) != self.keys[index]:
            raise ManifestError(f"{self.path}: the manifest was changed while it was in use; start the command again")
        return Utterance(**record)

    def _note_repeats(self, problems: Problems) -> None:
        order = np.argsort(self.keys, kind="stable")
        same = np.flatnonzero(self.keys[order][1:] == self.keys[order][:-1])
        for earlier, later in zip(order[same], order[same + 1], strict=True):
            what = f"the id '{self[later].id}' is also on line {self.lines[earlier]}; give every utterance its own id"
            problems.add(self.path, int(self.lines[later]), what)


def _key(name: str) -> int:
    """A hash of an id, equal in every process (Python's own is not)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _parse(raw: bytes) -> tuple[dict[str, Any], str | None]:
    """One line's fields, and what is wrong with it."""
    if not raw.strip():
        return {}, "the line is empty; remove it"
    try:
        record = json.loads(raw.decode("utf-8"), object_pairs_hook=unique_keys)
    except RepeatedKey as repeated:
        return {}, f"the field '{repeated}' is given twice; keep one of them"
    except UnicodeDecodeError:
        return {}, "the line is not UTF-8; save the manifest as UTF-8"
    except json.JSONDecodeError as error:
        return {}, f'the line is not JSON ({error.msg}); it must be one object, such as {{"id": ...}}'
    except (ValueError, RecursionError) as error:
        what = "brackets" if isinstance(error, RecursionError) else "digits"
        return {}, f"the line is not JSON that can be read: there are too many {what} in a row; correct it"
    if not isinstance(record, dict):
        return {}, 'the line is JSON, but no object; it must look like {"id": ...}'
    return record, _problem(record)


def _problem(record: dict[str, Any]) -> str | None:
    """What is wrong with the fields of an utterance, with the remedy."""
    kinds = _FIELDS | _OPTIONAL
    for name in record:
        if name not in kinds:
            return f"unknown field '{name}'; {suggest(name, kinds)}"
    for name in _REQUIRED:
        if name not in record:
            return f"the field '{name}' is missing; add it"
    for name, value in record.items():
        if value is None and name in _OPTIONAL:
            continue
        if not isinstance(value, _TYPES[kinds[name]]) or isinstance(value, bool):
            return f"the field '{name}' must be {kinds[name]}, not {json.dumps(value)}; correct it"
    return _bad_value(record)


def _bad_value(record: dict[str, Any]) -> str | None:
    start, duration = record.get("start_s", 0.0), record["duration_s"]
    texts = "".join(value for value in record.values() if isinstance(value, str))
    if not texts.isascii() and any("\ud800" <= letter <= "\udfff" for letter in texts):
        return "a text contains half of a surrogate pair; the program that wrote it broke a character"
    if "\0" in record["audio"]:
        return "the field 'audio' has a zero byte in it; name the audio file"
    if not record["id"] or record["id"].split() != [record["id"]]:
        return f"the id '{record['id']}' is empty or has spaces in it; use '_' instead"
    if not record["audio"]:
        return "the field 'audio' is empty; name the audio file"
    if not (_finite(start) and start >= 0):
        return f"start_s is {start}, it must be 0 or more seconds; correct it"
    if record.get("channel") is not None and record["channel"] < 1:
        return f"channel is {record['channel']}, the first channel is 1; correct it"
    if not (_finite(duration) and duration > 0):
        return f"duration_s is {duration}, it must be more than 0 seconds; correct it"
    return None


def _finite(number: float | int) -> bool:
    """Whether a number is one that a float can hold."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False
