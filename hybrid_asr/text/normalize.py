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

The second ones give a word one spelling, however it was typed (docs/text.md has an example of each). In addition

- apostrophes of all kinds are `'`; invisible characters vanish, joiners that shape no letter, too; wide letters,
  ligatures and presentation forms are plain letters; digits of all scripts are 0 to 9, while `²` and `½` are words of
  their own; acronyms of Hebrew are one word, and so is `col·lega` in Catalan.
- The `language` says how capitals are read: in Turkish and Azeri I is the capital of ı. Everywhere İ is that of i
  (`lower()` leaves a combining dot behind), and a final sigma of Greek depends on its place alone.
- `tags` says what becomes of [noise], <unk>, (laughter): nothing remains ("drop", "refuse": the latter stops a training
  before it begins), or a word `[noise]` ("keep").

- `basic@2`    As `basic@1`, with this.
- `english@2`  `basic@2` for English: '&', '%', '@' and accents as in `english@1`.
- `upper@2`    `basic@2` in upper case (tags stay in lower case).
"""

import re
import unicodedata
from typing import Annotated, Literal, assert_never, get_args

from pydantic import Field

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.schema import config
from hybrid_asr.config.words import suggest
from hybrid_asr.text.one_spelling import LANGUAGE_TAG, lower_words, one_shape, upper_words
from hybrid_asr.text.tags import Tags, parts_and_tags, without_tags

Rules = Literal["none@1", "basic@1", "english@1", "upper@1", "basic@2", "english@2", "upper@2"]
DEFAULT_RULES: Rules = "basic@2"
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

    rules: Rules = DEFAULT_RULES
    language: Annotated[str, Field(pattern=rf"^{LANGUAGE_TAG.pattern}$")] | None = None
    """For capitals: `tr` or `az`. The language that an utterance names for itself wins."""
    tags: Tags = "drop"
    """What becomes of [noise] or <unk>: nothing, a unit of its own, or a training refused. Of rules of number 2."""

    def __post_init__(self) -> None:
        if self.rules.endswith("@2"):
            return
        others = f"choose text.rules from {', '.join(name for name in RULES if name.endswith('@2'))}"
        if self.tags == "keep":
            raise ValueError(f"text.tags=keep: the rules '{self.rules}' know no tags; {others}")
        if self.language:
            raise ValueError(f"text.language={self.language}: the rules '{self.rules}' know no language; {others}")

    def name(self) -> str:
        """The rules, and what differs from their defaults: "basic@2 tr keep"; equal names spell alike."""
        return " ".join(filter(None, [self.rules, self.language, self.tags if self.tags == "keep" else None]))

    def spell(self, text: str, language: str | None = None) -> str:
        """A transcript, whose own `language` wins, as these rules spell it."""
        return normalize(text, self.rules, language=language or self.language, tags=self.tags)


def normalize(text: str, rules: Rules, *, language: str | None = None, tags: Tags = "drop") -> str:
    """Apply the named `rules` (see the module) to one transcript; those of number 1 know no language and no tags."""
    match rules:
        case "none@1":
            return _collapse(unicodedata.normalize("NFC", text))
        case "basic@1":
            return _basic(text)
        case "english@1":
            return _english(text)
        case "upper@1":
            return _collapse(unicodedata.normalize("NFC", _basic(text).upper()))
        case "basic@2" | "english@2" | "upper@2":
            shaped = one_shape(text)
            if tags != "keep":
                return _words(without_tags(shaped), rules, language)
            parts = (part for words, tag in parts_and_tags(shaped) for part in (_words(words, rules, language), tag))
            return " ".join(filter(None, parts))
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


def _words(text: str, rules: Literal["basic@2", "english@2", "upper@2"], language: str | None) -> str:
    """A text of `one_shape` without tags."""
    match rules:
        case "basic@2":
            return lower_words(text, language)
        case "upper@2":
            return upper_words(lower_words(text, language), language)
        case "english@2":
            lowered = lower_words(text.translate(_READ_ALOUD), language).translate(_PLAIN_LETTERS)
            return lower_words(_LATIN_ACCENTS.sub("", unicodedata.normalize("NFD", lowered)), language)
        case _:
            assert_never(rules)
