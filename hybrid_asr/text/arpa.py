r"""N-grams in ARPA's format, as SRILM, KenLM, IRSTLM, MITLM, pocolm and CMU's toolkit write it.

    \data\
    ngram 1=3
    \1-grams:
    -0.5 go -0.2    the logarithm of the probability to the base 10, the words, that of the back-off weight

Columns are separated by spaces or tabs; -99 and less stand for a probability of 0; what precedes \data\ is a remark.
What differs from the format and does no harm is read as it was meant, and told.
"""

import gzip
import io
import math
import re
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import read_problem
from hybrid_asr.common.problems import Problems, Tell, examples, tell_user
from hybrid_asr.text.ngram import BEGIN, END, UNKNOWN, Gram, Ngram

_LARGEST = 1 << 32  # bytes
_ROUNDING = 1e-3  # a logarithm so much above 0 is a probability of 1, rounded; IRSTLM writes such
_REMEDY = "make the file again with the tool that wrote it"
_NO_TEXT = {  # the first bytes of files that are no plain text, what they are, and the remedy
    b"BZh": "is compressed by bzip2; unpack it, or compress it by gzip",
    b"\xfd7zXZ": "is compressed by xz; unpack it, or compress it by gzip",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; unpack it, or compress it by gzip",
    b"PK\x03\x04": "is a zip archive; unpack it",
    b"\xff\xfe": "is UTF-16; save it as UTF-8",
    b"\xfe\xff": "is UTF-16; save it as UTF-8",
    b"mmap lm http://kheafield.com": "is KenLM's binary form; give the ARPA file that build_binary made it of",
    b"blmt": "is IRSTLM's binary form; compile-lm --text=yes makes an ARPA file of it",
    b"Qblmt": "is IRSTLM's binary form; compile-lm --text=yes makes an ARPA file of it",
}


class ArpaError(UserError):
    """An n-gram file that cannot be used; the message names file and line."""


def read_arpa(path: Path | str, *, tell: Tell = tell_user) -> Ngram:
    """Read an ARPA file, which may be gzipped.

    Told is: a log probability just above 0, a back-off weight that nothing can use, counts other than announced, <S>
    and <UNK> in capitals, words that no text can have. Raises ArpaError: no such file, or one that breaks the format;
    the message names the lines.
    """
    if reason := read_problem(path, largest=_LARGEST):
        raise ArpaError(f"{path}: {reason}; give an n-gram in ARPA's format")
    try:
        with open_text(path) as file:
            return _Reader(path, file).ngram(tell)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ArpaError(f"{path}: is compressed and damaged ({error}); {_REMEDY}") from None
    except UnicodeDecodeError as error:
        where = f"{path}:{_undecodable_line(path)}"
        raise ArpaError(f"{where}: is not UTF-8 ({error.reason}); give an n-gram in ARPA's format") from None


@contextmanager
def open_text(path: Path | str) -> Iterator[io.TextIOWrapper]:
    """Open a text file that may be gzipped, as n-gram files often are. Raises UserError for what is no text file."""
    with _unpacked(path) as file:
        start = file.peek(28)
        if reason := next((reason for magic, reason in _NO_TEXT.items() if start.startswith(magic)), None):
            raise UserError(f"{path}: {reason}")
        yield io.TextIOWrapper(file, encoding="utf-8-sig")


@contextmanager
def _unpacked(path: Path | str) -> Iterator[gzip.GzipFile | io.BufferedReader]:
    with Path(path).open("rb") as file:
        yield gzip.GzipFile(fileobj=file) if file.peek(2)[:2] == b"\x1f\x8b" else file


def _undecodable_line(path: Path | str) -> int:
    """The number of the first line that is not UTF-8."""
    with _unpacked(path) as file:
        for line, content in enumerate(file, 1):
            try:
                content.decode()
            except UnicodeDecodeError:
                return line
    raise AssertionError("a file that cannot be decoded has such a line")


class _Line(NamedTuple):
    """A line of the file; `number` counts from 1."""

    number: int
    text: str


class _Reader:
    """Parses an ARPA file, line by line; `odd` collects what is told, by what it is."""

    def __init__(self, path: Path | str, lines: Iterator[str]) -> None:
        self.path = Path(path)
        stripped = (_Line(number, line.strip(" \t\r\n\f\v")) for number, line in enumerate(lines, 1))
        self.lines = (line for line in stripped if line.text)
        self.words: dict[str, int] = {}
        self.log_probs: dict[Gram, float] = {}
        self.backoffs: dict[Gram, float] = {}
        self.problems = Problems()
        self.odd: dict[str, list[str]] = {}

    def ngram(self, tell: Tell) -> Ngram:
        """Parse the whole file. Raises ArpaError."""
        line = self._next("\\data\\")
        if line.text == "iARPA":
            raise self._error(line, "iARPA is a form of IRSTLM's own: compile-lm --text=yes makes an ARPA file of it")
        while line.text != "\\data\\":  # what comes before is a remark
            line = self._next("\\data\\")
        announced, line = self._counts()
        listed: list[int] = []
        while line.text != "\\end\\":
            if line.text not in (f"\\{len(listed) + 1}-grams:", f"\\{len(listed) + 1}-gram:"):
                raise self._error(line, f"expected '\\{len(listed) + 1}-grams:' or '\\end\\', got '{line.text[:40]}'")
            before = len(self.log_probs)
            line = self._section(len(listed) + 1)
            listed.append(len(self.log_probs) - before)
        self.problems.raise_any(ArpaError)
        self._check_counts(announced, listed)
        self._drop_useless_backoffs()
        words = self._checked_words()
        if rest := sum(1 for _ in self.lines):
            self._note("lines behind \\end\\ are not read", f"{rest} of them")
        for what, cases in self.odd.items():
            tell(f"note: {self.path}: {what}: {examples(cases)}")
        return Ngram(words, self.log_probs, self.backoffs)

    def _counts(self) -> tuple[list[int], _Line]:
        """How many n-grams of each order are announced, and the line that follows."""
        counts: list[int] = []
        line = self._next("ngram 1=COUNT")
        while line.text.startswith("ngram"):
            order, _, count = "".join(line.text.removeprefix("ngram").split()).partition("=")
            if order != str(len(counts) + 1) or not re.fullmatch("[0-9]{1,18}", count):
                raise self._error(line, f"expected 'ngram {len(counts) + 1}=COUNT', got '{line.text[:40]}'")
            counts.append(int(count))
            line = self._next("\\1-grams:")
        if not counts:
            raise self._error(line, "there are no unigrams, 'ngram 1=COUNT'")
        return counts, line

    def _check_counts(self, announced: list[int], listed: list[int]) -> None:
        """Tell counts that differ, as when lines were removed by hand; refuse an order of which nothing is there."""
        for order, count in enumerate(announced, 1):
            there = listed[order - 1] if order <= len(listed) else 0
            if there != count and not there:
                raise ArpaError(f"{self.path}: no {order}-gram is there, {count} were announced; {_REMEDY}")
            if there != count:
                self._note("counts differ from those announced", f"{there} {order}-grams, not {count}")
        if not listed or not listed[0]:
            raise ArpaError(f"{self.path}: there are no unigrams; {_REMEDY}")
        if len(listed) > len(announced):
            self._note("counts differ from those announced", f"there are {len(listed)}-grams, too")

    def _section(self, order: int) -> _Line:
        """The n-grams of one order; returns the line that follows them."""
        line = self._next("\\end\\")
        while not line.text.startswith("\\"):
            self._gram(order, line)
            line = self._next("\\end\\")
        return line

    def _gram(self, order: int, line: _Line) -> None:
        """Parse one n-gram: log probability, words, and perhaps the back-off weight."""
        plain = line.text.isascii()
        fields = line.text.split() if plain else [field.decode() for field in line.text.encode().split()]
        if len(fields) - order not in (1, 2):
            return self._bad(line, f"{len(fields)} columns, a {order}-gram has its log probability and {order} words")
        words = (
            fields[1 : order + 1] if plain else [unicodedata.normalize("NFC", word) for word in fields[1 : order + 1]]
        )
        if order == 1:
            self.words.setdefault(words[0], len(self.words))
        gram = tuple(self.words.get(word, -1) for word in words)
        if -1 in gram:
            return self._bad(line, f"'{words[gram.index(-1)]}' has no unigram")
        if gram in self.log_probs:
            why = "" if plain else ", perhaps in two forms of Unicode"
            return self._bad(line, f"'{' '.join(words)}' is listed twice{why}")
        log_prob = _number(fields[0])
        if not log_prob <= _ROUNDING:
            return self._bad(line, f"'{fields[0][:40]}' is no logarithm of a probability")
        if log_prob > 0:
            self._note("logarithms just above 0 are read as 0", f"{fields[0]} in line {line.number}")
        self.log_probs[gram] = min(log_prob, 0.0) * math.log(10)
        if len(fields) == order + 2:
            self.backoffs[gram] = _number(fields[-1]) * math.log(10)
            if math.isnan(self.backoffs[gram]):
                return self._bad(line, f"'{fields[-1][:40]}' is no back-off weight; a word has no space in it")
        return None

    def _drop_useless_backoffs(self) -> None:
        """No longer n-gram could use the weights of the longest; where they are not 0, tell so."""
        order = max(map(len, self.log_probs))
        for gram in [gram for gram in self.backoffs if len(gram) == order]:
            if (weight := self.backoffs.pop(gram)) != 0:
                what = f"back-off weights of {order}-grams, the longest, have no use"
                self._note(what, f"{weight / math.log(10):.4g}")

    def _checked_words(self) -> list[str]:
        """The words, the special ones as we write them. Raises ArpaError where no text could end."""
        words = list(self.words)
        for usual in (BEGIN, END, UNKNOWN):
            if usual.upper() in self.words and usual not in self.words:
                words[self.words[usual.upper()]] = usual
                self._note("written in capitals, and read as", usual)
        if END not in words:
            raise ArpaError(f"{self.path}: has no {END}, so that no text could end; estimate it with sentence ends")
        if odd := [repr(word) for word in words if not word.isascii() and word.split() != [word]]:
            self.odd["a space of another kind is in words, which no text has as one"] = odd
        return words

    def _next(self, awaited: str) -> _Line:
        line = next(self.lines, None)
        if line is None:
            self.problems.raise_any(ArpaError)
            raise ArpaError(f"{self.path}: ends before '{awaited}': it is cut short or not in ARPA's format; {_REMEDY}")
        return line

    def _note(self, what: str, case: str) -> None:
        self.odd.setdefault(what, []).append(case)

    def _bad(self, line: _Line, what: str) -> None:
        self.problems.add(self.path, line.number, f"{what}; {_REMEDY}")

    def _error(self, line: _Line, what: str) -> ArpaError:
        self.problems.raise_any(ArpaError)
        return ArpaError(f"{self.path}:{line.number}: {what}; {_REMEDY}")


def _number(text: str) -> float:
    """A logarithm; -99 and less are minus infinity, NaN is what is no number or infinitely large."""
    try:
        value = float(text)
    except ValueError:
        return math.nan
    if value <= -99:
        return -math.inf
    return value if value < math.inf else math.nan
