"""CSV and TSV whose first line names the columns."""

import csv
import io

from hybrid_asr.scoring.formats.fields import find_fields, is_header
from hybrid_asr.scoring.formats.source import Line, Source, Transcripts


def read_table(source: Source, delimiter: str) -> Transcripts:
    """The texts in a table; see `fields` for the names of its columns. Raises ScoringError for a damaged row."""
    rows = _rows(source, _delimiter(source, delimiter))
    _, header = rows[0]
    if len(set(header)) < len(header):
        source.refuse(1, "two columns have the same name; rename one of them")
    if not is_header(header) and source.chosen_field is None:
        kaldi = f"lines of 'id text' without such names are read with {source.option('format')} kaldi"
        source.refuse(1, f"does not name a column of ids and one of texts, but {', '.join(header[:12])}; {kaldi}")
    fields = find_fields(source, header)
    places = {name: header.index(name) for name in fields if name is not None}

    def one(number: int, row: list[str]) -> tuple[int, str, Line]:
        if len(row) != len(header):
            source.refuse(number, f"has {len(row)} columns, the first line has {len(header)}; put texts in quotes")
        speaker = row[places[fields.speaker]] if fields.speaker else ""
        source.passed_over.update(name for name in header if name not in fields)
        return number, row[places[fields.id]], Line(row[places[fields.text]], speaker or None)

    if len(rows) < 2:
        source.refuse(1, "has no row below the names of its columns; check the file")
    return source.by_id(source.each(rows[1:], one))


def _delimiter(source: Source, expected: str) -> str:
    """What stands between the cells: `expected`, or another where only that gives names that are known."""
    if source.chosen_field is not None or may_be_table(source, expected):
        return expected
    return next((other for other in (";", "\t", ",") if may_be_table(source, other)), expected)


def may_be_table(source: Source, delimiter: str) -> bool:
    """Whether the first line names columns that are known."""
    return is_header(source.lines[0][1].split(delimiter)) and delimiter in source.lines[0][1]


def _rows(source: Source, delimiter: str) -> list[tuple[int, list[str]]]:
    quoting = csv.QUOTE_MINIMAL if delimiter != "\t" else csv.QUOTE_NONE
    reader = csv.reader(io.StringIO(source.text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    rows = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, [cell.strip() for cell in row]))
    except csv.Error as error:
        source.refuse(reader.line_num, f"is not a row of a table: {error}; put texts in double quotes")
    return rows
