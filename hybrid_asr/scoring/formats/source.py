"""A file of transcripts before anything in it is understood, and what it is understood as."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, NoReturn, TypeVar

from hybrid_asr.common.files import A_FOLDER, MISSING, did_you_mean, read_problem
from hybrid_asr.common.problems import Problems, examples
from hybrid_asr.scoring.markup import MarkupError, is_marked, parse
from hybrid_asr.scoring.scores import ScoringError

Format = Literal["trn", "stm", "ctm", "kaldi", "jsonl", "csv", "tsv", "recogs"]
Role = Literal["ref", "hyp", "against"]
NAMES: dict[Format, str] = {
    "trn": "trn",
    "stm": "stm",
    "ctm": "ctm",
    "kaldi": "Kaldi text",
    "jsonl": "JSON lines",
    "csv": "CSV",
    "tsv": "TSV",
    "recogs": "icefall's recogs",
}
HYPOTHESES = "hypotheses.jsonl"  # what `decode` writes
SOME = "give JSON lines, Kaldi text, trn, stm, ctm, CSV or TSV"
_LARGEST = 1 << 30  # bytes
_NO_TEXT = {  # the first bytes of what is no text in UTF-8, what it is, and the remedy
    b"\x1f\x8b": "is compressed by gzip; unpack it",
    b"PK\x03\x04": "is a spreadsheet or another zip archive; save it as CSV",
    b"PAR1": "is a Parquet file; write it as CSV or as JSON lines",
    b"\xff\xfe": "is not text in UTF-8 but in UTF-16; save it as UTF-8",
    b"\xfe\xff": "is not text in UTF-8 but in UTF-16; save it as UTF-8",
}
Raw = TypeVar("Raw")
Parsed = TypeVar("Parsed")


class _BadLine(ScoringError):
    """A line that cannot be used."""

    def __init__(self, path: Path, number: int, what: str) -> None:
        super().__init__(f"{path}:{number}: {what}")
        self.number, self.what = number, what


class Line(NamedTuple):
    """The text of one utterance in a file, and its speaker where the file names one.

    A `marked` text holds alternatives or optional words, as NIST writes them.
    """

    text: str
    speaker: str | None = None
    marked: bool = False


class Recording(NamedTuple):
    """What stm and ctm call a recording: a file's name and a channel."""

    file: str
    channel: str


class Segment(NamedTuple):
    """A part of a recording, in seconds; one that is not `scored` covers what nobody transcribed."""

    recording: Recording
    begin_s: float
    end_s: float
    line: Line
    scored: bool
    id: str


class TimedText(NamedTuple):
    """A word of a recording, or several that stand for each other, and the middle of its time in seconds."""

    recording: Recording
    middle_s: float
    text: str


@dataclass(frozen=True)
class Transcripts:
    """Texts by the ids of their utterances."""

    lines: dict[str, Line]


@dataclass(frozen=True)
class Segments:
    """The segments of an stm file, in its order."""

    segments: list[Segment]


@dataclass(frozen=True)
class TimedTexts:
    """The words of a ctm file, in its order."""

    texts: list[TimedText]
    marked: bool


Content = Transcripts | Segments | TimedTexts


@dataclass
class Source:
    """A file and how it is to be read; `role` names the options that decide. `passed_over` counts what is not used."""

    path: Path
    role: Role
    form: Format | None = None
    chosen_field: str | None = None
    marks: bool = True  # whether '{ a / b }' and '(word)' are more than words, in formats that have them
    text: str = ""
    passed_over: Counter[str] = field(default_factory=Counter)
    fields: frozenset[str] = frozenset()  # of JSON lines and tables, plainly spelled

    def __post_init__(self) -> None:
        self.text = _decoded(self.path)

    @property
    def lines(self) -> list[tuple[int, str]]:
        """The lines that are not empty, with their numbers."""
        # Not splitlines(): a transcript may hold U+2028 and its like.
        return [(number, line.strip()) for number, line in enumerate(self.text.split("\n"), start=1) if line.strip()]

    @property
    def uncommented(self) -> list[tuple[int, str]]:
        """The lines that are neither empty nor NIST's comments, which begin with two semicolons."""
        return [(number, line) for number, line in self.lines if not line.startswith(";;")]

    def option(self, kind: Literal["format", "field"]) -> str:
        """The option that decides how this file is read."""
        return f"--{self.role}-{kind}"

    def refuse(self, number: int, what: str) -> NoReturn:
        """Raise ScoringError about a line."""
        raise _BadLine(self.path, number, what)

    def each(self, lines: Iterable[tuple[int, Raw]], parse: Callable[[int, Raw], Parsed]) -> list[Parsed]:
        """What `parse` makes of each numbered line. Raises one ScoringError for all lines that it refuses."""
        problems, parsed = Problems(), []
        for number, content in lines:
            try:
                parsed.append(parse(number, content))
            except _BadLine as bad:
                problems.add(self.path, bad.number, bad.what)
        problems.raise_any(ScoringError)
        return parsed

    def line(self, number: int, text: str, speaker: str | None = None) -> Line:
        """A text as a format with alternatives holds it. Raises ScoringError where its braces do not close."""
        marked = self.marks and is_marked(text)
        if marked:
            try:
                parse(text)
            except MarkupError as error:
                self.refuse(number, f"{error}, or give --markup none if these characters are words")
        return Line(text, speaker, marked)

    def by_id(self, found: Iterable[tuple[int, str, Line]]) -> Transcripts:
        """Lines with their numbers and ids, by their ids. Raises ScoringError for an id that occurs twice."""
        lines: dict[str, Line] = {}
        problems = Problems()
        for number, key, line in found:
            if key in lines:
                name = NAMES[self.form] if self.form else "text"
                own = "; each line must begin with an id of its own" if self.form == "kaldi" else ""
                problems.add(self.path, number, f"utterance '{key}' occurs a second time (read as {name}){own}")
            lines[key] = line
        problems.raise_any(ScoringError)
        return Transcripts(lines)


def joined(texts: Iterable[str]) -> str:
    """Several texts as one."""
    return " ".join(text for text in texts if text)


def recording_names(recordings: Iterable[Recording]) -> Iterator[tuple[Recording, str]]:
    """Each recording with its name as an utterance: that of its file, with the channel where a file has several."""
    distinct = dict.fromkeys(recordings)
    channels = Counter(recording.file for recording in distinct)
    for recording in distinct:
        yield recording, recording.file if channels[recording.file] == 1 else "-".join(recording)


def _decoded(path: Path) -> str:
    problem = read_problem(path, pipes=True, largest=_LARGEST)
    if problem:
        inside = sorted(path.glob(HYPOTHESES)) or sorted(path.glob(f"decode/*/*/{HYPOTHESES}"))
        if problem == A_FOLDER and inside:
            raise ScoringError(f"{path}: {problem}; name the file: {examples([str(file) for file in inside])}")
        near = did_you_mean(path) if problem == MISSING else ""
        raise ScoringError(f"{path}: {problem}; {SOME}{near}")
    content = path.read_bytes()
    if what := next((what for magic, what in _NO_TEXT.items() if content.startswith(magic)), None):
        raise ScoringError(f"{path}: {what}")
    try:
        text = content.decode("utf-8-sig")
        odd = text.find("\0")
        line = text.count("\n", 0, odd) + 1 if odd >= 0 else 0
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        if b"\0" not in content:
            raise ScoringError(
                f"{path}:{line}: is not text in UTF-8: byte 0x{content[error.start]:02X} is none; convert it, as by "
                "iconv -f CP1252 -t UTF-8 if it is Western"
            ) from None
        text = ""
    if line:
        raise ScoringError(f"{path}:{line}: is not text in UTF-8; {SOME}")
    if not text.strip():
        raise ScoringError(f"{path}: is empty; {SOME}")
    return text
