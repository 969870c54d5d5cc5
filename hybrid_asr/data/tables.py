"""The user's own data without code: a CSV table, or a Kaldi data folder, to utterances of train, valid and test.

Audio paths become absolute. All errors of a source are collected and named by file and line.
"""

import csv
import difflib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from hybrid_asr.common.files import MISSING, read_problem
from hybrid_asr.config.schema import suggest
from hybrid_asr.data.manifest import Problems, Utterance
from hybrid_asr.data.splits import SETS, Sets
from hybrid_asr.data.table_checks import (
    ALIASES,
    AudioDurations,
    LineError,
    Row,
    TableError,
    collect_errors,
    into_sets,
    read_lines,
)

REQUIRED = ("audio", "text")
COLUMNS = (*REQUIRED, "speaker", "start", "duration", "set", "language", "id")
KALDI_FILES = "a Kaldi folder has wav.scp and text, and may have segments and utt2spk"


def read_table(path: Path | str) -> Sets:
    """Read a table with a header: columns `audio` and `text`; optional `speaker`, `start` and `duration` (seconds;
    without them the whole file), `set` (train, valid, dev or test), `language`, `id`. Other columns are ignored.

    Columns are separated by comma, semicolon or tab, whichever the header has most of; the file is UTF-8, with or
    without a byte order mark. Audio paths are relative to the table. Without `id` the id is made of the path and the
    start.

    Validation and test sets that the table does not name are held out of train, see `splits.hold_out`. Raises
    TableError.
    """
    path = Path(path)
    problems, durations, rows = Problems(), AudioDurations(), []
    records = _records(path)
    _, header = next(records)
    columns = _columns(path, [name.strip().lower() for name in header])
    for line, fields in records:
        with collect_errors(problems, path, line):
            if len(fields) != len(header):
                raise LineError(
                    f"{len(fields)} fields, the header has {len(header)}; put quotes around what holds a separator"
                )
            cells = {name: fields[column].strip() for name, column in columns.items()}
            rows.append(Row(_from_cells(path.parent, cells, durations), _subset(cells), path, line))
    return into_sets(problems, rows, path)


def read_kaldi(folder: Path | str) -> Sets:
    """Read Kaldi's `wav.scp`, `text` and, where they are, `segments` and `utt2spk` from `folder`, or from its
    subfolders train, valid (or dev) and test.

    Paths in wav.scp are relative to where it lies or, as in Kaldi, to the current folder. Sets that are not there are
    held out of train as in `read_table`. Raises TableError; a wav.scp with commands is refused, they are not run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise TableError(f"{folder}: there is no such folder; {KALDI_FILES}")
    subfolders: dict[Path, str | None] = {folder: None}
    if not (folder / "wav.scp").is_file() and (folder / "train").is_dir():
        known = (*SETS, *ALIASES)
        subfolders = {folder / name: ALIASES.get(name, name) for name in known if (folder / name).is_dir()}
    problems, durations, rows = Problems(), AudioDurations(), []
    for subfolder, subset in subfolders.items():
        rows += [row._replace(subset=subset) for row in _kaldi_rows(problems, subfolder, durations)]
    return into_sets(problems, rows, folder)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The records of a table with the line on which each ends; the header first, empty lines are left out."""
    lines = read_lines(path, needed_for="give the path of a table")
    separator = max(",;\t", key=lines[0].count)
    # tables with tabs often have quotes as mere characters, at the start of a field too
    quoting = csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader((line + "\n" for line in lines), delimiter=separator, strict=True, quoting=quoting)
    try:
        records = [(reader.line_num, fields) for fields in reader if any(field.strip() for field in fields)]
        if separator == "\t":
            records = [(line, [_unquoted(field) for field in fields]) for line, fields in records]
    except csv.Error as error:
        what = f"not a table ({error}); a quote inside a quoted field must be doubled"
        raise TableError(f"{path}:{reader.line_num}: {what}") from None
    if not records:
        raise TableError(f"{path}: the table is empty; it needs a header with the columns {', '.join(REQUIRED)}")
    yield from records


def _unquoted(field: str) -> str:
    """A field without the quotes that a spreadsheet put around it."""
    inner = field[1:-1]
    enclosed = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if enclosed else field


def _columns(path: Path, header: Sequence[str]) -> dict[str, int]:
    """The index of each known column. One whose name is nearly that of a known one is an error."""
    for name in REQUIRED:
        if name not in header:
            raise TableError(f"{path}:1: there is no column '{name}', only {', '.join(header)}; rename the right one")
    for name in header:
        near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=0.8)
        if name not in COLUMNS and near and near[0] not in header:
            raise TableError(f"{path}:1: unknown column '{name}', did you mean '{near[0]}'? Rename it")
        if name in COLUMNS and header.count(name) > 1:
            raise TableError(f"{path}:1: the column '{name}' occurs {header.count(name)} times; remove one")
    return {name: header.index(name) for name in COLUMNS if name in header}


def _from_cells(folder: Path, cells: dict[str, str], durations: AudioDurations) -> Utterance:
    for name in REQUIRED:
        if not cells[name]:
            raise LineError(f"the column '{name}' is empty; fill it, or remove the line")
    start, duration = _number(cells, "start") or 0.0, _number(cells, "duration")
    audio = _resolved(folder / cells["audio"])
    duration_s = durations.of_segment(audio, start, None if duration is None else start + duration)
    name = cells.get("id") or _name(cells["audio"], start if start or duration is not None else None)
    return Utterance(
        id="_".join(name.split()),
        audio=str(audio),
        start_s=start,
        duration_s=duration_s,
        text=cells["text"],
        speaker=cells.get("speaker") or None,
        language=cells.get("language") or None,
    )


def _name(audio: str, start: float | None) -> str:
    """An id: the path without its ending, and the start in milliseconds of a segment."""
    path = Path(audio).with_suffix("")
    name = "-".join(part for part in path.parts if part not in (path.anchor, ".", ".."))
    return name if start is None else f"{name}-{round(start * 1000):07d}"


def _number(cells: dict[str, str], name: str) -> float | None:
    text = cells.get(name, "")
    try:
        value = float(text) if text else None
    except ValueError:
        value = math.nan
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise LineError(f"the column '{name}' is '{text}', it must be seconds such as 1.25; correct it")
    return value


def _subset(cells: dict[str, str]) -> str | None:
    if "set" not in cells:
        return None
    subset = ALIASES.get(cells["set"].lower(), cells["set"].lower())
    if subset not in SETS:
        raise LineError(f"unknown set '{cells['set']}'; {suggest(subset, SETS)}")
    return subset


def _kaldi_rows(problems: Problems, folder: Path, durations: AudioDurations) -> Iterator[Row]:
    """The utterances of one folder; every line of each of its files must belong to one."""
    recordings = {name: rest for _, name, rest in _kaldi_lines(problems, folder / "wav.scp")}
    texts = {name: (line, rest) for line, name, rest in _kaldi_lines(problems, folder / "text")}
    has_segments, has_speakers = (os.path.lexists(folder / name) for name in ("segments", "utt2spk"))
    speakers = {name: rest for _, name, rest in _kaldi_lines(problems, folder / "utt2spk")} if has_speakers else {}
    source = folder / ("segments" if has_segments else "wav.scp")
    utterances = set()
    for line, name, rest in _kaldi_lines(Problems() if source.name == "wav.scp" else problems, source):
        utterances.add(name)
        with collect_errors(problems, source, line):
            recording, start, end = _segment(rest) if has_segments else (name, 0.0, None)
            if recording not in recordings:
                raise LineError(f"recording '{recording}' is not in wav.scp; add it, or remove the line")
            if name not in texts:
                raise LineError(f"utterance '{name}' has no transcript in text; add it, or remove the line")
            if has_speakers and name not in speakers:
                raise LineError(f"utterance '{name}' has no speaker in utt2spk; add it")
            audio = _kaldi_audio(folder, recordings[recording])
            duration_s = durations.of_segment(audio, start, end)
            yield Row(
                Utterance(
                    id=name,
                    audio=str(audio),
                    start_s=start,
                    duration_s=duration_s,
                    text=texts[name][1],
                    speaker=speakers.get(name),
                ),
                None,
                source,
                line,
            )
    for name, (line, _) in texts.items():
        if name not in utterances:
            problems.add(
                folder / "text", line, f"utterance '{name}' is not in {source.name}; add it, or remove the line"
            )


def _kaldi_lines(problems: Problems, path: Path) -> Iterator[tuple[int, str, str]]:
    """Number, first word and rest of each line; a line without a rest, or with a repeated first word, is an error."""
    seen: dict[str, int] = {}
    for line, text in enumerate(read_lines(path, needed_for=KALDI_FILES), 1):
        if not text.strip():
            continue
        name, *rest = text.split(maxsplit=1)
        if not rest:
            problems.add(path, line, f"nothing follows '{name}'; complete the line, or remove it")
        elif seen.setdefault(name, line) != line:
            problems.add(path, line, f"'{name}' is also on line {seen[name]}; keep one of them")
        else:
            yield line, name, rest[0].strip()


def _segment(text: str) -> tuple[str, float, float | None]:
    """Recording, start and end; Kaldi writes an end of -1 for the end of the recording."""
    recording, *times = text.split()
    try:
        start, end = (float(time) for time in times)
    except ValueError:
        raise LineError(f"'{text}' is not RECORDING START END; correct it") from None
    if not (math.isfinite(start) and math.isfinite(end)):
        raise LineError(f"the times {start} and {end} are no seconds; correct them")
    return recording, start, None if end == -1 else end


def _kaldi_audio(folder: Path, entry: str) -> Path:
    if entry.endswith("|"):
        raise LineError(
            f"wav.scp has a command, which is not run: {entry} Write its output to a file and name that in wav.scp"
        )
    beside = folder / entry
    elsewhere = read_problem(beside) == MISSING and read_problem(entry) is None
    return _resolved(Path(entry) if elsewhere else beside)


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # of links in a circle, or with a zero byte: reading it tells
        return path
