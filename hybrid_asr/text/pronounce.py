"""Guess pronunciations of words that a lexicon lacks, from those that it has (after Bisani and Ney, 2008).

Each letter of a word is pronounced as zero, one or two phonemes. Expectation maximization over all ways to divide the
pronunciations learns which; then a word is a sequence of pairs of a letter and its phonemes, and an n-gram of such
pairs gives the probability of each pair after those before it.
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
    """Guesses the pronunciation of a word; `fit` learns one from a lexicon."""

    def __init__(self, sequences: Iterable[Sequence[Pair]], order: int) -> None:
        """Estimate the n-gram of order `order` from words as sequences of pairs."""
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
        """The most probable pronunciation; None if the lexicon lacks one of the letters."""
        states, scores = np.array([self.ngram.start]), np.zeros(1)
        prefixes: list[Pronunciation] = [()]
        for letter in word:
            ways = self.ways.get(letter, [])
            if not ways:
                return None
            numbers = np.tile([number for number, _ in ways], len(prefixes))
            log_probs, after = self.ngram.advance(np.repeat(states, len(ways)), numbers)
            totals = np.repeat(scores, len(ways)) + log_probs
            best = np.argsort(-totals, kind="stable")[:BEAM].tolist()
            prefixes = [prefixes[index // len(ways)] + ways[index % len(ways)][1] for index in best]
            states, scores = after[best], totals[best]
        scores = scores + self.ngram.ending(states)
        ranked = sorted(zip(-scores, prefixes, strict=True))
        return next((phonemes for _, phonemes in ranked if phonemes), None)


def fit(lexicon: Lexicon, *, order: int = 5) -> Pronouncer:
    """Learn from all words with all of their pronunciations; those too long for their letters are left out."""
    spoken = [(word, phonemes) for word, pronunciations in lexicon.entries.items() for phonemes in pronunciations]
    spoken = [(word, phonemes) for word, phonemes in spoken if len(phonemes) <= MOST * len(word)]
    probs = _expected(spoken, None)
    for _ in range(ROUNDS - 1):
        probs = _expected(spoken, probs)
    return Pronouncer((_best(word, phonemes, probs) for word, phonemes in spoken), order)


def _name(pair: Pair) -> str:
    """A pair as a word of the n-gram; neither letters nor phonemes hold braces."""
    return f"{pair[0]}}}{{{'|'.join(pair[1])}"


def _steps(word: str, phonemes: Pronunciation) -> Iterator[tuple[int, int, int, Pair]]:
    """Each possible pair, by letter: the letter's index, first and last phoneme (exclusive), and the pair."""
    letters, sounds = len(word), len(phonemes)
    for position, letter in enumerate(word):
        for before in range(max(0, sounds - MOST * (letters - position)), min(sounds, MOST * position) + 1):
            least = max(
                before, sounds - MOST * (letters - position - 1)
            )  # else the remaining letters could not cover the rest
            for behind in range(least, min(sounds, before + MOST) + 1):
                yield position, before, behind, (letter, phonemes[before:behind])


def _expected(spoken: Sequence[Spoken], probs: Mapping[Pair, float] | None) -> dict[Pair, float]:
    """The expected relative frequency of each pair over all divisions of each word; `probs` None: all are equal."""
    counts: dict[Pair, float] = defaultdict(float)
    for word, phonemes in spoken:
        ways = [(*step, 1.0 if probs is None else probs.get(step[-1], 0.0)) for step in _steps(word, phonemes)]
        forward, backward = defaultdict(float, {(0, 0): 1.0}), defaultdict(float, {(len(word), len(phonemes)): 1.0})
        for position, before, behind, _, prob in ways:
            forward[position + 1, behind] += forward[position, before] * prob
        for position, before, behind, _, prob in reversed(ways):
            backward[position, before] += backward[position + 1, behind] * prob
        total = forward[len(word), len(phonemes)]
        for position, before, behind, pair, prob in ways:
            counts[pair] += forward[position, before] * prob * backward[position + 1, behind] / total
    total_count = sum(counts.values())
    return {pair: count / total_count for pair, count in counts.items() if count > 0}


def _best(word: str, phonemes: Pronunciation, probs: Mapping[Pair, float]) -> list[Pair]:
    """The most probable division of a word into pairs."""
    best: dict[tuple[int, int], tuple[float, list[Pair]]] = {(0, 0): (0.0, [])}
    for position, before, behind, pair in _steps(word, phonemes):
        if (position, before) in best and probs.get(pair, 0.0) > 0:
            score, pairs = best[position, before]
            score += math.log(probs[pair])
            if (position + 1, behind) not in best or best[position + 1, behind][0] < score:
                best[position + 1, behind] = (score, [*pairs, pair])
    return best[len(word), len(phonemes)][1]
