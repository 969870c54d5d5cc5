"""Pronunciations of words that a lexicon lacks, from those that it has (after Bisani and Ney, 2008).

Each letter of a word is said as no, one or two phonemes. Which, is learned by expectation maximization over all ways to
divide the pronunciations; then a word is a sequence of pairs of a letter and its phonemes, and an n-gram of such pairs
tells how likely each is after those before it.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from hybrid_asr.text.estimate import witten_bell
from hybrid_asr.text.lexicon import Lexicon, Pronunciation
from hybrid_asr.text.ngram import Ngram

MOST = 2  # phonemes of a letter: x is K S
ROUNDS = 5  # of expectation maximization
BEAM = 30
Pair = tuple[str, Pronunciation]
Spoken = tuple[str, Pronunciation]  # a word with one of its pronunciations


class Pronouncer:
    """Guesses pronunciations; `fit` makes one."""

    def __init__(self, sequences: Iterable[Sequence[Pair]], order: int) -> None:
        """From words as sequences of pairs."""
        named = [[_name(pair) for pair in sequence] for sequence in sequences]
        probs, weights = witten_bell(named, order)
        words = [gram[0] for gram in probs if len(gram) == 1]
        words += [word for word in dict.fromkeys(gram[0] for gram in weights) if word not in set(words)]
        numbers = {word: number for number, word in enumerate(words)}
        logs, backs = (
            {tuple(numbers[word] for word in gram): math.log(value) for gram, value in table.items()}
            for table in (probs, weights)
        )
        self.ngram = Ngram(words, logs, backs)
        self.ways: dict[str, list[tuple[int, Pronunciation]]] = defaultdict(list)
        for word in words:
            letter, _, phonemes = word.partition("}")
            if phonemes:
                self.ways[letter].append(
                    (numbers[word], tuple(phonemes.strip("{").split("|")) if phonemes != "{" else ())
                )

    def guess(self, word: str) -> Pronunciation | None:
        """The most probable pronunciation; None for letters that the lexicon has not."""
        states, scores = np.array([self.ngram.start]), np.zeros(1)
        said: list[Pronunciation] = [()]
        for letter in word:
            ways = self.ways.get(letter, [])
            if not ways:
                return None
            numbers = np.tile([number for number, _ in ways], len(said))
            log_probs, after = self.ngram.advance(np.repeat(states, len(ways)), numbers)
            totals = np.repeat(scores, len(ways)) + log_probs
            best = np.argsort(-totals, kind="stable")[:BEAM].tolist()
            said = [said[place // len(ways)] + ways[place % len(ways)][1] for place in best]
            states, scores = after[best], totals[best]
        scores = scores + self.ngram.ending(states)
        ranked = sorted(zip(-scores, said, strict=True))
        return next((one for _, one in ranked if one), None)


def fit(lexicon: Lexicon, *, order: int = 5) -> Pronouncer:
    """Learn from all words with all of their pronunciations; those too long for their letters are left out."""
    spoken = [(word, one) for word, several in lexicon.entries.items() for one in several]
    spoken = [(word, one) for word, one in spoken if len(one) <= MOST * len(word)]
    probs = _expected(spoken, None)
    for _ in range(ROUNDS - 1):
        probs = _expected(spoken, probs)
    return Pronouncer((_best(word, one, probs) for word, one in spoken), order)


def _name(pair: Pair) -> str:
    """A pair as a word of the n-gram; neither letters nor phonemes hold braces."""
    return f"{pair[0]}}}{{{'|'.join(pair[1])}"


def _steps(word: str, phonemes: Pronunciation) -> Iterator[tuple[int, int, int, Pair]]:
    """Letter, phonemes before and behind it, and the pair, in an order in which what comes before is known."""
    letters, sounds = len(word), len(phonemes)
    for at, letter in enumerate(word):
        for before in range(max(0, sounds - MOST * (letters - at)), min(sounds, MOST * at) + 1):
            least = max(before, sounds - MOST * (letters - at - 1))  # else the letters left could not say the rest
            for behind in range(least, min(sounds, before + MOST) + 1):
                yield at, before, behind, (letter, phonemes[before:behind])


def _expected(spoken: Sequence[Spoken], probs: Mapping[Pair, float] | None) -> dict[Pair, float]:
    """How often each pair is expected, over all ways to divide each word, as shares; at first all pairs are alike."""
    counts: dict[Pair, float] = defaultdict(float)
    for word, phonemes in spoken:
        ways = [(*step, 1.0 if probs is None else probs.get(step[-1], 0.0)) for step in _steps(word, phonemes)]
        forward, backward = defaultdict(float, {(0, 0): 1.0}), defaultdict(float, {(len(word), len(phonemes)): 1.0})
        for at, before, behind, _, prob in ways:
            forward[at + 1, behind] += forward[at, before] * prob
        for at, before, behind, _, prob in reversed(ways):
            backward[at, before] += backward[at + 1, behind] * prob
        whole = forward[len(word), len(phonemes)]
        for at, before, behind, pair, prob in ways:
            counts[pair] += forward[at, before] * prob * backward[at + 1, behind] / whole
    everything = sum(counts.values())
    return {pair: count / everything for pair, count in counts.items() if count > 0}


def _best(word: str, phonemes: Pronunciation, probs: Mapping[Pair, float]) -> list[Pair]:
    """The most probable division."""
    best: dict[tuple[int, int], tuple[float, list[Pair]]] = {(0, 0): (0.0, [])}
    for at, before, behind, pair in _steps(word, phonemes):
        if (at, before) in best and probs.get(pair, 0.0) > 0:
            score, pairs = best[at, before]
            score += math.log(probs[pair])
            if (at + 1, behind) not in best or best[at + 1, behind][0] < score:
                best[at + 1, behind] = (score, [*pairs, pair])
    return best[len(word), len(phonemes)][1]
