"""Laws of the normalization rules, and what each is for."""

import unicodedata
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.text.normalize import RULES, Rules, TextConfig, normalize

# Always the same examples, and a loaded machine is no failure.
examples = partial(settings, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TRICKY = st.text(alphabet="aéZ9'’\u200c\u200d \u0301\u0308ΣσİIß\u00ad.[]<>&%\ufe0f😀語ก็\u3000\n")
TEXTS = st.one_of(st.text(), TRICKY)


@pytest.mark.parametrize("rules", RULES)
@examples(max_examples=300)
@given(text=TEXTS)
def test_idempotent_composed_and_collapsed(rules: Rules, text: str) -> None:
    once = normalize(text, rules)
    assert normalize(once, rules) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == " ".join(once.split())


@pytest.mark.parametrize("rules", RULES)
@examples(max_examples=200)
@given(text=TEXTS)
def test_canonically_equal_texts_become_the_same(rules: Rules, text: str) -> None:
    assert normalize(unicodedata.normalize("NFD", text), rules) == normalize(text, rules)


@examples(max_examples=200)
@given(text=TEXTS)
def test_none_changes_no_visible_character(text: str) -> None:
    assert normalize(text, "none@1").split() == unicodedata.normalize("NFC", text).split()


@examples(max_examples=200)
@given(text=TEXTS)
def test_basic_leaves_only_words(text: str) -> None:
    for character in normalize(text, "basic@1"):
        assert character in " '\u200c\u200d" or unicodedata.category(character)[0] in "LMN"


@pytest.mark.parametrize(
    ("text", "rules", "expected"),
    [
        ("  A\t b\u3000c\n", "none@1", "A b c"),
        ("cafe\u0301", "none@1", "café"),
        ("ﬁ ①", "none@1", "ﬁ ①"),  # NFKC would rewrite both
        ("Hello, World! It’s 'quoted' — rock 'n' roll.", "basic@1", "hello world it's quoted rock n roll"),
        ("well-known U.S. 3.14 snake_case", "basic@1", "well known u s 3 14 snake case"),
        ("Straße ΟΔΟΣ", "basic@1", "straße οδος"),
        ("你好,世界。", "basic@1", "你好 世界"),
        ("สวัสดีครับ ขอบคุณ!", "basic@1", "สวัสดีครับ ขอบคุณ"),
        ("नमस्ते, दुनिया", "basic@1", "नमस्ते दुनिया"),
        ("می\u200cخواهم", "basic@1", "می\u200cخواهم"),  # the joiner spells the word
        ("👩\u200d💻 ok ❤️ 5️⃣", "basic@1", "ok 5"),
        ("co\u00adoperate e\u00ad\u0301", "basic@1", "cooperate é"),
        ("[noise] AT&T café (laughs) naïve <unk> 5% Straße", "english@1", "at and t cafe naive 5 percent strasse"),
        ("Don't stop; it's Über-easy.", "english@1", "don't stop it's uber easy"),
        ("Rubout g m e, f three nine", "upper@1", "RUBOUT G M E F THREE NINE"),
        ("it’s", "upper@1", "IT'S"),
    ],
)
def test_examples(text: str, rules: Rules, expected: str) -> None:
    assert normalize(text, rules) == expected


def test_upper_is_basic_in_upper_case() -> None:
    text = "The “quick” brown fox's—jump, 2 times."
    assert normalize(text, "upper@1") == normalize(text, "basic@1").upper()


def test_unknown_rules_are_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"text.rules.*basic@1"):
        parse(TextConfig, {"rules": "basic"}, where="text")
