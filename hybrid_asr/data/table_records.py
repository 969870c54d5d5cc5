"""Tables as files: a header and records, from CSV with any usual separator, or from JSON, whose keys are columns."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_asr.common.files import RepeatedKey, unique_keys
from hybrid_asr.data.table_checks import BadLines, TableError, read_lines

SEPARATED = (".csv", ".tsv")
JSON = (".json", ".jsonl", ".ndjson")
SEPARATORS = ",;\t|"
WORKBOOKS = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a workbook; save the sheet as CSV in UTF-8"),
    **dict.fromkeys(
        (".parquet", ".arrow", ".feather"), "no text; write it as CSV or as JSON lines, with audio as files"
    ),
    **dict.fromkeys((".gz", ".bz2", ".xz", ".zip"), "compressed; unpack it first"),
}


class Record(NamedTuple):
    """The fields of one row, and the line on which it ends."""

    line: int
    fields: Sequence[str]


class Table(NamedTuple):
    """A table in memory; every record has as many fields as the header. `separator` is that of CSV, else empty."""

    path: Path
    header: Sequence[str]
    header_line: int
    records: Sequence[Record]
    separator: str = ""
    nested: Sequence[str] = ()

    def column(self, index: int) -> list[str]:
        """The fields of one column."""
        return [record.fields[index] for record in self.records]


def read_records(path: Path, problems: BadLines) -> Table:
    """Read a table. Lines that are no rows are noted in `problems`; raises TableError for a file that is no table."""
    kind = WORKBOOKS.get(path.suffix.lower())
    if kind and path.is_file():
        raise TableError(f"{path}: this is {kind}")
    lines = read_lines(path, needed_for="give the path of a table")
    first = next((line.strip() for line in lines if line.strip()), "")
    if not first:
        raise TableError(f"{path}: the table is empty; it needs a header with the columns audio and text")
    suffix = path.suffix.lower()
    if suffix in JSON or (suffix not in SEPARATED and first[0] in "{["):
        return _from_json(path, lines, problems)
    return _from_separated(path, lines, problems)


def _from_separated(path: Path, lines: list[str], problems: BadLines) -> Table:
    skipped = 0
    separator = max(SEPARATORS, key=next(line for line in lines if line.strip()).count)
    if lines[0].lower().startswith("sep=") and len(lines[0]) == len("sep=,"):  # a line that Excel writes and obeys
        separator, skipped = lines[0][-1], 1
    # tables with tabs or bars often have quotes as mere characters, at the start of a field too
    quoting = csv.QUOTE_NONE if separator in "\t|" else csv.QUOTE_MINIMAL
    rows = (line + "\n" for line in lines[skipped:])
    reader = csv.reader(rows, delimiter=separator, strict=True, quoting=quoting)
    try:
        records = [
            Record(reader.line_num + skipped, [_unquoted(field, quoting) for field in fields])
            for fields in reader
            if any(field.strip() for field in fields)
        ]
    except csv.Error as error:
        what = f"not a table ({error}); a quote inside a quoted field must be doubled"
        raise TableError(f"{path}:{reader.line_num + skipped}: {what}") from None
    header, *rest = records
    names = [name.lstrip("#").strip() for name in header.fields]
    whole: list[Record] = []
    for line, fields in rest:
        if len(fields) == len(names):
            whole.append(Record(line, fields))
            continue
        counted = f"{len(fields)} field{'s' * (len(fields) != 1)}, the header has {len(names)}"
        what = f"{counted}; put quotes around what holds a separator"
        before = whole[-1] if whole and whole[-1].line == line - 1 else None
        if quoting == csv.QUOTE_NONE and len(fields) < len(names) and before and _opens_a_quote(before):
            what = f"{counted}, and the row before ends within a quote; write each row on one line"
            whole.pop()
            problems.add(path, before.line, "the text ends within a quote; write it on one line", row=[*before.fields])
        problems.add(path, line, what, row=list(fields))
    return Table(path, names, header.line, whole, separator)


def _opens_a_quote(record: Record) -> bool:
    return record.fields[-1].startswith('"') and record.fields[-1].count('"') % 2 == 1


def _unquoted(field: str, quoting: int) -> str:
    """A field without spaces around it, and without the quotes that a spreadsheet put around it."""
    inner = field[1:-1]
    enclosed = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', "")
    unquoted = inner.replace('""', '"') if enclosed and quoting == csv.QUOTE_NONE else field
    return unquoted.strip()


def _from_json(path: Path, lines: list[str], problems: BadLines) -> Table:
    """Rows are JSON objects: one a line, a list of them, or an object of objects, whose keys are then their ids."""
    text = "\n".join(lines)
    in_lines = path.suffix.lower() in (".jsonl", ".ndjson") or _is_row(next(line for line in lines if line.strip()))
    if in_lines and text.lstrip()[0] != "[":
        rows = list(_from_json_lines(path, lines, problems))
    else:
        rows = _from_whole_json(path, text)
    flat = [(line, dict(_flattened(row))) for line, row in rows]
    header = list(dict.fromkeys(name for _, row in flat for name in row))
    plain = {name for _, row in flat for name, value in row.items() if not isinstance(value, list | None)}
    nested = [name for name in header if any(isinstance(row.get(name), list) for _, row in flat) and name not in plain]
    header = [name for name in header if name not in nested]
    records = []
    for line, row in flat:
        if listed := [name for name in header if isinstance(row.get(name), list)]:
            problems.add(
                path, line, f"the key '{listed[0]}' is a list here; write one value, as in other rows", row=row
            )
        else:
            records.append(Record(line, [_text(row.get(name)) for name in header]))
    return Table(path, header, flat[0][0] if flat else 1, records, nested=nested)


def _is_row(line: str) -> bool:
    """Whether a line is an object of which a value is neither an object nor a list, as a row's are."""
    try:
        whole = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(whole, dict) and not all(isinstance(value, (dict, list)) for value in whole.values())


def _from_json_lines(path: Path, lines: list[str], problems: BadLines) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=unique_keys)
        except RepeatedKey as repeated:
            problems.add(path, number, f"the key '{repeated}' is given twice; keep one of them", row=line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "too many digits or brackets in a row"
            problems.add(path, number, f"the line is not JSON ({reason}); it must be one object", row=line)
        else:
            if isinstance(row, dict):
                yield number, row
            else:
                problems.add(path, number, 'the line is JSON, but no object; it must look like {"audio": ...}', row=row)


def _from_whole_json(path: Path, text: str) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a list, numbered by the lines on which they begin, or of an object, numbered from 1."""
    try:
        whole = json.loads(text, object_pairs_hook=unique_keys)
    except RepeatedKey as repeated:
        raise TableError(f"{path}: the key '{repeated}' is given twice; keep one of them") from None
    except json.JSONDecodeError as error:
        what = f"not JSON ({error.msg}); it must be one object a line, or one list of objects"
        raise TableError(f"{path}:{error.lineno}: {what}") from None
    except (ValueError, RecursionError):
        what = "not JSON that can be read: there are too many digits or brackets in a row; correct it"
        raise TableError(f"{path}:1: {what}") from None
    if isinstance(whole, dict) and len(whole) == 1 and isinstance(next(iter(whole.values())), list):
        whole = next(iter(whole.values()))  # {"data": [...]}
    if isinstance(whole, dict) and whole and all(isinstance(row, dict) for row in whole.values()):
        whole = [{"id": name, **row} for name, row in whole.items()]
    if not isinstance(whole, list) or not all(isinstance(row, dict) for row in whole):
        raise TableError(f"{path}: JSON, but no rows; write one object a line, or one list of objects")
    return list(zip(_lines_of_objects(text, len(whole)), whole, strict=True))


def _lines_of_objects(text: str, count: int) -> list[int]:
    """The lines on which the first `count` objects inside a JSON list begin; 1, 2, … where it is no list."""
    start = text.find("[")
    if text.lstrip()[0] != "[":
        return list(range(1, count + 1))
    decoder, lines, position, line = json.JSONDecoder(), [], start + 1, text.count("\n", 0, start) + 1
    for _ in range(count):
        begin = text.index("{", position)
        line += text.count("\n", position, begin)
        lines.append(line)
        _, position = decoder.raw_decode(text, begin)
        line += text.count("\n", begin, position)
    return lines


def _flattened(row: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested objects under names such as `audio.path`."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    """A value of JSON as a table has it."""
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)
