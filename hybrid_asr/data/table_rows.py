"""What tables and Kaldi folders share: mistakes by line, lengths of audio files, the split into sets."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import read_problem
from hybrid_asr.data.manifest import Problems, Utterance

SETS = ("train", "valid", "test")
ALIASES = {"training": "train", "dev": "valid", "validation": "valid"}
LARGEST = 1 << 30  # bytes of a table
HELD_OUT = 0.1  # the chance of an utterance or a speaker to go to a set that the source does not name

Sets = dict[str, list[Utterance]]


class TableError(UserError):
    """A table or a Kaldi folder that cannot be used; the message names file, line and remedy."""


class Mistake(Exception):
    """What is wrong with one line, with the remedy."""


class Row(NamedTuple):
    """An utterance with the set that its source names, and its place for messages."""

    utterance: Utterance
    subset: str | None
    file: Path
    line: int


class AudioFiles:
    """The length of every audio file, read once."""

    def __init__(self) -> None:
        self._seconds: dict[Path, float | str] = {}

    def segment(self, path: Path, start: float = 0.0, end: float | None = None) -> float:
        """Seconds from `start` to `end` (None: the end of the file). Raises Mistake where the file lacks them."""
        seconds = self._look(path)
        if end is not None and end > seconds + io.END_TOLERANCE_S:
            raise Mistake(f"audio {path} lasts {seconds:.2f} s, the entry ends at {end:.2f} s; correct its times")
        duration = (seconds if end is None else end) - start
        if not (start >= 0 and duration > 0):
            last = f"{seconds:.2f}" if end is None else f"{end:.2f}"
            raise Mistake(f"nothing of audio {path} lies between {start:.2f} and {last} s; correct its times")
        return duration

    def _look(self, path: Path) -> float:
        if path not in self._seconds:
            try:
                self._seconds[path] = io.info(path).duration_s
            except io.AudioError as error:
                self._seconds[path] = str(error)
        seconds = self._seconds[path]
        if isinstance(seconds, str):
            raise Mistake(seconds)
        return seconds


@contextlib.contextmanager
def noting(problems: Problems, file: Path, line: int) -> Iterator[None]:
    """Note a Mistake in the block as one of that line, and go on."""
    try:
        yield
    except Mistake as mistake:
        problems.add(file, line, str(mistake))


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


def finish(problems: Problems, rows: list[Row], source: Path) -> Sets:
    """Check that every id stands once, raise what was noted, and put the utterances into sets."""
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
    return _hold_out(sets, source)


def _hold_out(sets: Sets, source: Path) -> Sets:
    """Take sets that are empty out of train: speakers or utterances whose hash falls into their tenth, at least one."""
    missing = [name for name in ("test", "valid") if not sets[name]]
    speakers = {utterance.speaker for utterance in sets["train"]}
    by_speaker = None not in speakers and len(speakers) >= len(SETS)
    units = {_unit(utterance, by_speaker) for utterance in sets["train"]}
    if len(units) <= len(missing):
        raise TableError(
            f"{source}: {len(units)} utterances are too few to take {' and '.join(missing)} out of train; add more"
        )
    draws = sorted((int(hashlib.sha256(unit.encode()).hexdigest()[:13], 16) / 16**13, unit) for unit in units)
    goes: dict[str, str] = {}
    for name in missing:
        low = ("test", "valid").index(name) * HELD_OUT
        goes |= {unit: name for draw, unit in draws if low <= draw < low + HELD_OUT and unit not in goes}
        if name not in goes.values():
            goes[next(unit for _, unit in draws if unit not in goes)] = name
    if all(unit in goes for unit in units):  # tiny sources only
        goes = {unit: name for name, (_, unit) in zip(missing, draws, strict=False)}
    split = {name: list(utterances) for name, utterances in sets.items()}
    split["train"] = []
    for utterance in sets["train"]:
        split[goes.get(_unit(utterance, by_speaker), "train")].append(utterance)
    return split


def _unit(utterance: Utterance, by_speaker: bool) -> str:
    return utterance.speaker or "" if by_speaker else utterance.id
