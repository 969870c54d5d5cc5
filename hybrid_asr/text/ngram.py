r"""Word n-grams with back-off in ARPA's format (Katz, 1987; Jelinek, 1990).

    P(w | h) = p(h w) where the file has the n-gram h w, else b(h) P(w | h without its first word)

The file holds logarithms of p and b to the base 10, this module natural ones; an n-gram without b has b = 1. A state
is the longest suffix of the history that the file has, so that the probability of a word depends on the state alone.
"""

import gzip
import io
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import read_problem
from hybrid_asr.text.normalize import normalize

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NO_WORD = -1  # a word that the n-gram gives a probability of 0
_LARGEST = 1 << 32  # bytes
_REMEDY = "make the file again with the tool that wrote it"

Gram = tuple[int, ...]


class ArpaError(UserError):
    """An n-gram file that cannot be used; the message names file and line."""


class Ngram:
    """An n-gram as an automaton. Words are numbered in the file's order; states are contexts, 0 is the empty one."""

    def __init__(self, words: Sequence[str], log_probs: dict[Gram, float], backoffs: dict[Gram, float]) -> None:
        """`log_probs` and `backoffs`, by n-gram, are natural logarithms; every word must have a unigram."""
        self.words = {word: number for number, word in enumerate(words)}
        order = max(map(len, log_probs))
        contexts = {gram[:-1] for gram in log_probs} | {gram for gram in log_probs if len(gram) < order} | set(backoffs)
        states = {gram: state for state, gram in enumerate(sorted(contexts, key=lambda gram: (len(gram), gram)))}
        self._backoffs = np.array([backoffs.get(gram, 0.0) for gram in states])
        self._shorter = np.array([_longest(gram[1:], states) for gram in states], np.int64)
        arcs = sorted((states[gram[:-1]] * len(words) + gram[-1], gram) for gram in log_probs)
        self._keys = np.array([key for key, _ in arcs], np.int64)
        self._log_probs = np.array([log_probs[gram] for _, gram in arcs])
        self._next = np.array([_longest(gram, states) for _, gram in arcs], np.int64)
        self.start = _longest((self.words[BEGIN],), states) if BEGIN in self.words else 0

    def number(self, word: str) -> int:
        """The word's number, or that of <unk>; NO_WORD where the file has neither."""
        return self.words.get(word, self.words.get(UNKNOWN, self.words.get(UNKNOWN.upper(), NO_WORD)))

    def advance(
        self, states: Int64[np.ndarray, " some"], words: Int64[np.ndarray, " some"]
    ) -> tuple[Float64[np.ndarray, " some"], Int64[np.ndarray, " some"]]:
        """The log probability, in nats, of each word in its state, and the state after it."""
        log_probs, after = np.zeros(len(states)), np.zeros(len(states), np.int64)
        log_probs[words == NO_WORD] = -np.inf
        pending, contexts = np.flatnonzero(words != NO_WORD), states[words != NO_WORD]
        while len(pending):
            keys = contexts * len(self.words) + words[pending]
            arcs = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            known = self._keys[arcs] == keys
            log_probs[pending[known]] += self._log_probs[arcs[known]]
            after[pending[known]] = self._next[arcs[known]]
            pending, contexts = pending[~known], contexts[~known]
            log_probs[pending] += self._backoffs[contexts]
            contexts = self._shorter[contexts]
        return log_probs, after

    def ending(self, states: Int64[np.ndarray, " some"]) -> Float64[np.ndarray, " some"]:
        """The log probability, in nats, that the sentence ends in each state."""
        return self.advance(states, np.full(len(states), self.words.get(END, NO_WORD)))[0]

    def score(self, sentence: Sequence[str]) -> float:
        """The log probability, in nats, of a whole sentence, its end included."""
        state, total = np.array([self.start]), 0.0
        for word in sentence:
            log_prob, state = self.advance(state, np.array([self.number(word)]))
            total += float(log_prob[0])
        return total + float(self.ending(state)[0])


def _longest(gram: Gram, states: dict[Gram, int]) -> int:
    """The state of the longest suffix of `gram` that is a state."""
    while gram not in states:
        gram = gram[1:]
    return states[gram]


def read_arpa(path: Path | str) -> Ngram:
    """Read an ARPA file, which may be gzipped.

    Raises ArpaError: no such file, or one that breaks the format; the message names the line.
    """
    if reason := read_problem(path, largest=_LARGEST):
        raise ArpaError(f"{path}: {reason}; give an n-gram in ARPA's format")
    try:
        with open_text(path) as file:
            return _Reader(path, file).ngram()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ArpaError(f"{path}: is compressed and damaged ({error}); {_REMEDY}") from None
    except UnicodeDecodeError as error:
        raise ArpaError(f"{path}: is not UTF-8 ({error.reason}); give an n-gram in ARPA's format") from None


@contextmanager
def open_text(path: Path | str) -> Iterator[io.TextIOWrapper]:
    """Open a text file that may be gzipped, as n-gram files often are."""
    with Path(path).open("rb") as file:
        packed = file.peek(2)[:2] == b"\x1f\x8b"
        yield io.TextIOWrapper(gzip.GzipFile(fileobj=file) if packed else file, encoding="utf-8-sig")


class _Line(NamedTuple):
    """A line of the file; `number` counts from 1."""

    number: int
    text: str


class _Reader:
    """Parses an ARPA file, line by line."""

    def __init__(self, path: Path | str, lines: Iterator[str]) -> None:
        self.path = path
        stripped = (_Line(number, line.strip()) for number, line in enumerate(lines, 1))
        self.lines = (line for line in stripped if line.text)
        self.words: dict[str, int] = {}
        self.log_probs: dict[Gram, float] = {}
        self.backoffs: dict[Gram, float] = {}

    def ngram(self) -> Ngram:
        """Parse the whole file. Raises ArpaError."""
        line = self._next("\\data\\")
        while line.text != "\\data\\":  # what comes before is a remark
            line = self._next("\\data\\")
        counts, line = self._counts()
        for order, count in enumerate(counts, 1):
            if line.text != f"\\{order}-grams:":
                raise self._error(line, f"expected '\\{order}-grams:', got '{line.text[:40]}'")
            line = self._section(order, count, line, highest=order == len(counts))
        if line.text != "\\end\\":
            raise self._error(line, f"expected '\\end\\', got '{line.text[:40]}'")
        if END not in self.words:
            raise ArpaError(f"{self.path}: has no {END}, so that no text could end; estimate it with sentence ends")
        return Ngram(list(self.words), self.log_probs, self.backoffs)

    def _counts(self) -> tuple[list[int], _Line]:
        """How many n-grams of each order there are, and the line that follows."""
        counts: list[int] = []
        line = self._next("ngram 1=…")
        while line.text.startswith("ngram"):
            order, _, count = line.text.removeprefix("ngram").replace(" ", "").partition("=")
            if order != str(len(counts) + 1) or not re.fullmatch("[0-9]{1,18}", count):
                raise self._error(line, f"expected 'ngram {len(counts) + 1}=COUNT', got '{line.text[:40]}'")
            counts.append(int(count))
            line = self._next("\\1-grams:")
        if not counts or not counts[0]:
            raise self._error(line, "there are no unigrams, 'ngram 1=COUNT'")
        return counts, line

    def _section(self, order: int, count: int, head: _Line, *, highest: bool) -> _Line:
        """The n-grams of one order; returns the line that follows them."""
        before, line = len(self.log_probs), self._next("\\end\\")
        while not line.text.startswith("\\"):
            self._gram(order, line, highest=highest)
            line = self._next("\\end\\")
        if (listed := len(self.log_probs) - before) != count:
            raise self._error(head, f"{listed} {order}-grams follow, {count} were announced")
        return line

    def _gram(self, order: int, line: _Line, *, highest: bool) -> None:
        """Parse one n-gram: log probability, words, and the back-off weight unless the order is the highest."""
        fields = line.text.split()
        if len(fields) - order not in ((1,) if highest else (1, 2)):
            raise self._error(line, f"{len(fields)} columns, a {order}-gram has its log probability and {order} words")
        words = [normalize(word, "none@1") for word in fields[1 : order + 1]]
        if order == 1:
            self.words.setdefault(words[0], len(self.words))
        if unknown := [word for word in words if word not in self.words]:
            raise self._error(line, f"'{unknown[0]}' has no unigram")
        gram = tuple(self.words[word] for word in words)
        if gram in self.log_probs:
            raise self._error(line, f"'{' '.join(words)}' is listed twice")
        self.log_probs[gram] = self._number(line, fields[0], largest=0.0)
        if len(fields) == order + 2:
            self.backoffs[gram] = self._number(line, fields[-1], largest=math.inf)

    def _number(self, line: _Line, text: str, *, largest: float) -> float:
        """A logarithm to the base 10, as a natural one; -99 and less mean a probability of 0."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isnan(value) or value > largest or value == math.inf:
            raise self._error(line, f"'{text[:40]}' is no logarithm of a probability")
        return value * math.log(10) if value > -99 else -math.inf

    def _next(self, awaited: str) -> _Line:
        line = next(self.lines, None)
        if line is None:
            raise ArpaError(f"{self.path}: ends before '{awaited}': it is cut short or not in ARPA's format; {_REMEDY}")
        return line

    def _error(self, line: _Line, what: str) -> ArpaError:
        return ArpaError(f"{self.path}:{line.number}: {what}; {_REMEDY}")
