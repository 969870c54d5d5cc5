"""Pronunciation lexica, words and their phonemes as CMU (Sphinx), Kaldi and the Montreal Forced Aligner write them.

    ABOUT  AH B AW T  # CMU: `;;;` and `#` begin remarks, ABOUT(2) is another pronunciation
    ABOUT 0.8 AH B AW T  # Kaldi's lexiconp.txt: a probability; MFA and lexiconp_silprob.txt have four numbers

And plain word lists, or the first column of any of these.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import read_problem
from hybrid_asr.common.problems import Problems, Tell, examples, tell_user
from hybrid_asr.text.normalize import Rules, TextConfig

Pronunciation = tuple[str, ...]

_LARGEST = 1 << 28  # bytes
_VARIANT = re.compile(r"(.+)\((\d+)\)")
_REMARK = re.compile(r"^\s*;;;.*|##.*|#(\s.*)?$|(?<=\s)#\s.*")  # of both notations: lines, and text after ` # `
_NO_WORD = re.compile(r"<[^<>]*>|!SIL|#\d+|\+\+.*\+\+")  # <s>, <unk>, #0, ++NOISE++: what others need, never spoken
_TAG = re.compile(r"\[[^\[\]]*\]|\([^()]*\)|\{[^{}]*\}")  # [noise]: an entry only for texts that keep such tags
_PROBABILITY = re.compile(r"\d*\.\d+(e[+-]?\d+)?|\d+e-\d+|\d+\.", re.IGNORECASE)
_NUMBERS = (0, 1, 4)  # columns of probabilities that the formats have


class LexiconError(UserError):
    """A lexicon that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class Lexicon:
    """Words with their pronunciations, both in the order of the file; every word has at least one."""

    entries: Mapping[str, tuple[Pronunciation, ...]]

    def phonemes(self) -> list[str]:
        """All phonemes, sorted by code point."""
        return sorted(
            {phoneme for pronunciations in self.entries.values() for phonemes in pronunciations for phoneme in phonemes}
        )

    def text(self) -> str:
        """One pronunciation a line, as Kaldi writes it; `parse_lexicon` reads it back."""
        return "".join(
            f"{word} {' '.join(phonemes)}\n"
            for word, pronunciations in self.entries.items()
            for phonemes in pronunciations
        )

    def spelled_by(self, text: TextConfig, *, where: str = "", tell: Tell = tell_user) -> "Lexicon":
        """The same pronunciations under the normalized words.

        Entries that are not a single word then are left out, and told if `where` names the lexicon; so are tags such as
        [noise] that the rules would make words of. An entry that the rules change by more than case is used only if no
        other has that word: 'm is not the letter m.
        """
        kept: dict[str, dict[Pronunciation, None]] = {}
        changed: dict[str, dict[Pronunciation, None]] = {}
        left_out: list[str] = []
        for word, pronunciations in self.entries.items():
            spelled = text.spell(word)
            if not spelled or " " in spelled or (spelled != word and text.tags != "keep" and _TAG.fullmatch(word)):
                left_out.append(word)
            else:
                target = kept if spelled.casefold() == word.casefold() else changed
                target.setdefault(spelled, {}).update(dict.fromkeys(pronunciations))
        kept |= {word: pronunciations for word, pronunciations in changed.items() if word not in kept}
        if left_out and where:
            tell(_no_single_word(where, left_out, len(self.entries), text.rules))
        return Lexicon({word: tuple(pronunciations) for word, pronunciations in kept.items()})

    def only(self, words: Iterable[str]) -> "Lexicon":
        """The entries of `words`, in the lexicon's order."""
        wanted = set(words)
        return Lexicon({word: pronunciations for word, pronunciations in self.entries.items() if word in wanted})


def read_lexicon(path: Path | str, *, tell: Tell = tell_user) -> Lexicon:
    """Read `WORD(2)  P H O N` or `WORD P H O N`, one pronunciation a line; `;;;` and `#` begin remarks.

    What is passed over is counted and told: entries such as <sil>, probabilities as in Kaldi's lexiconp.txt, a
    pronunciation that a word has already (cmudict has two such, without stress hundreds). Raises LexiconError, which
    names all bad lines: no such file, no text, a word without phonemes, no entry.
    """
    return parse_lexicon(_read(path), str(path), tell=tell)


def parse_lexicon(text: str, where: str, *, tell: Tell = tell_user) -> Lexicon:
    """The lexicon in `text`, as `read_lexicon` reads it; errors begin with `where`."""
    problems, lines = Problems(), _Lines.of(text)
    pronunciations: dict[str, dict[Pronunciation, int]] = {}  # with the line of each
    repeated: list[str] = []
    with_numbers = 0
    for number, word, columns in lines.entries:
        numbers = next((n for n, column in enumerate(columns) if not _PROBABILITY.fullmatch(column)), len(columns))
        phonemes = columns[numbers:]
        if problem := _problem(word, numbers, phonemes):
            problems.add(Path(where), number, problem)
            continue
        with_numbers += numbers > 0
        first = pronunciations.setdefault(word, {}).setdefault(phonemes, number)
        if first != number:
            repeated.append(f"'{word}' in lines {first} and {number}")
    problems.raise_any(LexiconError)
    if not pronunciations:
        raise LexiconError(f"{where}: holds no word; a line is a word and its phonemes, 'HELLO HH AH L OW'")
    lines.tell_left_out(where, tell)
    if with_numbers:
        tell(f"note: {where}: probabilities of pronunciations are not used; {with_numbers} lines have some")
    if repeated:
        tell(f"note: {where}: {len(repeated)} pronunciations are given twice, and used once: {examples(repeated)}")
    return Lexicon({word: tuple(phonemes) for word, phonemes in pronunciations.items()})


def _problem(word: str, numbers: int, phonemes: Pronunciation) -> str | None:
    """What is wrong with a line of a lexicon, with the remedy."""
    if not phonemes:
        return f"'{word}' has no pronunciation; write its phonemes, or remove the line"
    if numbers not in _NUMBERS:
        known = "a lexicon has none, 1 (Kaldi's lexiconp.txt) or 4 (lexiconp_silprob.txt, MFA)"
        return f"'{word}' has {numbers} numbers before its phonemes, {known}; correct the line"
    if odd := next((phoneme for phoneme in phonemes if phoneme.split() != [phoneme]), None):
        return f"{odd!r} holds a space that is none of ' ' and tab; put plain spaces between phonemes"
    return None


def read_words(path: Path | str, text: TextConfig, *, tell: Tell = tell_user) -> tuple[str, ...]:
    """The words of a list, or of a lexicon's first column, as `text` spells them, each once.

    What is passed over is counted and told. Raises LexiconError: no such file, no text, no word, numbers in place of
    words in the first column.
    """
    lines = _Lines.of(_read(path))
    with_more = [(word, columns) for _, word, columns in lines.entries if columns]
    if with_more and all(word.isdecimal() and not columns[0].isdecimal() for word, columns in with_more):
        raise LexiconError(
            f"{path}: the first column holds only numbers, such as '{with_more[0][0]}' before '{with_more[0][1][0]}'; "
            "put the word first, or alone"
        )
    normalized = {word: text.spell(word) for _, word, _ in lines.entries}
    left_out = [word for word, spelled in normalized.items() if not spelled or " " in spelled]
    words = tuple(dict.fromkeys(spelled for word, spelled in normalized.items() if word not in set(left_out)))
    if not words:
        raise LexiconError(f"{path}: holds no word that the rules '{text.rules}' leave as one; a line is a word")
    lines.tell_left_out(str(path), tell)
    if left_out:
        tell(_no_single_word(str(path), left_out, len(normalized), text.rules))
    if with_more:
        shown = f"such as '{' '.join((with_more[0][0], *with_more[0][1]))}'"
        tell(f"note: {path}: the first column is read; {len(with_more)} lines have more, {shown}")
    return words


def _no_single_word(where: str, left_out: list[str], count: int, rules: Rules) -> str:
    shown = examples([f"{word!r}" for word in left_out])
    return f"note: {where}: {len(left_out)} of {count} entries are left out, no single word by '{rules}': {shown}"


class _Entry(NamedTuple):
    number: int
    word: str
    columns: tuple[str, ...]


class _Lines(NamedTuple):
    """The lines of a file that have a word, and the entries that stand for none."""

    entries: list[_Entry]
    no_words: list[str]

    @classmethod
    def of(cls, text: str) -> "_Lines":
        """Split at spaces and tabs alone: any other space belongs to the word, so that no half of it is read."""
        lines = cls([], [])
        for number, line in enumerate(text.split("\n"), 1):
            line = _REMARK.sub("", line)
            fields = line.split() if line.isascii() else [part for part in re.split("[ \t\r\f\v]+", line) if part]
            if not fields:
                continue
            word, *columns = fields if line.isascii() else [unicodedata.normalize("NFC", part) for part in fields]
            variant = _VARIANT.fullmatch(word)
            word = variant[1] if variant else word
            if _NO_WORD.fullmatch(word):
                lines.no_words.append(word)
            else:
                lines.entries.append(_Entry(number, word, tuple(columns)))
        return lines

    def tell_left_out(self, where: str, tell: Tell) -> None:
        """Tell how many entries stand for no word."""
        if self.no_words:
            names = examples([*dict.fromkeys(self.no_words)])
            tell(f"note: {where}: {len(self.no_words)} entries that no one speaks are left out: {names}")


def _read(path: Path | str) -> str:
    """The content of a UTF-8 text file. Raises LexiconError."""
    if reason := read_problem(path, largest=_LARGEST):
        raise LexiconError(f"{path}: {reason}; give a text file with a word and its phonemes a line")
    content = Path(path).read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise LexiconError(f"{path}:{line}: is not UTF-8; convert it, as by iconv, or give a text file") from None
    if (position := text.find("\0")) >= 0:
        line = text.count("\n", 0, position) + 1
        raise LexiconError(f"{path}:{line}: holds a zero byte: this is no text file; give a lexicon")
    return text.replace("\r\n", "\n").replace("\r", "\n")
