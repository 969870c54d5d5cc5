"""Word n-grams with back-off (Katz, 1987; Jelinek, 1990).

    P(w | h) = p(h w) where the file has the n-gram h w, else b(h) P(w | h without its first word)

The file (text/arpa.py) holds logarithms of p and b to the base 10, this module natural ones; an n-gram without b has
b = 1. A state is the longest suffix of the history that the file has, so that the probability of a word depends on the
state alone.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NO_WORD = -1  # a word that the n-gram gives a probability of 0

Gram = tuple[int, ...]


class Ngram:
    """An n-gram as an automaton. Words are numbered in the file's order; states are contexts, 0 is the empty one."""

    def __init__(self, words: Sequence[str], log_probs: dict[Gram, float], backoffs: dict[Gram, float]) -> None:
        """`log_probs` and `backoffs`, by n-gram, are natural logarithms; every word must have a unigram."""
        self.words = {word: number for number, word in enumerate(words)}
        order = max(map(len, log_probs))
        contexts = {gram[:-1] for gram in log_probs} | {gram for gram in log_probs if len(gram) < order} | set(backoffs)
        states = {gram: state for state, gram in enumerate(sorted(contexts, key=lambda gram: (len(gram), gram)))}
        self._backoffs = np.array([backoffs.get(gram, 0.0) for gram in states])
        self._shorter = np.array([_longest(gram[1:], states) for gram in states], np.int64)
        arcs = sorted((states[gram[:-1]] * len(words) + gram[-1], gram) for gram in log_probs)
        self._keys = np.array([key for key, _ in arcs], np.int64)
        self._log_probs = np.array([log_probs[gram] for _, gram in arcs])
        self._next = np.array([_longest(gram, states) for _, gram in arcs], np.int64)
        self.start = _longest((self.words[BEGIN],), states) if BEGIN in self.words else 0

    def number(self, word: str) -> int:
        """The word's number, or that of <unk>; NO_WORD where the file has neither."""
        return self.words.get(word, self.words.get(UNKNOWN, NO_WORD))

    def advance(
        self, states: Int64[np.ndarray, " some"], words: Int64[np.ndarray, " some"]
    ) -> tuple[Float64[np.ndarray, " some"], Int64[np.ndarray, " some"]]:
        """The log probability, in nats, of each word in its state, and the state after it."""
        log_probs, after = np.zeros(len(states)), np.zeros(len(states), np.int64)
        log_probs[words == NO_WORD] = -np.inf
        pending, contexts = np.flatnonzero(words != NO_WORD), states[words != NO_WORD]
        while len(pending):
            keys = contexts * len(self.words) + words[pending]
            arcs = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            known = self._keys[arcs] == keys
            log_probs[pending[known]] += self._log_probs[arcs[known]]
            after[pending[known]] = self._next[arcs[known]]
            pending, contexts = pending[~known], contexts[~known]
            log_probs[pending] += self._backoffs[contexts]
            contexts = self._shorter[contexts]
        return log_probs, after

    def ending(self, states: Int64[np.ndarray, " some"]) -> Float64[np.ndarray, " some"]:
        """The log probability, in nats, that the sentence ends in each state."""
        return self.advance(states, np.full(len(states), self.words.get(END, NO_WORD)))[0]

    def score(self, sentence: Sequence[str]) -> float:
        """The log probability, in nats, of a whole sentence, its end included."""
        state, total = np.array([self.start]), 0.0
        for word in sentence:
            log_prob, state = self.advance(state, np.array([self.number(word)]))
            total += float(log_prob[0])
        return total + float(self.ending(state)[0])


def _longest(gram: Gram, states: dict[Gram, int]) -> int:
    """The state of the longest suffix of `gram` that is a state."""
    while gram not in states:
        gram = gram[1:]
    return states[gram]
