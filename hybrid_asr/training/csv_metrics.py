"""Writes `metrics.csv`: one row a step or an epoch, which survives interruptions."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from hybrid_asr.common.files import write_text
from hybrid_asr.training.metrics import read_table


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
        """What Lightning calls this logger."""
        return "csv"

    @property
    def version(self) -> str:
        """Nothing: there is one file a run."""
        return ""

    @rank_zero_only
    def continue_from(self, step: int) -> None:
        """Read what an earlier process wrote and forget what lies behind `step`: it is about to be done again."""
        if self.path.is_file():
            columns, rows = read_table(self.path)
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
