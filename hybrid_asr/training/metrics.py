"""Reads `metrics.csv`, which has one row a step or an epoch."""

import csv
import io
from pathlib import Path

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import read_problem

_LARGEST = 1 << 30  # bytes
_DIGITS = 19  # of a step, at most
_REMEDY = "correct it, or move the file away: the training writes a new one"


class MetricsError(UserError):
    """A `metrics.csv` that cannot be read; the message names file and line."""


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a `metrics.csv`, all but a last one that a crash has torn.

    Raises MetricsError that names the line of what is no number, has no step, or does not fit the header.
    """
    return read_table(path)[1]


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns, and the rows as `read_metrics` gives them."""
    problem = read_problem(path, largest=_LARGEST)
    if problem:
        raise MetricsError(f"{path}: {problem}; {_REMEDY}")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MetricsError(f"{path}:{line}: is not UTF-8; {_REMEDY}") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        rows = list(reader)
    except csv.Error as error:
        raise MetricsError(f"{path}:{reader.line_num}: is no row of numbers: {error}; {_REMEDY}") from None
    if not rows:
        raise MetricsError(f"{path}: is empty; {_REMEDY}")
    columns = rows[0]
    if "step" not in columns or len(set(columns)) < len(columns):
        raise MetricsError(
            f"{path}:1: the columns are {', '.join(columns)}, without 'step' or one of them twice; {_REMEDY}"
        )
    complete = []
    for line, cells in enumerate(rows[1:], 2):
        wrong = _wrong(columns, cells)
        if wrong is None:
            complete.append(dict(zip(columns, cells, strict=True)))
        elif line < len(rows):
            raise MetricsError(f"{path}:{line}: {wrong}; {_REMEDY}")
    return columns, complete


def _wrong(columns: list[str], cells: list[str]) -> str | None:
    """What is wrong with a row."""
    if len(cells) != len(columns):
        return f"{len(cells)} values in a row, the header has {len(columns)}"
    for name, cell in zip(columns, cells, strict=True):
        if name == "step" and not (cell.isascii() and cell.isdigit() and len(cell) < _DIGITS):
            return f"the step '{cell}' is no whole number"
        try:
            float(cell or 0)
        except ValueError:
            return f"'{cell}' in the column '{name}' is no number"
    return None
