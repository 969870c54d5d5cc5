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
    """Hypotheses, those of an utterance together."""

    rows: Int64[np.ndarray, " hyps"]  # the utterance
    nodes: Int64[np.ndarray, " hyps"]
    histories: UInt64[np.ndarray, " hyps"]  # a hash of the words: two in a beam collide once in 1e14 utterances
    states: Int64[np.ndarray, " hyps"]  # of the n-gram
    ngram: Float64[np.ndarray, " hyps"]  # log probability of the words under it
    bonus: Float64[np.ndarray, " hyps"]  # what is added to CTC's score: the weighted n-gram and the bonus for words
    traces: Int64[np.ndarray, " hyps"]  # where the words can be read
    blank: Float64[np.ndarray, " hyps"]  # log probability of these labels, ending in blank
    label: Float64[np.ndarray, " hyps"]  # and ending in the last label

    def take(self, places: np.ndarray) -> "Beam":
        """The hypotheses at some places."""
        return Beam(*(part[places] for part in self))

    def total(self) -> Float64[np.ndarray, " hyps"]:
        """Log probabilities under CTC."""
        return np.logaddexp(self.blank, self.label)


class Candidates(NamedTuple):
    """What a frame may lead to: hypotheses, and of those in a new word the one that has ended, and at which node."""

    beam: Beam
    words: Int64[np.ndarray, " candidates"]
    exits: Int64[np.ndarray, " candidates"]


def merged(beam: Beam) -> tuple[Beam, np.ndarray, np.ndarray]:
    """Hypotheses with equal words and node as one, by the sum of their probabilities.

    Also, of each, the most probable one's place, which tells by what pronunciation it came, and the first one's.
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


class History:
    """The words of all hypotheses that ever were, each known by a number; 0 is that of no words."""

    def __init__(self, trie: Trie) -> None:
        self.trie = trie
        self._said: list[tuple[int, int, int]] = [(0, STAYS, STAYS)]  # the history before, the word, its last node

    def add(self, traces: np.ndarray, words: np.ndarray, exits: np.ndarray) -> Int64[np.ndarray, " hyps"]:
        """The histories after these `words`; those before where no word has ended."""
        new = np.flatnonzero(words != STAYS)
        found = traces.copy()
        found[new] = np.arange(len(self._said), len(self._said) + len(new))
        self._said += zip(traces[new].tolist(), words[new].tolist(), exits[new].tolist(), strict=True)
        return found

    def words(self, trace: int) -> tuple[int, ...]:
        """The words, by their places in the trie."""
        return tuple(self._said[number][1] for number in self._back(trace))

    def spelled(self, trace: int) -> list[tuple[int, ...]]:
        """The labels of each word, with the label between words at its beginning."""
        between = () if len(self.trie.entries) != 1 or self.trie.entries[0] != BORDER else self.trie.labels[[BORDER]]
        ways = [self.trie.spelled(self._said[number][2]) for number in self._back(trace)]
        return [(*map(int, between), *way) if place else way for place, way in enumerate(ways)]

    def _back(self, trace: int) -> list[int]:
        found = []
        while trace:
            found.append(trace)
            trace = self._said[trace][0]
        return found[::-1]
