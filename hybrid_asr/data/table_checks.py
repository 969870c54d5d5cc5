"""What tables and Kaldi folders share: errors collected by line, durations of audio files, the sets of utterances."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_args

from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import read_problem
from hybrid_asr.data.manifest import Problems, Utterance
from hybrid_asr.data.splits import SETS, HeldOut, Sets, SplitError, hold_out

ALIASES = {"training": "train", "dev": "valid", "validation": "valid"}
LARGEST = 1 << 30  # bytes of a table


class TableError(UserError):
    """A table or a Kaldi folder that cannot be used; the message names file, line and remedy."""


class LineError(Exception):
    """What is wrong with one line, with the remedy."""


class Row(NamedTuple):
    """An utterance with the set that its source names, and file and line for messages."""

    utterance: Utterance
    subset: str | None
    file: Path
    line: int


class AudioDurations:
    """The duration of every audio file, read once."""

    def __init__(self) -> None:
        self._seconds: dict[Path, float | str] = {}

    def of_segment(self, path: Path, start: float = 0.0, end: float | None = None) -> float:
        """Seconds from `start` to `end` (None: the end of the file). Raises LineError where the file lacks them."""
        seconds = self._of_file(path)
        if end is not None and end > seconds + io.END_TOLERANCE_S:
            raise LineError(f"audio {path} lasts {seconds:.2f} s, the entry ends at {end:.2f} s; correct its times")
        duration = (seconds if end is None else end) - start
        if not (start >= 0 and duration > 0):
            last = f"{seconds:.2f}" if end is None else f"{end:.2f}"
            raise LineError(f"nothing of audio {path} lies between {start:.2f} and {last} s; correct its times")
        return duration

    def _of_file(self, path: Path) -> float:
        if path not in self._seconds:
            try:
                self._seconds[path] = io.info(path).duration_s
            except io.AudioError as error:
                self._seconds[path] = str(error)
        seconds = self._seconds[path]
        if isinstance(seconds, str):
            raise LineError(seconds)
        return seconds


@contextlib.contextmanager
def collect_errors(problems: Problems, file: Path, line: int) -> Iterator[None]:
    """Add a LineError of the block to `problems` as one of that line, and go on."""
    try:
        yield
    except LineError as error:
        problems.add(file, line, str(error))


def read_lines(path: Path, *, needed_for: str) -> list[str]:
    """The lines of a UTF-8 file, without a byte order mark. Raises TableError."""
    problem = read_problem(path, largest=LARGEST)
    if problem:
        raise TableError(f"{path}: {problem}; {needed_for}")
    content = path.read_bytes()
    zero = content.find(b"\0")
    if zero >= 0:
        line = content.count(b"\n", 0, zero) + 1
        raise TableError(f"{path}:{line}: there is a zero byte, which no text has; save it as text in UTF-8")
    try:
        # not splitlines(), which also cuts at U+2028 inside a transcript
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TableError(f"{path}:{line}: the file is not UTF-8; save it as UTF-8") from None


def resolved(path: Path) -> Path:
    """`path` made absolute, without links."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # of links in a circle, or with a zero byte: reading it tells
        return path


def into_sets(problems: Problems, rows: list[Row], source: Path) -> Sets:
    """The utterances by set, after a check that ids are unique; sets that no row names are held out of train.

    Raises TableError with all problems that were collected.
    """
    seen: dict[str, Row] = {}
    for row in rows:
        earlier = seen.setdefault(row.utterance.id, row)
        if earlier is not row:
            what = (
                f"the id '{row.utterance.id}' is also at {earlier.file}:{earlier.line}; give every utterance its own id"
            )
            problems.add(row.file, row.line, what)
    problems.raise_any(TableError)
    if not rows:
        raise TableError(f"{source}: there are no utterances; add some")
    sets: Sets = {name: [] for name in SETS}
    for row in rows:
        sets[row.subset or "train"].append(row.utterance)
    if not sets["train"]:
        raise TableError(f"{source}: no utterance belongs to train; put most of them there")
    missing: list[HeldOut] = [name for name in get_args(HeldOut) if not sets[name]]
    try:
        return sets | hold_out(sets["train"], missing)
    except SplitError as error:
        raise TableError(f"{source}: {error}") from None
