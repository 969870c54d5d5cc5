"""The words of a lexicon as a prefix tree of labels, and what an n-gram says of them.

Axes: N nodes, E edges or ends of words.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from hybrid_asr.text.ngram import NO_WORD, Ngram

START, BORDER = 0, 1
Spellings = Mapping[str, Sequence[tuple[int, ...]]]  # of each word the labels of every pronunciation


class Rows(NamedTuple):
    """Lists of different lengths, concatenated."""

    offsets: Int64[np.ndarray, " rows"]  # one more than lists
    values: Int64[np.ndarray, " all"]

    def expand(
        self, rows: Int64[np.ndarray, " some"]
    ) -> tuple[Int64[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
        """All pairs of an index into `rows` and a value in the list of that row."""
        begins = self.offsets[rows]
        counts = self.offsets[rows + 1] - begins
        row_indices = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(row_indices)) - np.repeat(np.cumsum(counts) - counts, counts)
        return row_indices, self.values[begins[row_indices] + within]


class Trie(NamedTuple):
    """Node 0 is where an utterance starts; node 1 stands for the label between words, where there is one.

    What follows node 1 is what follows node 0. `entries` are the nodes that a word's end leads to.
    """

    words: tuple[str, ...]
    numbers: Int64[np.ndarray, " words"]  # of the n-gram
    labels: Int64[np.ndarray, " nodes"]  # that lead to each node; that of the start is blank
    parents: Int64[np.ndarray, " nodes"]
    children: Rows
    ends: Rows  # the words that end at each node
    entries: Int64[np.ndarray, " entries"]

    def spelled(self, node: int) -> tuple[int, ...]:
        """The labels from the start of a word to `node`."""
        path: list[int] = []
        while node > BORDER:
            path.append(int(self.labels[node]))
            node = int(self.parents[node])
        return tuple(path[::-1])

    def ahead(self, values: Float64[np.ndarray, " words"]) -> Float64[np.ndarray, " nodes"]:
        """The largest of the `values` of all words that pass through each node: the best that is reachable."""
        best = np.full(len(self.labels), -np.inf)
        nodes, words = self.ends.expand(np.arange(len(self.labels)))
        np.maximum.at(best, nodes, values[words])
        for node in range(len(best) - 1, BORDER, -1):  # a parent has a smaller number
            best[self.parents[node]] = max(best[self.parents[node]], best[node])
        best[BORDER] = best[START]
        return best


def build_trie(spellings: Spellings, *, blank: int, border: int | None, ngram: Ngram | None = None) -> Trie:
    """The tree of all pronunciations. `border` is the label that stands between two words, if any.

    Words that the n-gram gives no probability are left out. Without one, of words whose pronunciations are the same the
    first stands for all: nothing could tell them apart.
    """
    numbers = {word: ngram.number(word) if ngram else 0 for word in spellings}
    seen: dict[frozenset[tuple[int, ...]], str] = {}
    words = [
        word
        for word, several in spellings.items()
        if numbers[word] != NO_WORD and (ngram is not None or seen.setdefault(frozenset(several), word) == word)
    ]
    nodes: dict[tuple[int, int], int] = {}
    labels, parents, ends = [blank, blank if border is None else border], [START, START], []
    for number, word in enumerate(words):
        for spelling in dict.fromkeys(spellings[word]):
            assert spelling, "a word has labels"
            node = START
            for label in spelling:
                above, node = node, nodes.setdefault((node, label), len(labels))
                if node == len(labels):
                    labels.append(label)
                    parents.append(above)
            ends.append((node, number))
    children = _rows(sorted((parent, node) for node, parent in enumerate(parents) if node > BORDER), len(labels))
    children = _shared(children)
    return Trie(
        words=tuple(words),
        numbers=np.array([numbers[word] for word in words], np.int64),
        labels=np.array(labels, np.int64),
        parents=np.array(parents, np.int64),
        children=children,
        ends=_rows(sorted(ends), len(labels)),
        entries=children.expand(np.array([START]))[1] if border is None else np.array([BORDER]),
    )


def _rows(pairs: Sequence[tuple[int, int]], rows: int) -> Rows:
    """Lists from sorted pairs of row and value."""
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return Rows(np.searchsorted(table[:, 0], np.arange(rows + 1)), table[:, 1])


def _shared(children: Rows) -> Rows:
    """The border gets the children of the start, which stand at the beginning, once more."""
    first = int(children.offsets[1])
    offsets = children.offsets + first
    offsets[0] = 0
    offsets[1] = first
    return Rows(offsets, np.concatenate([children.values[:first], children.values]))
