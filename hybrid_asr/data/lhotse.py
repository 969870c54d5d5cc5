"""Lhotse's manifests to utterances of train, valid and test: cuts, or recordings with supervisions.

Audio paths become absolute. All errors of a source are collected and named by file and line (of a JSON list: by item).
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_asr.common.files import RepeatedKey, expand_home, read_problem, unique_keys
from hybrid_asr.data.lhotse_records import LhotseReader, Part, Record, field, supervision_part
from hybrid_asr.data.prepared import Prepared, ReadingOptions, into_sets, refuse_copies
from hybrid_asr.data.splits import is_set_name, set_name
from hybrid_asr.data.table_checks import (
    LARGEST,
    AudioDurations,
    BadLines,
    LineError,
    Row,
    TableError,
    collect_errors,
    decoded_lines,
    first_few,
    passed_over,
)

LHOTSE_FILES = "Lhotse's manifests are called such as corpus_cuts_train.jsonl.gz, or corpus_recordings_train.jsonl.gz"
_NAME = re.compile(r"(?:(.*)[._-])?(cuts|recordings|supervisions)(?:[._-](.*))?\.jsonl?(?:\.gz)?")
_OTHER_FORMS = (".yml", ".yaml", ".yml.gz", ".yaml.gz")
_BROKEN = (OSError, EOFError, zlib.error)


class _Source(NamedTuple):
    """Cuts, or supervisions with the recordings that they are about; and the set that their name says."""

    path: Path
    recordings: Path | None
    subset: str | None


def read_lhotse(location: Path | str, options: ReadingOptions | None = None) -> Prepared:
    """Read cuts, or supervisions with the recordings beside them: a file, or all such files of a folder.

    A file says its set by its name, as in `librispeech_cuts_train-clean-100.jsonl.gz`; without one sets are held out of
    train, see `splits.hold_out`. Paths of audio are relative to the file or, as in Lhotse, to the current folder.
    Raises TableError.
    """
    location = expand_home(location)
    sources, messages, others = _sources(location)
    problems, durations, rows = BadLines(), AudioDurations(), []
    for source in sources:
        reader = LhotseReader(source.path.parent, durations)
        rows += [row._replace(subset=source.subset) for row in _rows(source, reader, problems)]
        if reader.passed_over:
            fields = [f"{what} ({count})" for what, count in sorted(reader.passed_over.items())]
            messages.append(f"note: {source.path}: passed over: {', '.join(fields)}")
        if reader.lengths:
            what = f"the lengths of {len(reader.lengths)} recordings are not those of their files"
            messages.append(f"warning: {source.path}: {what}: {first_few(list(reader.lengths.values()))}")
    messages += passed_over(location, others, rows)
    refuse_copies(rows, lambda row: row.file)
    return into_sets(problems, rows, location, options, [*messages, *durations.messages()])


def is_lhotse_name(name: str) -> bool:
    """Whether a file is called as Lhotse's manifests are."""
    return _NAME.fullmatch(name) is not None


def _sources(location: Path) -> tuple[list[_Source], list[str], list[Path]]:
    """What is to be read, what is told, and what else is there."""
    if not location.is_dir():
        return [_of_file(location)], [], []
    files = sorted(path for path in location.iterdir() if not path.is_dir())
    named = {path: match for path in files if (match := _NAME.fullmatch(path.name))}
    found: dict[str, dict[str, Path]] = {}
    for path, match in named.items():
        found.setdefault(f"{match[1] or ''}\n{match[3] or ''}", {})[match[2]] = path
    sources, passed = [], [path for path in sorted(location.iterdir()) if path not in named]
    for kinds in found.values():
        if path := kinds.get("cuts") or kinds.get("supervisions"):
            sources.append(_of_file(path))
        used = ("cuts",) if "cuts" in kinds else ("supervisions", "recordings") if "supervisions" in kinds else ()
        passed += [path for kind, path in kinds.items() if kind not in used]
    if named and not sources:
        return [_of_file(next(iter(named)))], [], []  # recordings alone: which says what is missing
    if not sources:
        raise TableError(f"{location}: there are no cuts and no supervisions; {LHOTSE_FILES}")
    messages = []
    unnamed = [source.path.name for source in sources if source.subset is None]
    if unnamed and len(unnamed) < len(sources):
        what = "passed over, for want of a set's name, such as train, dev or test-other"
        messages.append(f"warning: {location}: {len(unnamed)} of {len(sources)} manifests {what}: {first_few(unnamed)}")
        sources = [source for source in sources if source.subset is not None]
    return sources, messages, passed


def _of_file(path: Path) -> _Source:
    """A file with what belongs to it; recordings stand for the supervisions beside them."""
    if path.name.endswith(_OTHER_FORMS):
        raise TableError(
            f"{path}: YAML is not read; convert it: lhotse copy {path.name} {path.name.split('.')[0]}.jsonl"
        )
    match = _NAME.fullmatch(path.name)
    if match is None or match[2] == "cuts":
        return _Source(path, None, _subset(match) if match else None)
    start, end = match.span(2)
    both = [path.with_name(f"{path.name[:start]}{kind}{path.name[end:]}") for kind in ("supervisions", "recordings")]
    for one in both:
        if problem := read_problem(one):
            raise TableError(f"{one}: {problem}; supervisions and recordings are read together")
    return _Source(both[0], both[1], _subset(match))


def _subset(match: re.Match[str]) -> str | None:
    """The set that a file's name says, behind or before the word that says what it holds."""
    names = [name for name in (match[3], match[1]) if name and is_set_name(name)]
    return set_name(names[0]) if names else None


def _rows(source: _Source, reader: LhotseReader, problems: BadLines) -> Iterator[Row]:
    """The utterances of a file, one for each supervision."""
    recordings = _recordings(source.recordings, problems) if source.recordings else None
    used: set[Any] = set()
    for line, record in _records(source.path, problems):
        parts: list[Part] = []
        with collect_errors(problems, source.path, line, id=_id(record), row=record):
            parts = reader.cut_parts(_cut(record)) if recordings is None else [_with_recording(record, recordings)]
        for part in parts:
            with collect_errors(problems, source.path, line, id=_id(part.supervision), row=part.supervision):
                yield Row(reader.utterance(part), None, source.path, line, part.supervision)
            used.update([part.recording["id"]] if recordings else [])
    if unused := [name for name in recordings or {} if name not in used]:
        reader.passed_over[f"recordings without a supervision: {first_few(unused)}"] = len(unused)


def _id(record: Record) -> str | None:
    name = record.get("id")
    return name if isinstance(name, str) else None


def _cut(record: Record) -> Record:
    if "sources" in record or "recording_id" in record:
        raise LineError("this is no cut; call the file such as corpus_supervisions_train.jsonl")
    return record


def _with_recording(supervision: Record, recordings: dict[str, Record]) -> Part:
    recording = field(supervision, "recording_id", "text")
    if recording not in recordings:
        raise LineError(f"recording '{recording}' is not in the recordings; add it, or leave this out")
    return supervision_part(supervision, recordings[recording])


def _recordings(path: Path, problems: BadLines) -> dict[str, Record]:
    recordings = {}
    for line, record in _records(path, problems):
        with collect_errors(problems, path, line, row=record):
            recordings[field(record, "id", "text")] = record
    return recordings


def _records(path: Path, problems: BadLines) -> Iterator[tuple[int, Record]]:
    """The records of a file of JSON lines, or of a JSON list, each with its number."""
    lines = decoded_lines(path, _unpacked(path))
    if not any(line.strip() for line in lines):
        raise TableError(f"{path}: the file is empty; {LHOTSE_FILES}")
    is_list = next((line for line in lines if line.strip()), "").lstrip().startswith("[")
    for number, record in _items(path, lines) if is_list else _parsed_lines(path, lines, problems):
        if isinstance(record, dict):
            yield number, record
        else:
            problems.add(path, number, "this is no record in braces; write it again with lhotse", row=record)


def _items(path: Path, lines: list[str]) -> Iterator[tuple[int, Any]]:
    try:
        yield from enumerate(_json("\n".join(lines)), 1)
    except LineError as error:
        raise TableError(f"{path}: {error}") from None


def _parsed_lines(path: Path, lines: list[str], problems: BadLines) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            with collect_errors(problems, path, number, row=line):
                yield number, _json(line)


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except RepeatedKey as error:
        raise LineError(f"the key '{error}' is there twice; remove one") from None
    except (ValueError, RecursionError) as error:
        raise LineError(f"not JSON: {error}; write it again with lhotse") from None


def _unpacked(path: Path) -> bytes:
    """The bytes of a file, unpacked where it is packed. Raises TableError."""
    if problem := read_problem(path, largest=LARGEST):
        raise TableError(f"{path}: {problem}; {LHOTSE_FILES}")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except _BROKEN as error:
        raise TableError(f"{path}: cannot be unpacked: {error}; copy it again") from None
    if len(content) > LARGEST:
        raise TableError(f"{path}: has more than {LARGEST:,} bytes; split it")
    return content
