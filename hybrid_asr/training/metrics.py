"""`metrics.csv`: one row a step or an epoch, which survives interruptions."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from hybrid_asr.errors import UserError
from hybrid_asr.files import why_unreadable, write_text

_LARGEST = 1 << 30  # bytes
_DIGITS = 19  # of a step, at most
_REMEDY = "correct it, or move the file away: the training writes a new one"


class MetricsError(UserError):
    """A `metrics.csv` that cannot be read; the message names file and line."""


class CsvMetrics(Logger):
    """Appends rows to a file; when a new column appears the file is written again, whole.

    Lightning's own CSVLogger deletes an existing file when a training is continued.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        self.columns: list[str] = ["step", "epoch"]
        self.rows: list[dict[str, str]] = []

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @rank_zero_only
    def continue_from(self, step: int) -> None:
        """Read what an earlier process wrote and forget what lies behind `step`: it is about to be done again."""
        if self.path.is_file():
            columns, rows = _read(self.path)
            self.columns = columns or self.columns
            self.rows = [row for row in rows if int(row["step"]) <= step]
        self._write_all()

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Add a row; values keep all their digits."""
        row = {name: repr(value) if isinstance(value, float) else str(value) for name, value in metrics.items()}
        row["step"] = str(step)
        self.rows.append(row)
        new = [name for name in row if name not in self.columns]
        if new:
            self.columns += new
            self._write_all()
            return
        try:
            with self.path.open("r+", newline="", encoding="utf-8") as file:  # not "a", which would make a new file
                file.seek(0, io.SEEK_END)
                csv.DictWriter(file, self.columns, lineterminator="\n").writerow(row)
        except OSError as error:
            error.filename = str(self.path)  # the system names it only if it cannot be opened
            raise

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The configuration has a file of its own."""

    def _write_all(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue(), folder="expect")


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a `metrics.csv`, all but a last one that a crash has torn.

    Raises MetricsError that names the line of what is no number, has no step, or does not fit the header.
    """
    return _read(path)[1]


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and the rows."""
    problem = why_unreadable(path, largest=_LARGEST)
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
    found = []
    for line, cells in enumerate(rows[1:], 2):
        wrong = _wrong(columns, cells)
        if wrong is None:
            found.append(dict(zip(columns, cells, strict=True)))
        elif line < len(rows):
            raise MetricsError(f"{path}:{line}: {wrong}; {_REMEDY}")
    return columns, found


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
