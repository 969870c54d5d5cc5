"""Named, versioned rules that bring transcripts into one spelling before anything learns from or is scored by them.

A rule is frozen once released: a change of what it does is a new number, since a model remembers its rules by name.
`normalize` is idempotent, and its result is NFC, without whitespace at its ends and with single spaces inside.

- `none@1`     Canonical composition (NFC) and collapsed whitespace, nothing else.
- `basic@1`    Any language: lower case; only letters, combining marks, numbers and apostrophes inside words remain;
               anything else (punctuation, hyphens, symbols, emoji) separates words. Lower case rather than case
               folding, since a model writes what it was taught: folding would spell 'Straße' as 'strasse'. Digits
               stay, as how a number is read aloud cannot be told from its spelling.
- `english@1`  `basic@1` for English: markers such as [noise], <unk> or (laughter) vanish, '&' is read 'and', '%'
               'percent', '@' 'at', and letters lose their accents ('café' is 'cafe').
- `upper@1`    `basic@1` in upper case, the spelling of AN4's and LibriSpeech's transcripts.
"""

import re
import unicodedata
from typing import Literal, assert_never, get_args

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.schema import config
from hybrid_asr.config.words import suggest

Rules = Literal["none@1", "basic@1", "english@1", "upper@1"]
RULES: tuple[Rules, ...] = get_args(Rules)

_MARKER = re.compile(r"\[[^\[\]]*\]|<[^<>]*>|\([^()]*\)")
_READ_ALOUD = str.maketrans({"&": " and ", "%": " percent ", "@": " at "})
_PLAIN_LETTERS = str.maketrans(
    {"æ": "ae", "œ": "oe", "ø": "o", "ß": "ss", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ı": "i"}
)
_JOINERS = "\u200c\u200d"  # they shape words of Persian or Hindi; elsewhere (emoji) they stand for nothing
_INSIDE = f"'{_JOINERS}"  # what remains only singly and between two letters
_LOOSE = re.compile(rf"(?<![^\s{_INSIDE}])[{_INSIDE}]|[{_INSIDE}](?![^\s{_INSIDE}])")
_LATIN_ACCENTS = re.compile(r"(?<=[a-z])[\u0300-\u036f]+")


@config
class TextConfig:
    """How transcripts are spelled; stored in the model, so that what it writes is scored against the same spelling."""

    rules: Rules = "basic@1"


def normalize(text: str, rules: Rules) -> str:
    """Apply the named `rules` (see the module) to one transcript."""
    match rules:
        case "none@1":
            return _collapse(unicodedata.normalize("NFC", text))
        case "basic@1":
            return _basic(text)
        case "english@1":
            return _english(text)
        case "upper@1":
            return _collapse(unicodedata.normalize("NFC", _basic(text).upper()))
        case _:
            assert_never(rules)


def rules_named(name: str, where: str) -> Rules:
    """The rules of this name. Raises UserError, which begins with `where`, for any other name."""
    for rules in RULES:
        if rules == name:
            return rules
    near = suggest(name, RULES)
    meant = f"; {near}" if near.startswith("did") else ""
    raise UserError(f"{where} {name}: no such rules; there are {', '.join(RULES)}{meant}")


class _KeptCharacters(dict[int, str | None]):
    """A table for `str.translate`, filled as characters are met: keep, separate words, or vanish without a gap."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        if character in "'’‘＇":  # the shapes it comes in
            kept = "'"
        elif character in _JOINERS:
            kept = character
        elif category in ("Cf", "Me") or 0xFE00 <= code <= 0xFE0F:  # soft hyphens, direction marks, emoji's variants
            kept = None
        else:
            kept = character if category[0] in "LMN" else " "
        self[code] = kept
        return kept


_KEPT = _KeptCharacters()


def _collapse(text: str) -> str:
    return " ".join(text.split())


def _basic(text: str) -> str:
    lowered = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())
    kept = _LOOSE.sub("", lowered.translate(_KEPT))
    return _collapse(unicodedata.normalize("NFC", kept))  # what vanished may have stood between a letter and its accent


def _english(text: str) -> str:
    spoken = _MARKER.sub(" ", unicodedata.normalize("NFC", text)).translate(_READ_ALOUD)
    decomposed = unicodedata.normalize("NFD", _basic(spoken).translate(_PLAIN_LETTERS))
    return _basic(_LATIN_ACCENTS.sub("", decomposed))
