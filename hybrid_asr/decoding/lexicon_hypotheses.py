"""The hypotheses of a lexicon search, as arrays.  Axes: H hypotheses (of all utterances), C candidates."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt64

from hybrid_asr.decoding.trie import BORDER, Trie

STAYS = -1  # in place of a word: none has ended
FACTOR = np.uint64(6364136223846793005)  # of the hash (Knuth's multiplier modulo 2^64)
NODE_FACTOR = np.uint64(11400714819323198485)
ROW_FACTOR = np.uint64(14029467366897019727)


class Beam(NamedTuple):
    """Hypotheses of all utterances, those of one side by side."""

    rows: Int64[np.ndarray, " hyps"]  # the utterance
    nodes: Int64[np.ndarray, " hyps"]
    histories: UInt64[np.ndarray, " hyps"]  # a hash of the words: two in a beam collide once in 1e14 utterances
    states: Int64[np.ndarray, " hyps"]  # of the n-gram
    ngram: Float64[np.ndarray, " hyps"]  # log probability of the words under it
    bonus: Float64[np.ndarray, " hyps"]  # what is added to CTC's score: the weighted n-gram and the bonus for words
    traces: Int64[np.ndarray, " hyps"]  # where the words can be read
    blank: Float64[np.ndarray, " hyps"]  # log probability of these labels, ending in blank
    label: Float64[np.ndarray, " hyps"]  # and ending in the last label

    def take(self, indices: np.ndarray) -> "Beam":
        """The hypotheses at some indices."""
        return Beam(*(part[indices] for part in self))

    def total(self) -> Float64[np.ndarray, " hyps"]:
        """Log probabilities under CTC."""
        return np.logaddexp(self.blank, self.label)


class Candidates(NamedTuple):
    """Hypotheses after a frame and, of those in a new word, the word that has ended and its last node."""

    beam: Beam
    words: Int64[np.ndarray, " candidates"]
    exits: Int64[np.ndarray, " candidates"]


def merge_equal(beam: Beam) -> tuple[Beam, np.ndarray, np.ndarray]:
    """Hypotheses with equal words and node as one, by the sum of their probabilities.

    Also, of each, the index of the most probable one, which has the pronunciation to report, and of the first one.
    """
    keys = (beam.histories ^ (beam.nodes.astype(np.uint64) * NODE_FACTOR)) + beam.rows.astype(np.uint64) * ROW_FACTOR
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([keys[:1] == keys[:1], keys[1:] != keys[:-1]]))
    if not len(starts):
        return beam, order, order
    total = beam.total()[order]
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(keys))))
    best = np.flatnonzero(total == np.maximum.reduceat(total, starts)[group])[::-1]
    chosen = np.empty(len(starts), np.int64)
    chosen[group[best]] = order[best]
    blank, label = (np.logaddexp.reduceat(part[order], starts) for part in (beam.blank, beam.label))
    return beam.take(chosen)._replace(blank=blank, label=label), chosen, order[starts]


class WordHistory:
    """The words of all hypotheses so far, each history known by a number; 0 is the empty one."""

    def __init__(self, trie: Trie) -> None:
        self.trie = trie
        self._entries: list[tuple[int, int, int]] = [(0, STAYS, STAYS)]  # the previous history, the word, its last node

    def add(self, traces: np.ndarray, words: np.ndarray, exits: np.ndarray) -> Int64[np.ndarray, " hyps"]:
        """The histories after these `words`; unchanged where no word has ended."""
        new = np.flatnonzero(words != STAYS)
        after = traces.copy()
        after[new] = np.arange(len(self._entries), len(self._entries) + len(new))
        self._entries += zip(traces[new].tolist(), words[new].tolist(), exits[new].tolist(), strict=True)
        return after

    def words(self, trace: int) -> tuple[int, ...]:
        """The words of a history, by their indices in the trie."""
        return tuple(self._entries[number][1] for number in self._back(trace))

    def spelled(self, trace: int) -> list[tuple[int, ...]]:
        """The labels of each word, with the label between words at its beginning."""
        between = () if len(self.trie.entries) != 1 or self.trie.entries[0] != BORDER else self.trie.labels[[BORDER]]
        paths = [self.trie.spelled(self._entries[number][2]) for number in self._back(trace)]
        return [(*map(int, between), *path) if index else path for index, path in enumerate(paths)]

    def _back(self, trace: int) -> list[int]:
        """The numbers of all entries up to `trace`, the first word's first."""
        numbers = []
        while trace:
            numbers.append(trace)
            trace = self._entries[trace][0]
        return numbers[::-1]
