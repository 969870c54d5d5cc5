"""The ids that every tokenizer shares: blank, unknown, its units, and one symbol for both ends of a sentence."""

from collections.abc import Iterable
from typing import Literal

from hybrid_asr.common.errors import UserError
from hybrid_asr.text.normalize import normalize

UNKNOWN_TEXT = "\ufffd"  # what an unknown unit is written as: one visible character, which no transcript holds


Writes = Literal["text", "phonemes"]


class TokenizerError(UserError):
    """Text that cannot make a tokenizer, or a stored tokenizer that cannot be restored."""


def text_units(text: str, writes: Writes) -> set[str]:
    """What a tokenizer may be `missing`: the characters of a text, or the words where units are phonemes."""
    return set(text.split()) if writes == "phonemes" else set(text)


def describe_missing(missing: Iterable[str], writes: Writes, *, shown: int = 5) -> str:
    """The first few of such parts, for a message, and how many more there are."""
    found = sorted(missing)
    more = f" and {len(found) - shown} more" if len(found) > shown else ""
    if writes == "phonemes":
        return ", ".join(f"'{word}'" for word in found[:shown]) + more
    return ", ".join(f"{character!r} (U+{ord(character):04X})" for character in found[:shown]) + more


class LabelIds:
    """blank = 0, unk = 1, the units from 2, and sos = eos = vocab_size - 1: one symbol starts and ends a sentence."""

    writes: Writes = "text"

    blank: int = 0
    unk: int = 1
    first_unit: int = 2

    def __init__(self, units: int) -> None:
        self.vocab_size: int = units + 3
        self.sos: int = self.vocab_size - 1
        self.eos: int = self.vocab_size - 1


def join_pieces(pieces: Iterable[str]) -> str:
    """Join the text of labels to a transcript: composed (NFC), with single spaces."""
    return normalize("".join(pieces), "none@1")
