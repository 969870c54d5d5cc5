"""Repetition loops: found wherever they stand, never in what was said as often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_asr.scoring.repetitions import has_loop

WORDS = st.lists(st.sampled_from("abcdefgh"), max_size=6)


@pytest.mark.parametrize(
    ("reference", "hypothesis", "looping"),
    [
        ("no", "no no no no", True),
        ("no", "no no no", False),
        ("no no no no", "no no no no", False),
        ("no no no no no", "no no no no", False),
        ("no no no no", "no no no no no", True),  # five in a row were not said
        ("no no no no", "no no no no go go go go", True),
        ("", "a b a b a b a b", True),
        ("", "a b a b a b a", False),
        ("", "x y a b a b a b a b z", True),
        ("", "a b c d e f g h " * 4, True),
        ("", "a b c d e f g h i " * 4, False),  # nine words are more than are looked for
        ("", "", False),
    ],
)
def test_by_hand(reference, hypothesis, looping):
    assert has_loop(reference, hypothesis, "word") == looping


@given(before=WORDS, unit=st.lists(st.sampled_from("xyz"), min_size=1, max_size=8), after=WORDS)
def test_four_times_is_a_loop_wherever_it_stands_unless_it_was_said(before, unit, after):
    text = " ".join([*before, *unit * 4, *after])
    assert has_loop("a b c", text, "word")
    assert not has_loop(text, text, "word")


@given(words=st.lists(st.sampled_from("ab"), max_size=14))
def test_it_is_the_definition(words):
    runs = [
        words[start : start + size] * 4 == words[start : start + 4 * size]
        for size in range(1, 9)
        for start in range(len(words) - 4 * size + 1)
    ]
    assert has_loop("", " ".join(words), "word") == any(runs)


def test_characters_are_units_of_their_own():
    assert has_loop("", "哈哈哈哈", "character")
    assert not has_loop("", "哈哈哈哈", "word")
