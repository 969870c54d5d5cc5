"""Rules that were released stay as they are to the byte: models remember them by name."""

import hashlib
import unicodedata
from collections.abc import Iterator

import pytest

from hybrid_asr.text.normalize import RULES, Rules, normalize

CONTEXTS = (
    "{}",
    "a{}b",
    "A {} É",
    "ا{}ب",
    "क{}ष",
    "{}{}'{}’s",
    "e\u0301{}\u0308Σ",
    "[{}] <{}> (İ{}) 5%",
    "Σ{}ΟΔΟΣ{} ß",
)


def strings() -> Iterator[str]:
    """Every character of Unicode 3.2, which no version of Python changes, in several surroundings."""
    old = unicodedata.ucd_3_2_0
    for code in range(0x20000):
        character = chr(code)
        if (
            old.category(character) not in ("Cn", "Cs", "Co")
            and not 0x3500 <= code < 0x9F00
            and not 0xAD00 <= code < 0xD700
        ):
            yield character
    yield from (
        "  A\t b\u3000c\n",
        "👩\u200d💻 ok ❤️ 5️⃣",
        "Hello, World! It’s 'quoted' — rock 'n' roll.",
        "IŞIK İZMİR ılık",
    )


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    """About 17,000 characters; those at odd places in two contexts each, the contexts taken in turn."""
    texts = list(strings())
    return [
        CONTEXTS[(index + shift) % len(CONTEXTS)].replace("{}", text)
        for shift in (0, 4)
        for index, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("rules", "digest"),
    [
        ("none@1", "9fcfd7dad76b8a3b"),
        ("basic@1", "d53fa4788f908ec3"),
        ("english@1", "98cd0b50cbf0c6ef"),
        ("upper@1", "e85986e7537fac6a"),
    ],
)
def test_a_released_rule_never_changes(corpus: list[str], rules: Rules, digest: str) -> None:
    hashed = hashlib.sha256()
    for text in corpus:
        hashed.update(normalize(text, rules).encode() + b"\n")
    assert hashed.hexdigest()[:16] == digest


def test_language_and_tags_do_not_reach_the_first_rules() -> None:
    for rules in RULES[:4]:
        text = "IŞIK [noise] İ"
        assert normalize(text, rules, language="tr", tags="keep") == normalize(text, rules)
