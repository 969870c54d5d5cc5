"""What all readers of the user's own data share: bad lines with their reasons, and the durations of audio files."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import MISSING, did_you_mean, expand_home, read_problem, why_missing
from hybrid_asr.common.problems import SHOWN, Problems
from hybrid_asr.data.file_names import how_otherwise, spelled_otherwise
from hybrid_asr.data.manifest import Utterance

LARGEST = 1 << 30  # bytes of a table
CUT_S = 0.1  # how far past its recording a segment may end: its end is cut off, and told

NO_AUDIO, NO_TEXT = "audio that cannot be read", "no transcript"
BAD_TIMES, BAD_LINE = "times that do not fit", "a line that cannot be used"
SAME_ID, BAD_SET = "an id that was used before", "an unknown set"


class TableError(UserError):
    """A source of the user's own data that cannot be used; the message names file, line and remedy."""


class LineError(Exception):
    """What is wrong with one line, with the remedy; `kind` is the name under which such lines are counted."""

    def __init__(self, what: str, kind: str = BAD_LINE) -> None:
        super().__init__(what)
        self.kind = kind


class Row(NamedTuple):
    """An utterance with the set that its source names, and file and line for messages; `source` is the line itself."""

    utterance: Utterance
    subset: str | None
    file: Path
    line: int
    source: Any = None


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """A line that is left out: where it stands, why, under which name it is counted, and what it said."""

    file: str
    line: int
    id: str | None
    reason: str
    kind: str
    row: Any


class BadLines(Problems):
    """The lines of a source that cannot be used: all of them are an error, or are left out and named."""

    def __init__(self) -> None:
        super().__init__()
        self.rejected: list[Rejected] = []

    def add(
        self, file: Path, line: int, what: str, *, kind: str = BAD_LINE, id: str | None = None, row: Any = None
    ) -> None:
        """Note that line `line` of `file`, which says `row`, has the problem `what`, which ends with the remedy."""
        super().add(file, line, what)
        self.rejected.append(Rejected(file=str(file), line=line, id=id, reason=what, kind=kind, row=row))

    def raise_all(self, *, kept: bool = False) -> None:
        """Raise TableError if anything was noted, counted by kind.

        It names the option that leaves such lines out or, where that was `kept` to, says that no other line is left.
        """
        try:
            self.raise_any(TableError)
        except TableError as error:
            kinds = Counter(one.kind for one in self.rejected).most_common()
            counted = ", ".join(f"{count} with {kind}" for kind, count in kinds)
            error = f"{error}: {counted}" if len(self.rejected) > SHOWN and len(kinds) > 1 else error
            end = (
                "no other lines are left"
                if kept
                else "to leave such lines out, named in rejected.jsonl, add --keep-going"
            )
            raise TableError(f"{error}\n{end}") from None


class AudioDurations:
    """The headers of audio files, each read once; what was cut from segments to fit them, and what is in doubt."""

    def __init__(self) -> None:
        self._infos: dict[Path, io.AudioInfo | str] = {}
        self._cut: list[str] = []
        self._notes: list[str] = []

    def of_segment(
        self, path: Path, start: float = 0.0, end: float | None = None, *, channel: int | None = None
    ) -> float:
        """Seconds from `start` to `end` (None: the end of the file). Raises LineError where the file lacks them.

        An end up to CUT_S past the file is cut to it, since tables round their times; `messages` tells.
        """
        info = self.of_file(path)
        seconds = info.duration_s
        if channel is not None and channel > info.channels:
            raise LineError(f"audio {path} has no channel {channel}, only {info.channels}; correct it", NO_AUDIO)
        if end is not None and end > seconds + CUT_S + 1e-6:
            what = f"audio {path} lasts {seconds:.2f} s, the entry ends at {end:.2f} s; correct its times"
            raise LineError(what, BAD_TIMES)
        last = seconds if end is None else end
        if not (0 <= start < min(last, seconds)):
            what = f"nothing of audio {path} lies between {start:.2f} and {last:.2f} s; correct its times"
            raise LineError(what, BAD_TIMES)
        if last > seconds + io.END_TOLERANCE_S:
            self._cut.append(f"{path} by {last - seconds:.3f} s")
            last = seconds
        return last - start

    def messages(self) -> list[str]:
        """What was cut, and what is doubtful about the files, as warnings for the terminal."""
        told = []
        if self._cut:
            ends = "segment ends" if len(self._cut) == 1 else "segments end"
            told = [f"warning: {len(self._cut)} {ends} up to {CUT_S} s past the recording, cut: {first_few(self._cut)}"]
        told += [f"warning: {note}" for note in self._notes[:SHOWN]]
        more = len(self._notes) - SHOWN
        return told + ([f"warning: ... and {more} more such files, {len(self._notes)} in all"] if more > 0 else [])

    def of_file(self, path: Path) -> io.AudioInfo:
        """The header of a file. Raises LineError where it cannot be read."""
        if path not in self._infos:
            try:
                self._infos[path] = info = io.info(path)
                self._notes += info.notes
            except io.AudioError as error:
                self._infos[path] = str(error)
        info = self._infos[path]
        if isinstance(info, str):
            raise LineError(info, NO_AUDIO)
        return info


def check_characters(texts: Iterable[str]) -> None:
    """JSON can hold half of a character, which no file can. Raises LineError."""
    if any("\ud800" <= letter <= "\udfff" for text in texts if not text.isascii() for letter in text):
        raise LineError("a text contains half of a surrogate pair; the program that wrote it broke a character")


def first_few(names: Sequence[str]) -> str:
    """The first few of `names`, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def passed_over(folder: Path, paths: Iterable[Path], rows: Sequence[Row]) -> list[str]:
    """A note that names those of `paths`, which lie in `folder`, whose audio no row has; none where there are none."""
    audio = {Path(name) for name in {row.utterance.audio for row in rows}}
    used = audio | {parent for path in audio for parent in path.parents}
    names = [path.name + "/" * path.is_dir() for path in paths if resolved(path) not in used]
    return [f"note: {folder}: passed over: {first_few(names)}"] if names else []


@contextlib.contextmanager
def collect_errors(
    problems: BadLines, file: Path, line: int, *, id: str | None = None, row: Any = None
) -> Iterator[None]:
    """Add a LineError of the block to `problems` as one of that line, and go on."""
    try:
        yield
    except LineError as error:
        problems.add(file, line, str(error), kind=error.kind, id=id, row=row)


def read_lines(path: Path, *, needed_for: str) -> list[str]:
    """The lines of a UTF-8 file, without a byte order mark. Raises TableError."""
    problem = read_problem(path, largest=LARGEST)
    if problem:
        near = did_you_mean(path) if problem == MISSING else ""
        raise TableError(f"{path}: {problem}; {needed_for}{near}")
    return decoded_lines(path, path.read_bytes())


def decoded_lines(path: Path, content: bytes) -> list[str]:
    """The lines of what was read from `path`, which is UTF-8, or UTF-16 with its mark. Raises TableError."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        content = _from_utf16(path, content)
    zero = content.find(b"\0")
    if zero >= 0:
        line = content.count(b"\n", 0, zero) + 1
        raise TableError(f"{path}:{line}: there is a zero byte, which no text has; save it as text in UTF-8")
    try:
        # not splitlines(), which also cuts at U+2028 inside a transcript
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = "save it as UTF-8, for instance with iconv -f latin1 -t utf-8 if it was written on Windows"
        raise TableError(f"{path}:{line}: the file is not UTF-8; {what}") from None


def resolved(path: Path) -> Path:
    """`path` made absolute, without links."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # of links in a circle, or with a zero byte: reading it tells
        return path


def find_audio(folder: Path, written: str) -> Path:
    """The file that a line means: beside the file that names it or, as other toolkits have it, in the current folder.

    A leading `~` is the home folder. Raises LineError where there is no such file.
    """
    elsewhere = expand_home(written)
    beside = folder / elsewhere
    if read_problem(beside) != MISSING:
        return resolved(beside)
    if read_problem(elsewhere) == MISSING:
        near = spelled_otherwise(beside)
        hint = (
            f"there is {near.name}, {how_otherwise(beside, near)}; correct the line" if near else why_missing(written)
        )
        raise LineError(f"audio {beside}: {MISSING}; {hint}", NO_AUDIO)
    return resolved(elsewhere)


def _from_utf16(path: Path, content: bytes) -> bytes:
    """The UTF-8 of what begins with the byte order mark of UTF-16, as Excel writes 'Unicode text'."""
    try:
        return content.decode("utf-16").encode("utf-8")
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise TableError(f"{path}: begins as UTF-16, but is none; save it as UTF-8") from None
