"""One line of a manifest: an utterance, how it is written, and all that can be wrong with it."""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import RepeatedKey, atomic_path, unique_keys
from hybrid_asr.config.words import suggest
from hybrid_asr.data.shards import SHARD_FIELDS, MemberPlace, shard_problem

_FIELDS = {"id": "text", "audio": "text", "start_s": "a number", "duration_s": "a number", "text": "text"}
_OPTIONAL = {"speaker": "text", "language": "text", "channel": "a whole number", **SHARD_FIELDS}
_REQUIRED = ("id", "audio", "duration_s", "text")
_TYPES: dict[str, tuple[type, ...]] = {"text": (str,), "a number": (int, float), "a whole number": (int,)}


class ManifestError(UserError):
    """A manifest that cannot be used; the message names file, line and remedy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One transcribed piece of an audio file; times in seconds, `audio` as written in the manifest.

    `channel` is the one that is spoken on, counted from 1; None is the mean of all. With `offset` the audio file is
    those `bytes` of the tar shard `audio`.
    """

    id: str
    audio: str
    start_s: float = 0.0
    duration_s: float
    text: str
    speaker: str | None = None
    language: str | None = None
    channel: int | None = None
    offset: int | None = None
    bytes: int | None = None
    crc32: str | None = None

    @property
    def member(self) -> MemberPlace | None:
        """Where in a shard the audio lies; None where `audio` is an audio file."""
        if self.offset is None or self.bytes is None:
            return None
        return MemberPlace(self.audio, self.offset, self.bytes, self.crc32)


class Transcript(NamedTuple):
    """What is said in an utterance, as the manifest has it, by whom, and in which language, where these are known."""

    text: str
    language: str | None
    speaker: str | None


def write_manifest(path: Path | str, utterances: Iterable[Utterance]) -> None:
    """Write `utterances` as JSON lines, whole or not at all; the same utterances give the same bytes.

    Raises ManifestError for an utterance that `Manifest.read` would refuse (the audio is not checked), and for none
    at all.
    """
    seen: set[str] = set()
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for utterance in utterances:
            record = {name: value for name, value in asdict(utterance).items() if value is not None}
            problem = record_problem(record) or (
                f"the id '{utterance.id}' was used before" if utterance.id in seen else None
            )
            if problem:
                raise ManifestError(f"{path}: utterance '{utterance.id}': {problem}")
            seen.add(utterance.id)
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        if not seen:
            raise ManifestError(f"{path}: there are no utterances to write; check what the corpus was prepared from")


def utterance_key(name: str) -> int:
    """A hash of an id, equal in every process (Python's own is not)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def parse_line(raw: bytes) -> tuple[dict[str, Any], str | None]:
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
    return record, record_problem(record)


def record_problem(record: dict[str, Any]) -> str | None:
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
    return shard_problem(record)


def _finite(number: float | int) -> bool:
    """Whether a number is one that a float can hold."""
    try:
        return math.isfinite(number)
    except OverflowError:
        return False
