"""The user's own data without code: a CSV table, or a Kaldi data folder, to utterances of train, valid and test.

Audio paths become absolute. All errors of a source are collected and named by file and line.
"""

import csv
import difflib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from hybrid_asr.data.manifest import Utterance
from hybrid_asr.data.prepared import Prepared, ReadingOptions, into_sets
from hybrid_asr.data.splits import SplitError, set_name
from hybrid_asr.data.table_checks import (
    BAD_SET,
    AudioDurations,
    BadLines,
    LineError,
    Row,
    TableError,
    collect_errors,
    read_lines,
    resolved,
)

REQUIRED = ("audio", "text")
COLUMNS = (*REQUIRED, "speaker", "start", "duration", "set", "language", "id")


def read_table(path: Path | str, options: ReadingOptions | None = None) -> Prepared:
    """Read a table with a header: columns `audio` and `text`; optional `speaker`, `start` and `duration` (seconds;
    without them the whole file), `set` (train, valid, dev or test), `language`, `id`. Other columns are ignored.

    Columns are separated by comma, semicolon or tab, whichever the header has most of; the file is UTF-8, with or
    without a byte order mark. Audio paths are relative to the table. Without `id` the id is made of the path and the
    start.

    Validation and test sets that the table does not name are held out of train, see `splits.hold_out`. Raises
    TableError.
    """
    path = Path(path)
    problems, durations, rows = BadLines(), AudioDurations(), []
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
    return into_sets(problems, rows, path, options, durations.messages())


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
    if not cells["audio"]:
        raise LineError("the column 'audio' is empty; fill it, or remove the line")
    start, duration = _number(cells, "start") or 0.0, _number(cells, "duration")
    audio = resolved(folder / cells["audio"])
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
    try:
        return set_name(cells["set"])
    except SplitError as error:
        raise LineError(str(error), BAD_SET) from None
