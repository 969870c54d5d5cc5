"""What is found in transcripts, kind by kind: how many, the first few. Findings of pieces of a set can be merged."""

import hashlib
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

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


class Finding:
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

    def merge(self, later: "Finding") -> None:
        """Take what was found in later transcripts."""
        self.count += later.count
        self.values.update(later.values)
        self.first = [*self.first, *later.first][:SHOWN]

    def facts(self) -> list[Any]:
        """All of it, for JSON."""
        return [self.count, self.first, list(self.values.items())]

    @classmethod
    def of(cls, facts: list[Any]) -> "Finding":
        """What gave these `facts`."""
        finding = cls()
        finding.count, first, values = facts
        finding.first = [(index, text) for index, text in first]
        finding.values = Counter(dict(values))
        return finding


@dataclass(frozen=True)
class Summary:
    """What was found in `total` transcripts; `repeated`: how often the most frequent text occurs, and where first."""

    kinds: dict[str, Finding]
    apostrophes: dict[str, Finding]
    plain_apostrophe: bool
    caps: Finding
    lower: int
    repeated: tuple[int, int]
    total: int

    def facts(self) -> dict[str, Any]:
        """All of it, for JSON."""
        groups = {"kinds": self.kinds, "apostrophes": self.apostrophes, "caps": {"": self.caps}}
        found = {group: {kind: one.facts() for kind, one in kinds.items()} for group, kinds in groups.items()}
        others = ("plain_apostrophe", "lower", "repeated", "total")
        return found | {name: getattr(self, name) for name in others}

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "Summary":
        """What gave these `facts`."""
        groups = ("kinds", "apostrophes", "caps")
        kinds, apostrophes, caps = ({kind: Finding.of(one) for kind, one in facts[name].items()} for name in groups)
        count, first = facts["repeated"]
        plain, lower, total = facts["plain_apostrophe"], facts["lower"], facts["total"]
        return cls(kinds, apostrophes, plain, caps[""], lower, (count, first), total)


class Findings:
    """The findings of all kinds, by name."""

    def __init__(self, spelling: TextConfig | None) -> None:
        self.spelling = spelling
        self.rules = "" if spelling is None else spelling.rules
        self.kinds: dict[str, Finding] = {}
        self.apostrophes: dict[str, Finding] = {}
        self.plain_apostrophe = False
        self.caps, self.lower = Finding(), 0
        self.hashes = array("q")

    def look(self, index: int, text: str, language: str | None) -> str:
        """Look at one transcript; gives it as it is spelled."""
        spelled = text if self.spelling is None else self.spelling.spell(text, language)
        if tags := find_tags(text):
            self._add("tags", index, text, tags)
        if text.strip() in _PLACEHOLDERS:
            self._add("placeholders", index, text, [text.strip()])
        elif not any(map(str.isalnum, text)) and not tags:
            self._add("wordless", index, text, [text.strip() or "nothing"])
        if language and self.rules.endswith("@2") and not is_language(language):
            self._add("languages", index, text, [language])
        if not spelled.replace(" ", "").isalpha() and _DIGIT.search(spelled):
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
        return spelled

    def _add(self, kind: str, index: int, text: str, values: Iterable[str]) -> None:
        self.kinds.setdefault(kind, Finding()).add(index, text, values)

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
                self.apostrophes.setdefault(shape, Finding()).add(index, text, [])

    def merge(self, later: "Findings") -> None:
        """Take what was found in later transcripts."""
        for own, others in ((self.kinds, later.kinds), (self.apostrophes, later.apostrophes)):
            for kind, finding in others.items():
                own.setdefault(kind, Finding()).merge(finding)
        self.plain_apostrophe = self.plain_apostrophe or later.plain_apostrophe
        self.caps.merge(later.caps)
        self.lower += later.lower
        self.hashes.extend(later.hashes)

    def summary(self) -> Summary:
        """All that was found."""
        kinds, marks, plain = self.kinds, self.apostrophes, self.plain_apostrophe
        return Summary(kinds, marks, plain, self.caps, self.lower, self._repeated(), len(self.hashes))

    def _repeated(self) -> tuple[int, int]:
        if not self.hashes:
            return 0, 0
        values, first, counts = np.unique(np.frombuffer(self.hashes, np.int64), return_index=True, return_counts=True)
        counts = np.where(values == 0, 0, counts)
        return int(counts.max()), int(first[counts.argmax()])


@cache
def _unseen(character: str) -> bool:
    return is_invisible(character) or looks_like(character) == ""
