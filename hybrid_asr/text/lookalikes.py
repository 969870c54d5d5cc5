"""Characters that readers take for others, or do not see at all: two texts of one look should be one spelling.

What is written in a wide, narrow, joined or presentation form looks like its plain form; Unicode calls that
compatibility (UAX #15, NFKC). NFKC as a whole goes further than the eye: it makes `m²` `m2` and `1½` `11⁄2`, and splits
ordinary letters of Thai, Lao, Tibetan and Armenian. Those forms stay as they are here.
"""

import re
import unicodedata
from functools import cache

_APOSTROPHES = "'’‘‛`´ʼʻʹˈ′‵＇׳՚ꞌꞋ᾽᾿"
"""Typed one for another in words: quotes, accents that stand alone, the modifier letters of Ukrainian (U+02BC), Uzbek
and Hawaiian (U+02BB), primes, the Hebrew geresh, saltillo, the Armenian and Greek apostrophes."""
_DASHES = "‐‑‒–—―−⁃﹘﹣－"
_QUOTES = "“”„‟〝〞″＂״"
_SHAPES = {
    ord(shape): plain for shapes, plain in ((_APOSTROPHES, "'"), (_DASHES, "-"), (_QUOTES, '"')) for shape in shapes
}
_SAME_LOOK = ("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>", "<font>", "<noBreak>", "<compat>")
_LETTERS_OF_THEIR_OWN = {*map(ord, "ำຳໜໝཷཹև"), *range(0x3131, 0x318F)}  # <compat> in Unicode; the last: Hangul letters
_FOREIGN = dict(
    zip(
        map(ord, "АВЕКМНОРСТХаеорсухіјѕԛԝЅІЈҮ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο"),
        "ABEKMHOPCTXaeopcyxijsqwSIJY" + "ABEZHIKMNOPTYXo",
        strict=True,
    )
)
"""Letters of Cyrillic and Greek that look like Latin ones."""
_FILLERS = {
    0x034F,
    0x115F,
    0x1160,
    0x17B4,
    0x17B5,
    0x3164,
    0xFFA0,
    0x2800,
    *range(0x180B, 0x1810),
    *range(0xFE00, 0xFE10),
}
_TATWEEL = "ـߺ"  # stretch a word of Arabic or N'Ko
_SHAPING = "\u0600-\u0dff\u1000-\u109f\u1780-\u18af\u1900-\u1cff\ua800-\uabff\U00010a00-\U00011fff\U0001e900-\U0001e95f"
_IDLE_JOINERS = re.compile(rf"(?<![{_SHAPING}])[\u200c\u200d]+|[\u200c\u200d]+(?![{_SHAPING}])")
_JOINER_RUNS = re.compile("([\u200c\u200d])[\u200c\u200d]+")
_MARKS_OVER_I = re.compile(r"([ijіјɨı])([\u0300-\u036f]*\u0307[\u0300-\u036f]*)")
_WORD = re.compile(r"[^\W\d_]+")


def skeleton(text: str) -> str:
    """The text as a reader sees it, for comparison only; texts of one skeleton differ by what is hardly seen.

    Wide letters, ligatures and presentation forms are plain ones, invisible characters are gone, apostrophes, dashes
    and quotes have one shape, letters of Cyrillic and Greek that look Latin are Latin, spaces are single.
    """
    plain = drop_idle_joiners(unicodedata.normalize("NFC", text).translate(_SKELETON))
    return " ".join(drop_dots_over_i(unicodedata.normalize("NFC", plain)).split())


def describe_invisible(text: str) -> tuple[str, ...]:
    """Names of the characters that a reader does not see or takes for others: "U+200B ZERO WIDTH SPACE", in order."""
    composed = unicodedata.normalize("NFC", text)
    found = [character for character in composed if looks_like(character) != character and character not in "-'\""]
    found += ["\u0307"] if drop_dots_over_i(composed) != composed else []
    found += foreign_letters(composed)
    kept = drop_idle_joiners(composed)
    found += [joiner for joiner in "\u200c\u200d" if kept.count(joiner) < composed.count(joiner)]
    return tuple(dict.fromkeys(map(character_name, found)))


def character_name(character: str) -> str:
    """Code point and name: "U+200B ZERO WIDTH SPACE"."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'without a name')}"


@cache
def is_invisible(character: str) -> bool:
    """Whether nothing is seen of it: controls, marks of direction, fillers, variation selectors; not spaces."""
    category, code = unicodedata.category(character), ord(character)
    if character.isspace() or character in "\u200c\u200d" or code in _PREPENDED:
        return False
    return category in ("Cf", "Cc") or code in _FILLERS or 0xE0000 <= code <= 0xE0FFF


_PREPENDED = {*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}  # Cf, but seen


@cache
def plain_form(character: str) -> str:
    """The plain characters that a compatibility form looks like ("ﬁ" is "fi"); any other character as it is."""
    tag, *codes = unicodedata.decomposition(character).split() or [""]
    if tag not in _SAME_LOOK or ord(character) in _LETTERS_OF_THEIR_OWN:
        return character
    parts = [chr(int(code, 16)) for code in codes]
    if parts[0] == " " and len(parts) > 1:  # marks that stand alone: only those of Arabic belong to a letter
        return "".join(parts[1:]) if 0xFE70 <= ord(character) <= 0xFE7F else character
    return "".join(map(plain_form, parts)).replace("\u0640", "")


@cache
def looks_like(character: str) -> str:
    """What a reader takes the character for: nothing, its plain form, a plain mark, or itself."""
    if is_invisible(character) or character in _TATWEEL:
        return ""
    shape = character if ord(character) in _SHAPES else plain_form(character)  # ´ is also a space with an accent
    return shape.translate(_SHAPES)


def is_apostrophe(character: str) -> bool:
    """Whether it is typed for an apostrophe."""
    return character in _APOSTROPHES


def drop_idle_joiners(text: str) -> str:
    """Without the joiners (U+200C, U+200D) that shape nothing: those that are not between letters of joining scripts.

    Between letters of Arabic, of India's scripts and their kin they decide how a word looks (RFC 5892, A.1 and A.2).
    """
    if "\u200c" not in text and "\u200d" not in text:
        return text
    return _IDLE_JOINERS.sub("", _JOINER_RUNS.sub(r"\1", text))


def drop_dots_over_i(text: str) -> str:
    """Without a combining dot (U+0307) over letters that have one, as `lower()` leaves behind of İ; NFC in and out."""
    if "\u0307" not in text:
        return text
    decomposed = unicodedata.normalize("NFD", text)
    return unicodedata.normalize(
        "NFC", _MARKS_OVER_I.sub(lambda found: found[1].replace("ı", "i") + found[2].replace("\u0307", ""), decomposed)
    )


def foreign_letters(text: str) -> list[str]:
    """Letters of the rarer script in words that mix Latin with Cyrillic or Greek letters, if they look alike."""
    if text.isascii():
        return []
    found: list[str] = []
    for word in _WORD.findall(text):
        if word.isascii() or not any(ord(letter) in _FOREIGN or letter in _LATIN_LOOKS for letter in word):
            continue
        latin = [letter for letter in word if _script(letter) == "LATIN"]
        other = [letter for letter in word if _script(letter) in ("CYRILLIC", "GREEK")]
        if latin and other:
            found += [
                letter for letter in min(latin, other, key=len) if ord(letter) in _FOREIGN or letter in _LATIN_LOOKS
            ]
    return found


_LATIN_LOOKS = frozenset(_FOREIGN.values())


@cache
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


class _Skeletons(dict[int, str]):
    """A table for `str.translate`, filled as characters are met."""

    def __missing__(self, code: int) -> str:
        look = looks_like(chr(code))
        self[code] = look.translate(_FOREIGN)
        return self[code]


_SKELETON = _Skeletons()
