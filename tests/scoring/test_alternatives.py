"""Alternatives and optional words of NIST's transcripts: parsed, spelled, and resolved with the fewest errors."""

import random
from collections.abc import Iterator

import pytest

from hybrid_asr.scoring.align import count_errors
from hybrid_asr.scoring.alternatives import Resolved, resolve
from hybrid_asr.scoring.markup import MarkupError, is_marked, parse, plain_texts, respell
from hybrid_asr.text.normalize import normalize


def random_reference(draw: random.Random, *, depth: int = 0, words: str = "abcde") -> str:
    """Words, optional ones, and alternatives in each other."""

    def item() -> str:
        kind = draw.random()
        if kind < 0.15 and depth < 2:
            ways = [random_reference(draw, depth=depth + 1, words=words) for _ in range(draw.randint(2, 3))]
            return "{ " + " / ".join(way if draw.random() < 0.8 else "@" for way in ways) + " }"
        return f"({draw.choice(words)})" if kind < 0.3 else draw.choice(words)

    return " ".join(item() for _ in range(draw.randint(1, 6 - 2 * depth)))


def pairs(number: int, seed: int) -> Iterator[tuple[str, str]]:
    """References with alternatives, and hypotheses near one of their readings."""
    draw = random.Random(seed)
    for _ in range(number):
        reference = random_reference(draw)
        said = list(draw.choice([*plain_texts(reference)][:50]).split())
        for place in reversed(range(len(said))):
            if draw.random() < 0.2:
                said[place : place + 1] = draw.choice([[], ["x"], [said[place], "y"]])
        yield reference, " ".join(said)


@pytest.mark.parametrize("unit", ["word", "character"])
def test_no_reading_has_fewer_errors(unit) -> None:
    for reference, hypothesis in pairs(60, seed=1):
        chosen = resolve(reference, hypothesis, unit, marked_reference=True, marked_hypothesis=False)
        readings = set(plain_texts(reference))
        assert chosen.reference in readings and chosen.hypothesis == hypothesis
        least = min(count_errors(reading, hypothesis, unit).errors for reading in readings)
        assert count_errors(chosen.reference, hypothesis, unit).errors == least, (reference, hypothesis)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "resolved"),
    [
        ("i { am / i'm } going", "i am going", Resolved("i am going", "i am going")),
        ("{ uh / @ } yes (%hesitation) please", "yes please", Resolved("yes please", "yes please", ("%hesitation",))),
        ("yes (uh) please", "yes uh please", Resolved("yes uh please", "yes uh please")),
        ("{a/{ b / c d }/ @} z", "c d z", Resolved("c d z", "c d z")),
        ("a { and/or / x } b", "a or b", Resolved("a or b", "a or b")),
        ("@ a / b", "a / b", Resolved("a / b", "a / b")),
        ("a (b c) d", "a d", Resolved("a (b c) d", "a d")),
        ("one two", "one { two / too }", Resolved("one two", "one two")),
        ("(uh)", "", Resolved("", "", ("uh",))),
        ("{ a / b }", "", Resolved("a", "")),
    ],
)
def test_what_is_read_and_chosen_by_hand(reference, hypothesis, resolved) -> None:
    assert resolve(reference, hypothesis, "word", marked_reference=True, marked_hypothesis=True) == resolved


def test_words_of_a_file_without_marks_are_words() -> None:
    kept = resolve("a { b / c } (d)", "@ (a)", "word", marked_reference=False, marked_hypothesis=False)
    assert kept == Resolved("a { b / c } (d)", "@ (a)")
    assert [is_marked(text) for text in ("a / b", "a@b", "f(x) y", "(a b)", "a @", "(a)", "a {b")] == [False] * 4 + [
        True
    ] * 3


def test_characters_choose_for_themselves() -> None:
    texts = {"marked_reference": True, "marked_hypothesis": False}
    assert resolve("{ abcd / xy zz }", "abce zz", "word", **texts).reference == "xy zz"
    assert resolve("{ abcd / xy zz }", "abce zz", "character", **texts).reference == "abcd"
    assert resolve("今 (天) { 气 / 汽 }", "今汽", "character", **texts) == Resolved("今 汽", "今汽", ("天",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a { b", "'{' is not closed"),
        ("a { b / ", "'{' is not closed"),
        ("a } b", "'}' closes nothing"),
        ("a { / b }", "an alternative is empty; write '@'"),
        ("a { }", "an alternative is empty"),
        ("{ " * 5000 + "a", "more than 50 '{' in each other"),
    ],
)
def test_broken_braces_are_refused(text: str, message: str) -> None:
    with pytest.raises(MarkupError, match=message):
        parse(text)


def test_too_many_texts_of_a_hypothesis_are_refused_and_many_of_a_reference_are_not() -> None:
    many = "{ a / b } (c) " * 20
    assert (
        resolve(many, "b c " * 20, "word", marked_reference=True, marked_hypothesis=False).reference
        == "b c " * 19 + "b c"
    )
    with pytest.raises(MarkupError, match="more than 256 alternative texts"):
        resolve("a", many, "word", marked_reference=False, marked_hypothesis=True)


def test_very_long_texts_choose_by_words() -> None:
    long = "x" * 9000
    texts = {"marked_reference": True, "marked_hypothesis": False}
    assert resolve(f"{{ abcd / xy zz }} {long}", f"abce zz {long}", "character", **texts).reference == f"xy zz {long}"
    with pytest.raises(MarkupError, match="words, too many to choose alternatives; cut it into segments"):
        resolve("{ a / b } " + "c " * 8000, "c " * 8000, "word", **texts)


def test_rules_spell_words_and_leave_the_marks() -> None:
    spelled = respell("{ Uh-huh / ... / @ } (%Hesitation) O'Neil, (a-b) x", lambda word: normalize(word, "basic@1"))
    assert spelled == "{ uh huh / @ / @ } (hesitation) o'neil (a) (b) x"
