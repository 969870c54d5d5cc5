"""Guessed pronunciations: a spelling with rules is learned to the letter, from words that were never divided."""

import itertools
import math

import pytest

from hybrid_asr.text.lexicon import Lexicon
from hybrid_asr.text.pronounce import ROUNDS, _best, _expected, _steps, fit

SOUNDS = {"a": ("AH",), "x": ("K", "S"), "t": ("T",), "h": (), "o": ("OW",)}


def said(word: str) -> tuple[str, ...]:
    """One sound a letter, two of x, none of h; but a before x is long."""
    found = [("EY",) if word[at : at + 2] == "ax" else SOUNDS[letter] for at, letter in enumerate(word)]
    return tuple(sound for one in found for sound in one)


WORDS = ["".join(letters) for size in (1, 2, 3) for letters in itertools.product(SOUNDS, repeat=size)]
KNOWN = Lexicon({word: (said(word),) for word in WORDS if said(word)})


def test_rules_that_were_never_shown_are_learned() -> None:
    pronouncer = fit(KNOWN, order=3)
    for word in ("taxo", "hoth", "oxax", "tahat", "xaxt"):
        assert pronouncer.guess(word) == said(word), word
    assert pronouncer.guess("zoo") is None, "a letter that it does not know"


def test_every_way_to_divide_a_word_counts_by_its_probability() -> None:
    """Against a sum over all ways, written out."""
    probs = {("a", ()): 0.1, ("a", ("P",)): 0.3, ("a", ("P", "Q")): 0.2, ("b", ()): 0.15, ("b", ("Q",)): 0.25}
    counts = _expected([("ab", ("P", "Q"))], probs)
    ways = [[("a", ("P",)), ("b", ("Q",))], [("a", ("P", "Q")), ("b", ())]]
    weights = [math.prod(probs[pair] for pair in way) for way in ways]
    wanted = {pair: weight / sum(weights) / 2 for way, weight in zip(ways, weights, strict=True) for pair in way}
    assert counts == pytest.approx(wanted)


def test_divisions_are_whole_and_get_likelier() -> None:
    spoken = [(word, one) for word, several in KNOWN.entries.items() for one in several]
    probs, before = _expected(spoken, None), -math.inf
    for _ in range(ROUNDS):
        divided = [_best(word, one, probs) for word, one in spoken]
        for (word, one), pairs in zip(spoken, divided, strict=True):
            assert "".join(letter for letter, _ in pairs) == word
            assert tuple(sound for _, sounds in pairs for sound in sounds) == one
        likely = sum(math.log(probs[pair]) for pairs in divided for pair in pairs)
        assert likely > before - 1e-6
        probs, before = _expected(spoken, probs), likely


def test_letters_say_no_more_than_two_phonemes() -> None:
    assert {behind - before for _, before, behind, _ in _steps("abc", ("P",) * 5)} == {1, 2}
