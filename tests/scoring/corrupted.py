"""Pairs of hypotheses made from references by chance, the same on every machine, to compare two systems' tests."""

import random
from typing import NamedTuple

VOCABULARY = (
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "oh",
    "start",
    "stop",
    "yes",
    "no",
)
UTTERANCES = 120
# The shares of wrong words of both systems, equal and unequal.
RATES = [
    *((0.1, 0.1), (0.05, 0.05), (0.3, 0.3), (0.02, 0.02), (0.2, 0.2), (0.1, 0.16)),
    *((0.05, 0.2), (0.5, 0.4), (0.03, 0.06), (0.25, 0.35), (0.8, 0.7), (0.1, 0.0)),
]


class Pair(NamedTuple):
    """The words of references and of both hypotheses."""

    reference: list[list[str]]
    first: list[list[str]]
    second: list[list[str]]


def corrupted(number: int) -> Pair:
    """The pair with the rates RATES[number]."""
    drawn = random.Random(number)
    reference = [[drawn.choice(VOCABULARY) for _ in range(drawn.randint(1, 12))] for _ in range(UTTERANCES)]
    first, second = ([_spoil(words, rate, drawn) for words in reference] for rate in RATES[number])
    return Pair(reference, first, second)


def _spoil(words: list[str], rate: float, drawn: random.Random) -> list[str]:
    """Half of the errors are substitutions, a quarter each deletions and insertions, which come in runs."""
    spoiled: list[str] = []
    for word in [*words, ""]:
        while drawn.random() < rate / 4:
            spoiled.append(drawn.choice(VOCABULARY))
        chance = drawn.random()
        if chance >= 0.75 * rate and word:
            spoiled.append(word)
        elif chance < 0.5 * rate and word:
            spoiled.append(drawn.choice(VOCABULARY))
    return spoiled
