"""The user's own data without code: a table of audio files and transcripts, or a folder of tables, to sets.

Audio paths become absolute. All bad rows of a source are collected and named by file and line.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from hybrid_asr.data.audio_paths import SUFFIXES, AudioPaths
from hybrid_asr.data.columns import TIMES, Columns, find_columns, known_meaning
from hybrid_asr.data.manifest import Utterance
from hybrid_asr.data.prepared import Prepared, ReadingOptions, into_sets
from hybrid_asr.data.splits import SplitError, is_set_name, set_name
from hybrid_asr.data.table_checks import (
    BAD_SET,
    BAD_TIMES,
    NO_AUDIO,
    AudioDurations,
    BadLines,
    LineError,
    Row,
    TableError,
    check_characters,
    collect_errors,
    first_few,
)
from hybrid_asr.data.table_records import JSON, SEPARATED, Table, read_records

AGREE_S = 0.01  # how far a duration may be from the end less the start
NOBODY = (
    "nan",
    "none",
    "null",
    "n/a",
    "na",
    "-",
    "?",
    "unk",
    "unknown",
)  # what programs write for a speaker that is not known
LEFT = ("left", "l", "a")
RIGHT = ("right", "r", "b")


def read_table(path: Path | str, options: ReadingOptions | None = None) -> Prepared:
    """Read a table with a header, or the tables of a folder that are named as sets, such as train.tsv and dev.tsv.

    Needed are an audio file and its text; read are also speaker, start, end and duration (seconds; without them the
    whole file), set, language, id and channel, under any of their usual names (`columns.SPELLINGS`). Other columns are
    passed over and named; one that looks like a time, a set, a speaker or a channel is refused. Audio paths are
    relative to the table. Without an id it is made of the path, the start of a segment, and the channel.

    A source that names sets keeps to them; of one that names none, valid and test are held out of train, see
    `splits.hold_out`. Raises TableError.
    """
    path, options = Path(path), options or ReadingOptions()
    files, notes = _tables_of(path) if path.is_dir() else ({path: None}, [])
    reader = _TableReader(options, root=path if path.is_dir() else path.parent)
    for file, subset in files.items():
        reader.read(file, subset)
    return into_sets(reader.problems, reader.rows, path, options, [*notes, *reader.messages()])


def _tables_of(folder: Path) -> tuple[dict[Path, str | None], list[str]]:
    """The tables in a folder that are named as sets, with the set of each, or its only table; and what is told."""
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in (*SEPARATED, *JSON) and path.is_file())
    metadata = sorted(path for name in ("metadata.csv", "metadata.jsonl") for path in folder.glob(f"*/{name}"))
    sets = {path: path.stem for path in tables} | {path: path.parent.name for path in metadata}
    named: dict[Path, str | None] = {path: set_name(name) for path, name in sets.items() if is_set_name(name)}
    for name in dict.fromkeys(named.values()):
        same = [path for path, subset in named.items() if subset == name]
        if len(same) > 1 and (name != "train" or len({sets[path] for path in same}) < len(same)):
            raise TableError(f"{folder}: {first_few(list(map(str, same)))} are all {name}; name one with table:FILE")
    if not named and len(tables) == 1:
        return {tables[0]: None}, []
    if not named:
        found = f"only {first_few([path.name for path in tables])}" if tables else "and no .csv, .tsv or .jsonl at all"
        what = f"is a folder in which no table is named as a set, such as train.tsv, {found}"
        raise TableError(f"{folder}: {what}; name one with table:FILE")
    rest = [path.name for path in tables if path not in named]
    notes = [f"note: {path} is {name}" for path, name in named.items()]
    return named, notes + ([f"note: passed over: tables {', '.join(rest)}"] if rest else [])


class _TableReader:
    """Collects the rows of one or more tables, what is wrong with them, and what is told."""

    def __init__(self, options: ReadingOptions, root: Path) -> None:
        self.options, self.root = options, root
        self.problems, self.durations = BadLines(), AudioDurations()
        self.rows: list[Row] = []
        self._notes: list[str] = []
        self._elsewhere: Counter[str] = Counter()
        self._nobody: Counter[str] = Counter()

    def read(self, path: Path, subset: str | None) -> None:
        """Add the rows of a table, all of the set `subset` where that is given."""
        table, paths = read_records(path, self.problems), AudioPaths(path, root=self.root)
        _check_header(table, AudioPaths(path))
        if not table.records and not self.problems.rejected:
            if subset is None:
                raise TableError(f"{path}: there are no utterances; add some")
            self._notes.append(f"warning: {path} has no rows, so nothing is of {subset}")
        columns = find_columns(table, self.options)
        self._tell(table, columns)
        first = _first_channel(table, columns)
        for line, fields in table.records:
            cells = {meaning: fields[column] for meaning, column in columns.index.items()}
            row = dict(zip(table.header, fields, strict=True))
            with collect_errors(self.problems, path, line, id=cells.get("id") or None, row=row):
                check_characters(fields)
                times = _times(cells, columns, decimal_comma=table.separator not in ("", ","))
                utterance = self._utterance(cells, times, paths, _channel(cells, first))
                self.rows.append(Row(utterance, _subset(cells, subset), path, line, row))
        self._elsewhere += paths.elsewhere

    def messages(self) -> list[str]:
        """What was passed over, found elsewhere, or cut."""
        found = [
            f"note: {count} audio {'file was' if count == 1 else 'files were'} found {place}"
            for place, count in self._elsewhere.items()
        ]
        return [
            *dict.fromkeys(self._notes),
            *found,
            *self.durations.messages(),
            *self._nameless(),
        ]

    def _utterance(
        self, cells: Mapping[str, str], times: tuple[float, float | None], paths: AudioPaths, channel: int | None
    ) -> Utterance:
        if not cells["audio"]:
            raise LineError("the column 'audio' is empty; fill it, or remove the line", NO_AUDIO)
        start, end = times
        audio = paths.find(cells["audio"])
        duration_s = self.durations.of_segment(audio, start, end, channel=channel)
        made = paths.id_of(cells["audio"])
        made += f"-{round(start * 1000):07d}" if start or end is not None else ""
        made += f"-{channel}" if channel else ""
        return Utterance(
            id="_".join((cells.get("id") or made).split()),
            audio=str(audio),
            start_s=start,
            duration_s=duration_s,
            text=cells["text"],
            speaker=self._speaker(cells.get("speaker", "")),
            language=cells.get("language") or None,
            channel=channel,
        )

    def _speaker(self, name: str) -> str | None:
        """The speaker of a row; names that stand for nobody are counted, else they would be one speaker."""
        if name.lower() not in NOBODY:
            return name or None
        self._nobody[name] += 1
        return None

    def _nameless(self) -> list[str]:
        names = ", ".join(f"'{name}' in {count}" for name, count in self._nobody.items())
        return [f"note: taken for speakers that are not known: {names} rows"] if names else []

    def _tell(self, table: Table, columns: Columns) -> None:
        if columns.passed_over:
            self._notes.append(f"note: passed over: columns {', '.join(columns.passed_over)}")
        if table.nested:
            self._notes.append(f"note: passed over: lists {', '.join(table.nested)}")
        renamed = [
            f"{table.header[column]} as {meaning}"
            for meaning, column in columns.index.items()
            if table.header[column].lower() != meaning
        ]
        if renamed:
            self._notes.append(f"note: read: columns {', '.join(renamed)}")


def _check_header(table: Table, paths: AudioPaths) -> None:
    """Refuse a table whose first line is a row: it names an audio file."""
    if "audio" in map(known_meaning, table.header):
        return
    for name in table.header:
        try:
            there = bool(name) and (Path(name).suffix.lower() in SUFFIXES or paths.find(name).is_file())
        except LineError:
            continue
        if there and table.separator:
            names = table.separator.join(["audio", "text"])
            what = f"the first line is a row rather than a header: '{name}' names an audio file"
            remedy = f"put a line with the names of the columns above it, such as {names}, in their order"
            raise TableError(f"{table.path}:{table.header_line}: {what}; {remedy}")


def _times(cells: Mapping[str, str], columns: Columns, *, decimal_comma: bool) -> tuple[float, float | None]:
    """Start and end of a row in seconds; no end for the whole file."""
    given = {name: _seconds(cells[name], name, columns.scale[name], decimal_comma) for name in TIMES if name in cells}
    start, end, duration = given.get("start") or 0.0, given.get("end"), given.get("duration")
    if end is not None and duration is not None and abs(end - start - duration) > AGREE_S + 1e-9:
        what = f"from {start:g} to {end:g} s are {end - start:.3f} s, but the duration is {duration:g} s; correct one"
        raise LineError(what, BAD_TIMES)
    return start, end if end is not None or duration is None else start + duration


def _seconds(text: str, name: str, scale: float, decimal_comma: bool) -> float | None:
    """A time: seconds (or the unit of its column), or hours, minutes and seconds with colons."""
    number = text.replace(",", ".") if decimal_comma else text
    clock = re.fullmatch(r"(?:(\d+):)?(\d+):(\d+(?:[.,]\d*)?)", text)
    try:
        if clock:
            value = 3600 * int(clock[1] or 0) + 60 * int(clock[2]) + float(clock[3].replace(",", "."))
        else:
            value = float(number) * scale if number else None
    except ValueError:
        value = math.nan
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise LineError(f"the column '{name}' is '{text}', it must be seconds such as 1.25; correct it", BAD_TIMES)
    return value


def _subset(cells: Mapping[str, str], of_table: str | None) -> str | None:
    if "set" not in cells:
        return of_table
    if not cells["set"]:
        raise LineError("the column of sets is empty; fill it, or leave the row out", BAD_SET)
    try:
        subset = set_name(cells["set"])
    except SplitError as error:
        raise LineError(str(error), BAD_SET) from None
    if of_table not in (None, subset):
        raise LineError(f"the table is {of_table} by its name, the row is '{cells['set']}'; correct one", BAD_SET)
    return subset


def _first_channel(table: Table, columns: Columns) -> int:
    """0 where the channels of a table are counted from 0, else 1."""
    return 0 if "channel" in columns.index and "0" in table.column(columns.index["channel"]) else 1


def _channel(cells: Mapping[str, str], first: int) -> int | None:
    """The channel of a row, counted from 1; None for the mean of all."""
    text = cells.get("channel", "").lower()
    if not text:
        return None
    if text in (*LEFT, *RIGHT):
        return 1 if text in LEFT else 2
    if not text.isdecimal():
        raise LineError(f"the channel is '{text}', it must be a number, left or right, A or B; correct it", NO_AUDIO)
    return int(text) + 1 - first
