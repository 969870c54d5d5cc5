"""The spelling of `basic@2`: one word, one spelling, however it was typed (see `normalize`)."""

import re
import unicodedata

from hybrid_asr.text.lookalikes import (
    drop_dots_over_i,
    drop_idle_joiners,
    is_apostrophe,
    is_invisible,
    looks_like,
)

_DOTLESS = {"tr", "tur", "az", "aze", "azj", "crh", "gag"}
"""Languages with two letters i: Turkish, Azeri, Crimean Tatar, Gagauz (Unicode's SpecialCasing, CLDR)."""
_NAMED_DOTLESS = ("turkish", "azerbaijani", "azeri")
_NAMED = """arabic armenian basque bengali bulgarian cantonese catalan chinese croatian czech danish dutch english
    estonian finnish french georgian german greek gujarati hebrew hindi hungarian icelandic indonesian italian
    japanese kannada kazakh korean latvian lithuanian malay malayalam mandarin marathi norwegian persian polish
    portuguese romanian russian serbian slovak slovenian spanish swahili swedish tamil telugu thai tibetan
    ukrainian urdu uyghur vietnamese welsh"""
"""Other languages as Lhotse's recipes name them."""
LANGUAGE_TAG = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8})*")
_JOINERS = "\u200c\u200d"
_INSIDE = f"'·{_JOINERS}"
_APART = ("<super>", "<fraction>")  # m², 1½: signs of their own, as `m2` or `11⁄2` they would be other numbers
_TO_LOWER = {ord("İ"): "i"}
_TO_DOTLESS = {ord("İ"): "i", ord("I"): "ı"}
_TO_UPPER = {ord("i"): "İ", ord("ı"): "I"}
_HEBREW_ACRONYM = re.compile('(?<=[\u05d0-\u05ea])"(?=[\u05d0-\u05ea])')  # part of a word: UAX #29, WB7b
_CATALAN_DOT = re.compile("(?<=[lL])[·‧•∙⋅](?=[lL])")
_OTHER_DOT = re.compile("(?<!l)·|·(?!l)")
_LOOSE = re.compile(r"(?<![^\s'])'|'(?![^\s'])")
_FINAL_SIGMA = re.compile("(?<=[\u0370-\u03ff\u1f00-\u1fff\u0300-\u036f])σ(?![\\w'\u0300-\u036f])")


def has_dotless_i(language: str | None) -> bool:
    """Whether I is the capital of ı in this language: a tag such as `tr`, `tr-TR` or `az_Latn`, or its English name."""
    if not language:
        return False
    primary = re.split("[-_]", language.strip().lower(), maxsplit=1)[0]
    return primary in _DOTLESS or primary in _NAMED_DOTLESS


def is_language(name: str) -> bool:
    """Whether this is a tag of a language (BCP 47), or the English name of one."""
    name = name.strip()
    return LANGUAGE_TAG.fullmatch(name) is not None or name.lower() in _NAMED.split() or has_dotless_i(name)


def one_shape(text: str) -> str:
    """NFC without what nobody sees; compatibility forms, apostrophes and digits have one shape. Case stays."""
    if text.isascii() and text.isprintable() and "`" not in text:
        return text
    shaped = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).translate(_SHAPE))
    return _CATALAN_DOT.sub("·", _HEBREW_ACRONYM.sub("", shaped))


def lower_words(text: str, language: str | None) -> str:
    """Words in lower case of a text of `one_shape`: letters, marks, numbers, and apostrophes between two of them."""
    dotless = has_dotless_i(language)
    plain = text if text.isascii() and not dotless else text.translate(_TO_DOTLESS if dotless else _TO_LOWER)
    lowered = plain.lower()
    if lowered.isascii():
        kept = lowered if lowered.replace(" ", "").isalnum() else lowered.translate(_KEPT)
        return " ".join((_LOOSE.sub("", kept) if "'" in kept else kept).split())
    words = _OTHER_DOT.sub(
        " ", drop_idle_joiners(drop_dots_over_i(unicodedata.normalize("NFC", lowered)).translate(_KEPT))
    )
    composed = " ".join(unicodedata.normalize("NFC", _LOOSE.sub("", words)).split())
    return _FINAL_SIGMA.sub("ς", composed.replace("ς", "σ"))


def upper_words(words: str, language: str | None) -> str:
    """What `lower_words` returned, in upper case."""
    return unicodedata.normalize("NFC", (words.translate(_TO_UPPER) if has_dotless_i(language) else words).upper())


class _Shapes(dict[int, str]):
    """A table for `str.translate`, filled as characters are met: the one shape of each."""

    def __missing__(self, code: int) -> str:
        self[code] = shape = _shape(chr(code))
        return shape


class _KeptCharacters(dict[int, str]):
    """The same: what belongs to words, and a space for what separates them."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = kept = character if character in _INSIDE or unicodedata.category(character)[0] in "LMN" else " "
        return kept


def _shape(character: str) -> str:
    """One character of NFC text in its one shape."""
    category = unicodedata.category(character)
    if character.isspace():
        return " "
    if category == "Me" or is_invisible(character) or (category == "Cf" and character not in _JOINERS):
        return ""
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if is_apostrophe(character):
        return "'"
    tag, *codes = unicodedata.decomposition(character).split() or [""]
    if (tag == "<sub>" and category == "No") or (tag == "<super>" and category == "Lo"):  # CO₂, 1º
        return unicodedata.normalize("NFKC", character)
    if tag.startswith("<") and category in ("No", "So"):
        apart = character if category == "No" else " "
        return f" {apart if tag in _APART else ''.join(_shape(chr(int(part, 16))) for part in codes)} "
    return looks_like(character)


_SHAPE = _Shapes()
_KEPT = _KeptCharacters()
