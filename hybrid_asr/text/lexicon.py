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
_REMARK = re.compile(r";;;.*|##.*|#(\s.*)?$|(?<=\s)#\s.*")  # whole lines of both notations, and what follows ` # `
_NO_WORD = re.compile(r"<[^<>]*>|!SIL")  # <s>, <sil>, <unk>: what other toolkits need of a lexicon, and nobody says
_PROBABILITY = re.compile(r"[01]?\.\d+|1\.0*")


class LexiconError(UserError):
    """A lexicon that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class Lexicon:
    """Words with their pronunciations, both in the order in which they were read; every word has one at least."""

    entries: Mapping[str, tuple[Pronunciation, ...]]

    def phonemes(self) -> list[str]:
        """All phonemes, in the order of their code points."""
        return sorted({phoneme for several in self.entries.values() for one in several for phoneme in one})

    def text(self) -> str:
        """One pronunciation a line, as Kaldi writes it; `parse_lexicon` reads it back."""
        return "".join(f"{word} {' '.join(one)}\n" for word, several in self.entries.items() for one in several)

    def spelled_by(self, rules: Rules) -> "Lexicon":
        """The same pronunciations under words as the rules spell them; what is no single word then is left out.

        An entry that the rules change by more than its case serves only where no other does: 'm is not the letter m.
        """
        found: dict[str, dict[Pronunciation, None]] = {}
        changed: dict[str, dict[Pronunciation, None]] = {}
        for word, several in self.entries.items():
            spelled = normalize(word, rules)
            if spelled and " " not in spelled:
                kept = found if spelled.casefold() == word.casefold() else changed
                kept.setdefault(spelled, {}).update(dict.fromkeys(several))
        found |= {word: several for word, several in changed.items() if word not in found}
        return Lexicon({word: tuple(several) for word, several in found.items()})

    def only(self, words: Iterable[str]) -> "Lexicon":
        """The entries of `words`, in the lexicon's order."""
        wanted = set(words)
        return Lexicon({word: several for word, several in self.entries.items() if word in wanted})


def read_lexicon(path: Path | str, *, repeats: Repeats = "refuse") -> Lexicon:
    """Read `WORD(2)  P H O N` or `WORD P H O N`, a pronunciation a line; `;;;` and `#` begin remarks.

    Entries such as <sil> are left out, and so may be a pronunciation that a word has already (cmudict has two such).
    Raises LexiconError: no such file, no text, a word without phonemes, the same pronunciation twice, probabilities as
    in Kaldi's lexiconp.txt, nothing at all.
    """
    return parse_lexicon(_read(path), str(path), repeats=repeats)


def parse_lexicon(text: str, where: str, *, repeats: Repeats = "refuse") -> Lexicon:
    """The lexicon in `text`; errors call it `where`."""
    found: dict[str, dict[Pronunciation, int]] = {}
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
        first = found.setdefault(word, {}).setdefault(phonemes, number)
        if first != number and repeats == "refuse":
            raise LexiconError(
                f"{where}:{number}: '{word}' has the pronunciation '{' '.join(phonemes)}' in line {first} already; "
                "remove one of the two"
            )
    if not found:
        raise LexiconError(f"{where}: holds no word; a line is a word and its phonemes, 'HELLO HH AH L OW'")
    return Lexicon({word: tuple(several) for word, several in found.items()})


def read_words(path: Path | str, rules: Rules) -> tuple[str, ...]:
    """The words of a list, or of a lexicon's first column, as `rules` spell them, each once.

    Raises LexiconError: no such file, no text, no word.
    """
    words = (normalize(word, rules) for _, word, _ in _entries(_read(path)))
    found = tuple(dict.fromkeys(word for word in words if word and " " not in word))
    if not found:
        raise LexiconError(f"{path}: holds no word that the rules '{rules}' leave as one; a line is a word")
    return found


def _entries(text: str) -> Iterator[tuple[int, str, Pronunciation]]:
    """Line number, word and phonemes of each line that has a word."""
    for number, line in enumerate(text.split("\n"), 1):
        word, *phonemes = [*_REMARK.sub("", normalize(line, "none@1")).split(), ""]
        variant = _VARIANT.fullmatch(word)
        word = variant[1] if variant else word
        if word and not _NO_WORD.fullmatch(word):
            yield number, word, tuple(phonemes[:-1])


def _read(path: Path | str) -> str:
    """A text file. Raises LexiconError."""
    if reason := read_problem(path, largest=_LARGEST):
        raise LexiconError(f"{path}: {reason}; give a text file with a word and its phonemes a line")
    content = Path(path).read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise LexiconError(f"{path}:{line}: is not UTF-8; convert it, as by iconv, or give a text file") from None
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise LexiconError(f"{path}:{line}: holds a zero byte: this is no text file; give a lexicon")
    return text
