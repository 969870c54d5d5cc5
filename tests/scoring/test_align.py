"""Error counts against a brute-force edit distance and alignments counted by hand."""

import unicodedata
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybrid_asr.scoring.align import ErrorCounts, Step, Unit, align, align_all, count_all, count_errors, split

# Always the same examples, and a loaded machine is no failure.
examples = partial(settings, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
UNITS: tuple[Unit, ...] = ("word", "character")
SENTENCES = st.lists(st.sampled_from(["a", "b", "aa", "ab", "天", "é", "e\u0301"]), max_size=7).map(" ".join)


def edit_distance(left: list[str], right: list[str]) -> int:
    """The definition, by recursion over prefixes."""
    above = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        row = [i]
        for j, b in enumerate(right, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b)))
        above = row
    return above[-1]


@pytest.mark.parametrize("unit", UNITS)
@examples(max_examples=200)
@given(reference=SENTENCES, hypothesis=SENTENCES)
def test_counts_are_the_edit_distance(unit: Unit, reference: str, hypothesis: str) -> None:
    counts = count_errors(reference, hypothesis, unit)
    left, right = split(reference, unit), split(hypothesis, unit)
    assert counts.errors == edit_distance(left, right)
    assert counts.reference == len(left)
    assert counts.insertions - counts.deletions == len(right) - len(left)
    assert min(counts.substitutions, counts.deletions, counts.insertions) >= 0


@pytest.mark.parametrize("unit", UNITS)
@examples(max_examples=100)
@given(reference=SENTENCES, hypothesis=SENTENCES)
def test_alignments_spell_both_sides_and_agree_with_the_counts(unit: Unit, reference: str, hypothesis: str) -> None:
    steps = align(reference, hypothesis, unit)
    assert [step.reference for step in steps if step.kind != "insert"] == split(reference, unit)
    assert [step.hypothesis for step in steps if step.kind != "delete"] == split(hypothesis, unit)
    assert all((step.reference == step.hypothesis) == (step.kind == "equal") for step in steps)
    kinds = [step.kind for step in steps]
    counts = count_errors(reference, hypothesis, unit)
    assert counts.substitutions == kinds.count("substitute")
    assert (counts.deletions, counts.insertions) == (kinds.count("delete"), kinds.count("insert"))


@pytest.mark.parametrize("unit", UNITS)
@examples(max_examples=25)
@given(pairs=st.lists(st.tuples(SENTENCES, SENTENCES), min_size=1, max_size=6))
def test_a_batch_is_its_utterances(unit: Unit, pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = [a for a, _ in pairs], [b for _, b in pairs]
    assert count_all(references, hypotheses, unit) == [count_errors(*pair, unit) for pair in pairs]
    assert align_all(references, hypotheses, unit) == [align(*pair, unit) for pair in pairs]


def test_counts_are_additive() -> None:
    first, second = ErrorCounts(1, 2, 3, 10), ErrorCounts(4, 5, 6, 20)
    assert first + second == ErrorCounts(5, 7, 9, 30)
    assert sum([first, second], ErrorCounts()) == second + first
    assert (first + second).errors == first.errors + second.errors == 21
    assert ErrorCounts(1, 0, 1, 8).rate == 0.25


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("the quick brown fox", "the quack brown fox", ErrorCounts(1, 0, 0, 4)),
        ("the quick brown fox", "the brown fox", ErrorCounts(0, 1, 0, 4)),
        ("the quick brown fox", "the very quick brown fox", ErrorCounts(0, 0, 1, 4)),
        ("the quick brown fox", "a quick red big fox", ErrorCounts(2, 0, 1, 4)),
        ("one two three", "", ErrorCounts(0, 3, 0, 3)),
        ("", "one two", ErrorCounts(0, 0, 2, 0)),
        ("", "", ErrorCounts(0, 0, 0, 0)),
        ("  one\ttwo ", "one two", ErrorCounts(0, 0, 0, 2)),
        ("Case counts", "case counts", ErrorCounts(1, 0, 0, 2)),
        ("cafe\u0301", "café", ErrorCounts(0, 0, 0, 1)),
    ],
)
def test_words_counted_by_hand(reference: str, hypothesis: str, expected: ErrorCounts) -> None:
    assert count_errors(reference, hypothesis, "word") == expected


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("it is", "itis", ErrorCounts(0, 1, 0, 5)),  # a space is a character
        ("it is", "it  is", ErrorCounts(0, 0, 0, 5)),
        ("今天 天气", "今天天气", ErrorCounts(0, 0, 0, 4)),  # but not in a script without spaces
        ("今天天气", "今天天汽好", ErrorCounts(1, 0, 1, 4)),
        ("我 love you", "我love you", ErrorCounts(0, 0, 0, 9)),
        ("สวัสดี ครับ", "สวัสดีครับ", ErrorCounts(0, 0, 0, 10)),
        ("カメラ です", "カメラです", ErrorCounts(0, 0, 0, 5)),
        ("안녕 하세요", "안녕하세요", ErrorCounts(0, 1, 0, 6)),  # Korean separates words
        ("👩\u200d💻", "👩", ErrorCounts(0, 2, 0, 3)),
    ],
)
def test_characters_counted_by_hand(reference: str, hypothesis: str, expected: ErrorCounts) -> None:
    assert count_errors(reference, hypothesis, "character") == expected


def test_an_alignment_by_hand() -> None:
    assert align("call my aunt in bonn now", "call aunt in born now please") == [
        Step("equal", "call", "call"),
        Step("delete", "my", ""),
        Step("equal", "aunt", "aunt"),
        Step("equal", "in", "in"),
        Step("substitute", "bonn", "born"),
        Step("equal", "now", "now"),
        Step("insert", "", "please"),
    ]


@pytest.mark.parametrize("unit", UNITS)
@examples(max_examples=100)
@given(text=st.text())
def test_a_text_is_equal_to_itself_however_composed(unit: Unit, text: str) -> None:
    assert count_errors(text, unicodedata.normalize("NFD", text), unit).errors == 0
