"""The ids that every tokenizer has (blank, unknown, units, one symbol for both ends of a sentence), and their texts."""

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from hybrid_asr.common.errors import UserError
from hybrid_asr.text.normalize import normalize
from hybrid_asr.text.tags import KEPT

UNKNOWN_TEXT = "\ufffd"  # what an unknown unit is written as: one visible character, which no transcript has

_TAG_OR_CHARACTER = re.compile(rf"{KEPT.pattern}|.", re.DOTALL)

Writes = Literal["text", "phonemes"]


class TokenizerError(UserError):
    """Text that cannot make a tokenizer, or a stored tokenizer that cannot be restored."""


def text_units(text: str, writes: Writes, tags: frozenset[str] = frozenset()) -> set[str]:
    """What a tokenizer may lack: the characters of a text, or its words where the units are phonemes.

    A tokenizer with `tags` among its units may lack others.
    """
    return set(text.split()) if writes == "phonemes" else set(split_tags(text) if tags else text)


def split_tags(text: str) -> list[str]:
    """The characters of a text, a tag such as [noise] in one piece."""
    return _TAG_OR_CHARACTER.findall(text) if "[" in text else list(text)


def describe_missing(missing: Iterable[str], writes: Writes, *, shown: int = 5) -> str:
    """The first few missing characters or words, for a message, and how many more there are."""
    units = sorted(missing)
    more = f" and {len(units) - shown} more" if len(units) > shown else ""
    if writes == "phonemes":
        return ", ".join(f"'{word}'" for word in units[:shown]) + more
    names = (f"{unit!r} (U+{ord(unit):04X})" if len(unit) == 1 else f"the tag {unit}" for unit in units[:shown])
    return ", ".join(names) + more


def join_pieces(pieces: Iterable[str]) -> str:
    """Join the text of labels to a transcript: composed (NFC), with single spaces."""
    return normalize("".join(pieces), "none@1")


class LabelTexts:
    """Labels to text, by a table with the text of each label; blank, sos and eos have none."""

    _texts: Sequence[str]
    tags: frozenset[str] = frozenset()

    def pieces(self, labels: Iterable[int]) -> list[str]:
        """The text of each label, spaces included (a unit that starts a word may have one in front)."""
        return [self._texts[label] for label in labels]

    def decode(self, labels: Iterable[int]) -> str:
        """The transcript of `labels`: NFC, single spaces, U+FFFD for `unk`."""
        return join_pieces(self.pieces(labels))


class LabelIds(LabelTexts):
    """blank = 0, unk = 1, the units from 2, and sos = eos = vocab_size - 1: one symbol starts and ends a sentence."""

    writes: Writes = "text"

    blank: int = 0
    unk: int = 1
    first_unit: int = 2

    def __init__(self, units: Sequence[str], *, unknown: str = UNKNOWN_TEXT) -> None:
        """`units` are the texts of the units, in the order of their labels; `unknown` is the text of `unk`."""
        self.vocab_size: int = len(units) + 3
        self.sos: int = self.vocab_size - 1
        self.eos: int = self.vocab_size - 1
        self._texts = ("", unknown, *units, "")
