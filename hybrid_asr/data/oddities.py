"""What is odd in the transcripts of a set: counted, with the first examples, in one pass, before anything learns it."""

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

import numpy as np

from hybrid_asr.common.problems import SHOWN
from hybrid_asr.text.lookalikes import (
    character_name,
    drop_dots_over_i,
    drop_idle_joiners,
    foreign_letters,
    is_apostrophe,
    is_invisible,
    looks_like,
    plain_form,
)
from hybrid_asr.text.normalize import TextConfig
from hybrid_asr.text.one_spelling import has_dotless_i, is_language
from hybrid_asr.text.tags import find_tags

_EXCERPT = 40  # characters of an example
_REPEATS = 20  # fewer of one text are nothing to tell
_REPEATED_SHARE = 0.1  # in AN4, which is sound, one text makes 4.6 % of the training set
_PLACEHOLDERS = frozenset(
    [
        *("nan", "NaN", "NAN", "NaT", "NULL", "null", "None", "NONE", "N/A", "n/a", "NA", "#N/A", "#NA", "<NA>", "\\N"),
        *("undefined", "TODO", "TBD"),
    ]
)
_DIGIT = re.compile(r"\d")
_APOSTROPHE = re.compile(r"(?<=[^\W\d_])[^\w\s](?=[^\W\d_])|[ʼʻʹˈꞌꞋ]")
_SHAPES_OF_FIRST_RULES = "'’‘＇"  # that basic@1 and its kin make one
_MANY_WORDS = 4


class Oddity(NamedTuple):
    """One kind of oddity, as a sentence; `doubtful` is what should be looked at, the rest is good to know."""

    text: str
    doubtful: bool = True
    refused: bool = False


class _Finding:
    """The transcripts of one kind: how many, the first few, and what was found in them."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[tuple[int, str]] = []
        self.values: Counter[str] = Counter()

    def add(self, index: int, text: str, values: Iterable[str]) -> None:
        self.count += 1
        self.values.update(values)
        if len(self.first) < SHOWN:
            self.first.append((index, text))


def oddities(
    texts: Iterable[tuple[str, str | None]], name: Callable[[int], str], *, of: str, spelling: TextConfig | None = None
) -> list[Oddity]:
    """What is odd in transcripts, each with the language that it names; `of` is their set, `name(i)` names number i.

    With a `spelling` what it leaves of them is judged: tags that become words, apostrophes in several shapes.
    """
    found = _Findings(spelling)
    for index, (text, language) in enumerate(texts):
        found.look(index, text, language)
    return found.tell(name, of)


class _Findings:
    """The findings of all kinds, by name."""

    def __init__(self, spelling: TextConfig | None) -> None:
        self.spelling = spelling
        self.rules = "" if spelling is None else spelling.rules
        self.kinds: dict[str, _Finding] = {}
        self.apostrophes: dict[str, _Finding] = {}
        self.plain_apostrophe = False
        self.caps, self.lower = _Finding(), 0
        self.hashes = array("q")

    def look(self, index: int, text: str, language: str | None) -> None:
        """Look at one transcript."""
        spelled = text if self.spelling is None else self.spelling.spell(text, language)
        if tags := find_tags(text):
            self._add("tags", index, text, tags)
        if text.strip() in _PLACEHOLDERS:
            self._add("placeholders", index, text, [text.strip()])
        elif not any(map(str.isalnum, text)) and not tags:
            self._add("wordless", index, text, [text.strip() or "nothing"])
        if language and self.rules.endswith("@2") and not is_language(language):
            self._add("languages", index, text, [language])
        if _DIGIT.search(spelled):
            self._add("digits", index, text, [])
        self.plain_apostrophe = self.plain_apostrophe or "'" in text
        if self.rules == "none@1":
            self._look_at_case(index, text)
        if not (text.isascii() and spelled.isascii() and "`" not in text):
            self._look_at_characters(index, text, spelled, language)
        if spelled.count(" ") >= _MANY_WORDS - 1:
            digest = hashlib.blake2b(spelled.encode(), digest_size=8).digest()
            self.hashes.append(int.from_bytes(digest, "little", signed=True))
        else:
            self.hashes.append(0)

    def _add(self, kind: str, index: int, text: str, values: Iterable[str]) -> None:
        self.kinds.setdefault(kind, _Finding()).add(index, text, values)

    def _look_at_case(self, index: int, text: str) -> None:
        if text.isupper() and " " in text.strip():
            self.caps.add(index, text, [])
        elif any(map(str.islower, text)):
            self.lower += 1

    def _look_at_characters(self, index: int, text: str, spelled: str, language: str | None) -> None:
        unseen = [character for character in set(spelled) if not character.isascii() and _unseen(character)]
        unseen += ["\u0307"] if drop_dots_over_i(spelled) != spelled else []
        if drop_idle_joiners(spelled) != spelled:
            unseen += set("\u200c\u200d").intersection(spelled)
        if unseen:
            self._add("invisible", index, text, map(character_name, sorted(unseen)))
        forms = [
            character for character in set(spelled) if not character.isascii() and plain_form(character) != character
        ]
        if forms:
            self._add("forms", index, text, map(character_name, sorted(forms)))
        if foreign := foreign_letters(spelled):
            self._add("scripts", index, text, map(character_name, foreign))
        known = language or (self.spelling and self.spelling.language)
        if (
            not has_dotless_i(known)
            and self.rules not in ("none@1", "english@1", "english@2")
            and ("ı" in text or "İ" in text)
        ):
            self._add("dotless", index, text, [letter for letter in "ıİ" if letter in text])
        if not self.rules.endswith("@2"):
            self._look_at_apostrophes(index, text)

    def _look_at_apostrophes(self, index: int, text: str) -> None:
        for mark in set(_APOSTROPHE.findall(text)):
            if is_apostrophe(mark):
                shape = "'" if self.rules not in ("", "none@1") and mark in _SHAPES_OF_FIRST_RULES else mark
                self.apostrophes.setdefault(shape, _Finding()).add(index, text, [])

    def tell(self, name: Callable[[int], str], of: str) -> list[Oddity]:
        """A sentence for each kind that was found."""
        total = len(self.hashes)

        def told(finding: _Finding, what: str, remedy: str, *, doubtful: bool = True, refused: bool = False) -> Oddity:
            examples = "; ".join(f"{name(index)}: '{_excerpt(text)}'" for index, text in finding.first)
            more = "; ..." if finding.count > len(finding.first) else ""
            values = _most_frequent(finding.values)
            return Oddity(
                f"{finding.count} of {total} transcripts of {of} {what}{values}: {examples}{more}; {remedy}",
                doubtful,
                refused,
            )

        kinds, result = self.kinds, list[Oddity]()
        if tags := kinds.get("tags"):
            result.append(self._tell_tags(tags, told))
        doubtful = _WRONG if self.spelling is None else _DOUBTFUL
        for kind, (what, remedy) in _KINDS.items():
            if finding := kinds.get(kind):
                if kind == "dotless" and self.rules.endswith("@1"):
                    remedy = f"rules of number 2, such as basic@2, know languages: {remedy}"
                result.append(told(finding, what, remedy, doubtful=kind in doubtful))
        others = {shape: finding for shape, finding in self.apostrophes.items() if shape != "'"}
        if others and (self.plain_apostrophe or len(others) > 1 or self.rules not in ("", "none@1")):
            merged = _Finding()
            for shape, finding in others.items():
                merged.count += finding.count
                merged.first = sorted([*merged.first, *finding.first])[:SHOWN]
                merged.values[character_name(shape)] = finding.count
            remedy = "rules of number 2, such as basic@2, make them one"
            result.append(told(merged, "have another apostrophe than '", remedy, doubtful=self.spelling is not None))
        if self.caps.count and self.lower:
            result.append(told(self.caps, "are all capitals, others are not", "text.rules=basic@2 makes case one"))
        return [*result, *self._tell_repeats(name, of, total)]

    def _tell_tags(self, tags: _Finding, told: Callable[..., Oddity]) -> Oddity:
        """What becomes of tags, by the rules."""
        if self.spelling is None:
            return told(tags, "have tags", "text.tags of a recipe says what becomes of them", doubtful=False)
        if self.spelling.tags == "refuse":
            return told(tags, "have tags", "text.tags=refuse: correct them, or set drop or keep", refused=True)
        if self.spelling.tags == "keep":
            return told(tags, "have tags", "each is a unit of its own (text.tags=keep)", doubtful=False)
        if self.rules in ("none@1", "basic@1", "upper@1"):
            remedy = f"the rules '{self.rules}' make words of them; choose rules of number 2 and text.tags=drop or keep"
            return told(tags, "have tags", remedy)
        if self.rules == "english@1":
            remedy = (
                "the rules 'english@1' leave out those in brackets and make words of others; with english@2 text.tags "
                "says what becomes of all"
            )
            return told(tags, "have tags", remedy, doubtful=any(tag[0] not in "[<(" for tag in tags.values))
        return told(tags, "have tags", "they are left out (text.tags=keep makes units of them)", doubtful=False)

    def _tell_repeats(self, name: Callable[[int], str], of: str, total: int) -> list[Oddity]:
        """The text that is repeated most, if that is suspicious."""
        hashes = np.frombuffer(self.hashes, np.int64) if total else np.zeros(0, np.int64)
        values, first, counts = np.unique(hashes, return_index=True, return_counts=True)
        counts = np.where(values == 0, 0, counts)
        if not len(counts) or counts.max() < max(_REPEATS, _REPEATED_SHARE * total):
            return []
        where = name(int(first[counts.argmax()]))
        return [
            Oddity(
                f"{counts.max()} of {total} transcripts of {of} have the same text, that of {where}; if these are not "
                "many readings of one sentence, texts and audio do not belong together"
            )
        ]


_KINDS = {
    "placeholders": ("are what programs write where a text is missing", "correct or remove them, unless they are said"),
    "wordless": ("hold no word", "write what is said, or remove them"),
    "invisible": ("hold characters that nobody sees", "rules of number 2, such as basic@2, remove them"),
    "forms": ("hold another form of plain characters", "rules of number 2, such as basic@2, make them plain"),
    "scripts": ("mix scripts in a word, with letters that look alike", "correct them: they are other words to a model"),
    "dotless": (
        "hold letters of Turkish or Azeri, and no language is set",
        "with text.language=tr (or az) the capital of ı is I, that of i is İ",
    ),
    "languages": (
        "name a language that is not known",
        "their capitals are read as in English; write its tag, such as tr, az or en-US",
    ),
    "digits": (
        "hold digits",
        "how they are read aloud is learned from the audio alone; write them as words if you can",
    ),
}


_WRONG = ("placeholders", "wordless", "scripts")  # whatever the rules
_DOUBTFUL = (*_WRONG, "invisible", "forms", "dotless")


@cache
def _unseen(character: str) -> bool:
    return is_invisible(character) or looks_like(character) == ""


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}…"


def _most_frequent(values: Counter[str]) -> str:
    if not values:
        return ""
    shown = ", ".join(f"{value} ({count})" for value, count in values.most_common(SHOWN))
    return f", {shown}" + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")
