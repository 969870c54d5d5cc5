"""CTC beam search over the words of a lexicon, with an n-gram (Graves, 2012; Hannun et al., 2014).

    score(W) = log P_ctc(W) + lm_weight * log P_ngram(W) + word_bonus * |W|

P_ctc(W) is the sum, over the pronunciations (or spellings) of the words of W, of the probability that CTC gives this
labeling, over all of its alignments. A hypothesis is a sequence of complete words and a node of the prefix tree, with
the probabilities that the frames so far emit exactly its labels and end in blank, or in the last label. Paths to
the same words and node are added up, those of different pronunciations, too: what can follow depends on the node and
its label alone. A label that follows itself, be it in the next word, needs a blank between. With a beam that holds all
hypotheses, and no threshold, the search is exact.

The arrays hold the hypotheses of all utterances one behind the other, as many as there are; nothing is padded, so that
an utterance does not depend on its neighbors. All of it is NumPy's, on the host, in float64.

Axes: B utterances, T frames, V labels, H hypotheses, C candidates, N nodes.
"""

from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from pydantic import Field
from torch import Tensor

from hybrid_asr.config.schema import config
from hybrid_asr.decoding.hypothesis import WIDEST, Ended, Hypothesis, Nbest, nan_error
from hybrid_asr.decoding.lexicon_hypotheses import FACTOR, STAYS, Beam, Candidates, WordHistory, merge_equal
from hybrid_asr.decoding.settings import BeamSettings, Needs
from hybrid_asr.decoding.trie import START, Rows, Trie
from hybrid_asr.text.ngram import Ngram

LEAST = -1e30  # a log probability of 0, so that a weight of 0 times it is 0


@config
class LexiconConfig(BeamSettings):
    """The words that may be written, and how they are searched for.

    `lexicon`: a file with words, or words and pronunciations for a phoneme model; "train" for the words of the training
    transcripts; nothing for a phoneme model's own lexicon. `arpa`: an n-gram of words. Files are looked for below
    `data.root` and the current folder. Hypotheses more than `threshold` nats below an utterance's best are dropped,
    and all but `beam`.
    """

    kind: Literal["lexicon"] = "lexicon"
    lexicon: str = ""
    arpa: str = ""
    lm_weight: Annotated[float, Field(ge=0)] = 0.3
    word_bonus: float = 0.0
    beam: Annotated[int, Field(gt=0, le=WIDEST)] = 100
    threshold: Annotated[float, Field(gt=0)] = 20.0
    nbest: Annotated[int, Field(gt=0, le=WIDEST)] = 1

    @property
    def needs(self) -> Needs:
        """The CTC head, and words: those of the lexicon named, or the model's."""
        return Needs(ctc=True, words="given" if self.lexicon else "model")


class LexiconSearch:
    """The search for the words of a `trie`; may be called for many batches."""

    def __init__(self, trie: Trie, cfg: LexiconConfig, *, blank: int, ngram: Ngram | None = None) -> None:
        self.trie, self.cfg, self.ngram, self.silence = trie, cfg, ngram, blank
        worth = np.full(len(trie.words), cfg.word_bonus)
        if ngram is not None:
            worth += self._weighted(ngram.advance(np.zeros(len(trie.words), np.int64), trie.numbers)[0])
        self.ahead = trie.ahead(worth)  # the best bonus of a next word at each node, by which the beam is pruned

    @torch.inference_mode()
    def __call__(self, log_probs: Float[Tensor, "batch time vocab"], frames: Int[Tensor, " batch"]) -> list[Nbest]:
        """The n-best of every utterance. Equal scores are ordered by their words' places in the lexicon.

        Where no word is complete at the end, the words before it are given, as "cut". Raises DecodeError on NaN.
        """
        values = log_probs.float() if log_probs.dtype == torch.bfloat16 else log_probs
        table, counts = values.cpu().numpy(), frames.cpu().numpy()
        if bad := [row for row, count in enumerate(counts) if np.isnan(table[row, :count]).any()]:
            raise nan_error(bad)
        history, beam, nbests = WordHistory(self.trie), self._start(len(table)), {}
        for time in range(int(counts.max(initial=0))):
            beam = self._step(beam, table[:, time].astype(np.float64), history)
            if (finished := counts[beam.rows] == time + 1).any():
                nbests |= self._finished(beam.take(finished), history)
                beam = beam.take(~finished)
        empty = Hypothesis((), -np.inf, {"ctc": -np.inf}, "cut", "")
        return [nbests.get(row, [empty]) for row in range(len(table))]

    def _start(self, batch: int) -> Beam:
        """One hypothesis without words for each utterance, with probability 1."""
        no_word, zeros = np.zeros(batch, np.int64), np.zeros(batch)
        state = no_word + (0 if self.ngram is None else self.ngram.start)
        empty = Beam(
            np.arange(batch), no_word + START, no_word.astype(np.uint64), state, zeros, zeros, no_word, zeros, zeros
        )
        return empty._replace(label=np.full(batch, -np.inf))

    def _step(self, beam: Beam, frame: Float64[np.ndarray, "batch vocab"], history: WordHistory) -> Beam:
        """One frame for all hypotheses of all utterances."""
        stays = beam._replace(
            blank=beam.total() + frame[beam.rows, self.silence],
            label=beam.label + frame[beam.rows, self.trie.labels[beam.nodes]],
        )
        floor = self._best(stays, len(frame)) - self.cfg.threshold
        no_word = np.full(len(beam.rows), STAYS)
        sources = [
            Candidates(stays, no_word, no_word),
            self._inside(beam, frame, floor),
            self._opened(beam, frame, floor),
        ]
        beams, words, exits = zip(*sources, strict=True)
        joined = Beam(*map(np.concatenate, zip(*beams, strict=True)))
        return self._prune(Candidates(joined, np.concatenate(words), np.concatenate(exits)), len(frame), history)

    def _inside(self, beam: Beam, frame: np.ndarray, floor: np.ndarray) -> Candidates:
        """Every word goes on by one label."""
        indices, children = self.trie.children.expand(beam.nodes)
        grown = self._moved(beam, indices, children, frame)
        grown = grown.take(self._rank(grown) >= floor[grown.rows])
        no_word = np.full(len(grown.rows), STAYS)
        return Candidates(grown, no_word, no_word)

    def _opened(self, beam: Beam, frame: np.ndarray, floor: np.ndarray) -> Candidates:
        """Words end, and the first label of a next word is emitted."""
        ended, words = self._ended(beam)
        entries = self.trie.entries
        hope = np.full(len(frame), -np.inf)
        np.maximum.at(hope, ended.rows, ended.total() + ended.bonus)
        likely = hope[:, None] + frame[:, self.trie.labels[entries]] + self.ahead[entries] >= floor[:, None]
        offsets = np.concatenate([[0], np.cumsum(likely.sum(1))])
        indices, nodes = Rows(offsets, entries[np.nonzero(likely)[1]]).expand(ended.rows)
        opened = self._moved(ended, indices, nodes, frame)
        high = self._rank(opened) >= floor[opened.rows]
        return Candidates(opened.take(high), words[indices[high]], ended.nodes[indices[high]])

    def _moved(self, beam: Beam, indices: np.ndarray, nodes: np.ndarray, frame: np.ndarray) -> Beam:
        """The hypotheses at `indices`, each extended by a node's label; equal labels need a blank between them."""
        labels = self.trie.labels[nodes]
        moved, total = beam.take(indices), beam.total()[indices]
        before = np.where(labels == self.trie.labels[moved.nodes], moved.blank, total)
        label = before + frame[moved.rows, labels]
        return moved._replace(nodes=nodes, blank=np.full(len(nodes), -np.inf), label=label)

    def _ended(self, beam: Beam) -> tuple[Beam, np.ndarray]:
        """Each hypothesis with each word that ends at its node, its scores added; and these words."""
        indices, words = self.trie.ends.expand(beam.nodes)
        ended = beam.take(indices)
        ngram, states = ended.ngram, ended.states
        if self.ngram is not None:
            log_probs, states = self.ngram.advance(states, self.trie.numbers[words])
            ngram = ngram + log_probs
        histories = (ended.histories + words.astype(np.uint64) + np.uint64(1)) * FACTOR
        bonus = ended.bonus + self._weighted(ngram - ended.ngram) + self.cfg.word_bonus
        ended = ended._replace(histories=histories, states=states, ngram=ngram, bonus=bonus)
        possible = bonus > -np.inf
        return ended.take(possible), words[possible]

    def _prune(self, candidates: Candidates, batch: int, history: WordHistory) -> Beam:
        """Equal hypotheses become one; the best of each utterance go on."""
        beam, chosen, first = merge_equal(candidates.beam)
        rank = self._rank(beam)
        floor = self._best(beam, batch) - self.cfg.threshold
        order = np.lexsort((first, -rank, beam.rows))
        rows = beam.rows[order]
        position = np.arange(len(rows)) - np.searchsorted(rows, rows)  # among the hypotheses of its utterance
        order = order[(position < self.cfg.beam) & (rank[order] >= floor[rows]) & (rank[order] > -np.inf)]
        beam, chosen = beam.take(order), chosen[order]
        return beam._replace(traces=history.add(beam.traces, candidates.words[chosen], candidates.exits[chosen]))

    def _finished(self, beam: Beam, history: WordHistory) -> dict[int, Nbest]:
        """The n-best of utterances without further frames: hypotheses that end in a complete word, or have no words."""
        ended, words = self._ended(beam)
        wordless = beam.nodes == START
        no_word = np.full(int(wordless.sum()), STAYS)
        complete = Beam(*map(np.concatenate, zip(ended, beam.take(wordless), strict=True)))
        words, exits = np.concatenate([words, no_word]), np.concatenate([ended.nodes, no_word])
        if self.ngram is not None:
            ends = self.ngram.ending(complete.states)
            complete = complete._replace(ngram=complete.ngram + ends, bonus=complete.bonus + self._weighted(ends))
        complete, chosen, _ = merge_equal(complete._replace(nodes=np.zeros(len(words), np.int64)))
        traces = history.add(complete.traces, words[chosen], exits[chosen])
        nbests = {
            row: self._ranked(complete._replace(traces=traces), row, history) for row in np.unique(beam.rows).tolist()
        }
        return {row: nbest or [self._cut(beam, row, history)] for row, nbest in nbests.items()}

    def _ranked(self, complete: Beam, row: int, history: WordHistory) -> Nbest:
        """The possible texts of an utterance, best first."""
        own = complete.take((complete.rows == row) & (complete.total() + complete.bonus > -np.inf))
        scores = own.total() + own.bonus
        close = np.argsort(-scores, kind="stable")[: self.cfg.nbest]
        close = np.flatnonzero(scores >= scores[close[-1]]) if len(close) else close
        ranked = sorted((-scores[index], history.words(int(own.traces[index])), index) for index in close.tolist())
        return [self._hypothesis(own, index, -cost, history, "eos") for cost, _, index in ranked[: self.cfg.nbest]]

    def _cut(self, beam: Beam, row: int, history: WordHistory) -> Hypothesis:
        """The complete words of the best hypothesis that ends within a word."""
        own = beam.take(beam.rows == row)
        index = int(np.argmax(self._rank(own)))
        return self._hypothesis(own, index, float(own.total()[index] + own.bonus[index]), history, "cut")

    def _hypothesis(self, beam: Beam, index: int, score: float, history: WordHistory, ended: Ended) -> Hypothesis:
        parts = {"ctc": float(beam.total()[index])}
        if self.ngram is not None:
            parts["ngram"] = float(beam.ngram[index])
        spelled = history.spelled(int(beam.traces[index]))
        words = " ".join(self.trie.words[word] for word in history.words(int(beam.traces[index])))
        labels = tuple(label for word in spelled for label in word)
        return Hypothesis(labels, float(score), parts, ended, words, tuple(map(len, spelled)))

    def _rank(self, beam: Beam) -> Float64[np.ndarray, " hyps"]:
        """What hypotheses of different length are compared by: the score, and what the next word may be worth."""
        return beam.total() + beam.bonus + self.ahead[beam.nodes]

    def _best(self, beam: Beam, batch: int) -> Float64[np.ndarray, " batch"]:
        best = np.full(batch, -np.inf)
        np.maximum.at(best, beam.rows, self._rank(beam))
        return best

    def _weighted(self, log_probs: np.ndarray) -> np.ndarray:
        """The weighted n-gram score; with weight 0 words without probability are still forbidden."""
        return np.where(log_probs > -np.inf, self.cfg.lm_weight * np.maximum(log_probs, LEAST), -np.inf)
