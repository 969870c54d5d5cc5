"""Texts of one look have one skeleton, and what is hardly seen has a name."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_asr.text.lookalikes import describe_invisible, skeleton


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("zero\u200bwidth so\u00adft \u200fmark\u200e \ufeffbom", "zerowidth soft mark bom"),
        ("ｆｕｌｌ　ｗｉｄｔｈ １２", "full width 12"),
        ("ﬁne oﬃce", "fine office"),
        ("ｶﾞｷﾞ", "ガギ"),
        ("ﻣﺮﺣﺒﺎ", "مرحبا"),
        ("مـــرحبا", "مرحبا"),
        ("don’t don`t don´t donʼt don＇t", "don't don't don't don't don't"),
        ("a–b a—b a‑b", "a-b a-b a-b"),
        ("“quoted”", '"quoted"'),
        ("i\u0307zmir", "izmir"),
        ("co\u200dop", "coop"),
        ("a\u00a0b\u2009 c\n", "a b c"),
        ("\u3164안녕", "안녕"),
        ("\U0001d400\U0001d401 Ⅳ", "AB IV"),
    ],
)
def test_what_a_reader_sees(written: str, seen: str) -> None:
    assert skeleton(written) == seen


def test_a_latin_letter_in_a_cyrillic_word_is_not_seen() -> None:
    assert skeleton("молоко") == skeleton("мoлoкo") != skeleton("молоки")
    assert describe_invisible("мoлoкo стул") == ("U+006F LATIN SMALL LETTER O",)
    assert describe_invisible("молоко milk") == ()


@pytest.mark.parametrize(
    "text", ["m²", "1½", "①", "x³", "ทำ", "և", "ㅋㅋ", "Don't-know", "می\u200cخواهم", "क्\u200dष", "ɡ"]
)
def test_what_is_seen_to_differ_stays(text: str) -> None:
    assert skeleton(text) == text
    assert describe_invisible(text) == ()


def test_case_and_accents_are_seen() -> None:
    assert skeleton("Éa") != skeleton("éa") != skeleton("ea")


def test_names_of_characters_come_once_and_in_order() -> None:
    assert describe_invisible("a\u200bb\u200b ﬁ don’t") == (
        "U+200B ZERO WIDTH SPACE",
        "U+FB01 LATIN SMALL LIGATURE FI",
        "U+2019 RIGHT SINGLE QUOTATION MARK",
    )
    assert describe_invisible("co\u200dop i\u0307") == ("U+0307 COMBINING DOT ABOVE", "U+200D ZERO WIDTH JOINER")


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.text())
def test_a_skeleton_is_its_own(text: str) -> None:
    assert skeleton(skeleton(text)) == skeleton(text)
    assert skeleton(unicodedata.normalize("NFD", text)) == skeleton(text)


def test_every_character_has_one_skeleton() -> None:
    for start in [*range(0, 0x3400, 64), *range(0xF900, 0x10000, 64), *range(0x1D400, 0x1D800, 64)]:
        text = "".join(f"a{chr(code)}b " for code in range(start, start + 64) if not 0xD800 <= code < 0xE000)
        assert skeleton(skeleton(text)) == skeleton(text)
