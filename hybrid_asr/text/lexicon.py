"""Pronunciation lexica: words and their phonemes in the notations of CMU (Sphinx) and Kaldi; and plain word lists."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import read_problem
from hybrid_asr.text.normalize import Rules, normalize

Pronunciation = tuple[str, ...]
Repeats = Literal["refuse", "leave out"]

_LARGEST = 1 << 28  # bytes
_VARIANT = re.compile(r"(.+)\((\d+)\)")
_REMARK = re.compile(r";;;.*|##.*|#(\s.*)?$|(?<=\s)#\s.*")  # remarks of both notations: lines, and text after ` # `
_NO_WORD = re.compile(r"<[^<>]*>|!SIL")  # <s>, <sil>, <unk>: entries that other toolkits need, which are not spoken
_PROBABILITY = re.compile(r"[01]?\.\d+|1\.0*")


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

    def spelled_by(self, rules: Rules) -> "Lexicon":
        """The same pronunciations under the normalized words; entries that are not a single word then are left out.

        An entry that the rules change by more than case is used only if no other has that word: 'm is not the letter m.
        """
        kept: dict[str, dict[Pronunciation, None]] = {}
        changed: dict[str, dict[Pronunciation, None]] = {}
        for word, pronunciations in self.entries.items():
            spelled = normalize(word, rules)
            if spelled and " " not in spelled:
                target = kept if spelled.casefold() == word.casefold() else changed
                target.setdefault(spelled, {}).update(dict.fromkeys(pronunciations))
        kept |= {word: pronunciations for word, pronunciations in changed.items() if word not in kept}
        return Lexicon({word: tuple(pronunciations) for word, pronunciations in kept.items()})

    def only(self, words: Iterable[str]) -> "Lexicon":
        """The entries of `words`, in the lexicon's order."""
        wanted = set(words)
        return Lexicon({word: pronunciations for word, pronunciations in self.entries.items() if word in wanted})


def read_lexicon(path: Path | str, *, repeats: Repeats = "refuse") -> Lexicon:
    """Read `WORD(2)  P H O N` or `WORD P H O N`, one pronunciation a line; `;;;` and `#` begin remarks.

    Entries such as <sil> are left out; `repeats` says whether a pronunciation that a word has already is an error
    (cmudict has two such). Raises LexiconError: no such file, no text, a word without phonemes, the same pronunciation
    twice, probabilities as in Kaldi's lexiconp.txt, no entry.
    """
    return parse_lexicon(_read(path), str(path), repeats=repeats)


def parse_lexicon(text: str, where: str, *, repeats: Repeats = "refuse") -> Lexicon:
    """The lexicon in `text`, as `read_lexicon` reads it; errors begin with `where`."""
    lines: dict[str, dict[Pronunciation, int]] = {}  # the line of each pronunciation of each word
    for number, word, phonemes in _entries(text):
        if not phonemes:
            raise LexiconError(
                f"{where}:{number}: '{word}' has no pronunciation; write its phonemes, or remove the line"
            )
        if _PROBABILITY.fullmatch(phonemes[0]):
            raise LexiconError(
                f"{where}:{number}: '{phonemes[0]}' is no phoneme but a probability, which is not used; "
                "take lexicon.txt in place of lexiconp.txt, or remove that column"
            )
        first = lines.setdefault(word, {}).setdefault(phonemes, number)
        if first != number and repeats == "refuse":
            raise LexiconError(
                f"{where}:{number}: '{word}' has the pronunciation '{' '.join(phonemes)}' in line {first} already; "
                "remove one of the two"
            )
    if not lines:
        raise LexiconError(f"{where}: holds no word; a line is a word and its phonemes, 'HELLO HH AH L OW'")
    return Lexicon({word: tuple(pronunciations) for word, pronunciations in lines.items()})


def read_words(path: Path | str, rules: Rules) -> tuple[str, ...]:
    """The words of a list, or of a lexicon's first column, as `rules` spell them, each once.

    Raises LexiconError: no such file, no text, no word.
    """
    normalized = (normalize(word, rules) for _, word, _ in _entries(_read(path)))
    words = tuple(dict.fromkeys(word for word in normalized if word and " " not in word))
    if not words:
        raise LexiconError(f"{path}: holds no word that the rules '{rules}' leave as one; a line is a word")
    return words


def _entries(text: str) -> Iterator[tuple[int, str, Pronunciation]]:
    """Line number, word and phonemes of each line that has a word."""
    for number, line in enumerate(text.split("\n"), 1):
        word, *phonemes = [*_REMARK.sub("", normalize(line, "none@1")).split(), ""]
        variant = _VARIANT.fullmatch(word)
        word = variant[1] if variant else word
        if word and not _NO_WORD.fullmatch(word):
            yield number, word, tuple(phonemes[:-1])


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
    return text
