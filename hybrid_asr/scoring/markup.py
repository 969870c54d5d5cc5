"""What NIST's transcripts write beside words: `{ a / b / @ }`, either of several, and `(word)`, which may be missing.

`@` is nothing; alternatives may hold several words and further alternatives.  A parenthesis is read as optional only
around one word, as `sclite -D` reads it.  Everything here takes a text that was written so (in trn, stm or ctm); in any
other file these characters are words.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hybrid_asr.common.errors import UserError

NOTHING = "@"

_TOKEN = re.compile(r"[{}]|[^\s{}]+")
_OPTIONAL = re.compile(r"\(([^\s()]+)\)")
_MARKED = re.compile(r"[{}]|(?<!\S)(?:@|\([^\s()]+\))(?!\S)")
_DEEPEST = 50  # alternatives in each other


class MarkupError(UserError):
    """Braces that do not close, or an alternative without a word."""


class Word(NamedTuple):
    """A word; one that is `optional` may be missing without an error."""

    text: str
    optional: bool = False


@dataclass(frozen=True)
class Alternatives:
    """Several ways to say the same, each a sequence of words and further alternatives; an empty one is nothing."""

    ways: tuple["Sequence", ...]


Sequence = tuple[Word | Alternatives, ...]


def is_marked(text: str) -> bool:
    """Whether `text` holds anything but words."""
    return _MARKED.search(text) is not None


def parse(text: str) -> Sequence:
    """The words of `text` and their alternatives. Raises MarkupError."""
    tokens = _tokens(text)
    sequence, end = _sequence(tokens, 0, depth=0)
    if end < len(tokens):
        raise MarkupError("'}' closes nothing; write '{ a / b }' around words that stand for each other")
    return sequence


def respell(text: str, spell: Callable[[str], str]) -> str:
    """`text` with each word spelled by `spell`, which may give none or several; alternatives stay what they are."""
    return _written(parse(text), spell)


def plain_texts(text: str) -> Iterator[str]:
    """Every plain text that `text` allows; there may be very many."""
    for words in _paths(parse(text)):
        yield " ".join(words)


def _tokens(text: str) -> list[str]:
    """Words and braces; inside braces a slash separates, wherever in a word it stands."""
    found, depth = [], 0
    for token in _TOKEN.findall(text):
        depth = max(0, depth + (token == "{") - (token == "}"))
        found += [part for part in re.split("(/)", token) if part] if depth else [token]
    return found


def _sequence(tokens: list[str], start: int, *, depth: int) -> tuple[Sequence, int]:
    """The items from `start` to the end, or inside braces to their next slash or brace, and where that is."""
    items: list[Word | Alternatives] = []
    while start < len(tokens) and not (tokens[start] == "}" or (depth and tokens[start] == "/")):
        token, start = tokens[start], start + 1
        if token == "{":
            alternatives, start = _alternatives(tokens, start, depth=depth + 1)
            items.append(alternatives)
        elif token != NOTHING:
            inside = _OPTIONAL.fullmatch(token)
            items.append(Word(inside[1], optional=True) if inside else Word(token))
    return tuple(items), start


def _alternatives(tokens: list[str], start: int, *, depth: int) -> tuple[Alternatives, int]:
    if depth > _DEEPEST:
        raise MarkupError(f"more than {_DEEPEST} '{{' in each other; close some of them")
    ways = []
    while True:
        way, end = _sequence(tokens, start, depth=depth)
        if end == len(tokens):
            raise MarkupError("'{' is not closed; add '}' behind the last alternative")
        if end == start:
            raise MarkupError(f"an alternative is empty; write '{NOTHING}' for nothing")
        ways.append(way)
        start = end + 1
        if tokens[end] == "}":
            return Alternatives(tuple(ways)), start


def _written(sequence: Sequence, spell: Callable[[str], str]) -> str:
    parts = []
    for item in sequence:
        if isinstance(item, Word):
            words = spell(item.text).split()
            parts += [f"({word})" for word in words] if item.optional else words
        else:
            parts.append("{ " + " / ".join(_written(way, spell) or NOTHING for way in item.ways) + " }")
    return " ".join(parts)


def _paths(sequence: Sequence) -> Iterator[list[str]]:
    if not sequence:
        yield []
        return
    first, rest = sequence[0], sequence[1:]
    if isinstance(first, Word):
        heads = iter([[first.text], []] if first.optional else [[first.text]])
    else:
        heads = (path for way in first.ways for path in _paths(way))
    for head in heads:
        for tail in _paths(rest):
            yield head + tail
