"""CTC beam search over the words of a lexicon, with an n-gram (Graves, 2012; Hannun et al., 2014).

    score(W) = log P_ctc(W) + lm_weight * log P_ngram(W) + word_bonus * |W|

P_ctc(W) is the sum, over the pronunciations (or spellings) of the words of W, of the probability that CTC gives this
labeling, over all of its alignments. A hypothesis is a sequence of complete words and a node of the prefix tree, with
the probabilities that the frames so far emit exactly its labels and end in blank, or in the last label. Ways that lead
to the same words and node are added up, those of different pronunciations, too: what can follow depends on the node and
its label alone. A label that follows itself, be it in the next word, needs a blank between. With a beam that holds all
hypotheses, and no threshold, the search is exact.

The arrays hold the hypotheses of all utterances one behind the other, as many as there are; nothing is padded, so that
an utterance knows nothing of its neighbors. All of it is NumPy's, on the host, in float64.

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
from hybrid_asr.decoding.settings import DecoderSettings, Needs
from hybrid_asr.decoding.trie import START, Rows, Trie
from hybrid_asr.decoding.word_beam import FACTOR, STAYS, Beam, Candidates, History, merged
from hybrid_asr.text.ngram import Ngram

LEAST = -1e30  # a log probability of 0, so that a weight of 0 times it is 0


@config
class LexiconConfig(DecoderSettings):
    """The words that may be written, and how they are searched for.

    `lexicon`: a file with words, or words and pronunciations for a phoneme model; "train" for the words of the training
    transcripts; nothing for a phoneme model's own lexicon. `arpa`: an n-gram of words. Files are looked for below
    `data.root` and where the user stands. Hypotheses more than `threshold` nats below an utterance's best are dropped,
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
        return Needs(ctc=True, vocabulary=True)

    @property
    def lacks_words(self) -> bool:
        return not self.lexicon


class LexiconSearch:
    """The search for the words of a `trie`, which may be called for batch after batch."""

    def __init__(self, trie: Trie, cfg: LexiconConfig, *, blank: int, ngram: Ngram | None = None) -> None:
        self.trie, self.cfg, self.ngram, self.silence = trie, cfg, ngram, blank
        worth = np.full(len(trie.words), cfg.word_bonus)
        if ngram is not None:
            worth += self._weighted(ngram.advance(np.zeros(len(trie.words), np.int64), trie.numbers)[0])
        self.ahead = trie.ahead(worth)  # what of the next word's bonus a node lets expect: the beam is chosen by it

    @torch.inference_mode()
    def __call__(self, log_probs: Float[Tensor, "batch time vocab"], frames: Int[Tensor, " batch"]) -> list[Nbest]:
        """The n-best of every utterance. Equal scores are ordered by their words' places in the lexicon.

        Where no word is complete at the end, the words before it are given, as "cut". Raises DecodeError on NaN.
        """
        values = log_probs.float() if log_probs.dtype == torch.bfloat16 else log_probs
        table, counts = values.cpu().numpy(), frames.cpu().numpy()
        if bad := [row for row, count in enumerate(counts) if np.isnan(table[row, :count]).any()]:
            raise nan_error(bad)
        said, beam, found = History(self.trie), self._start(len(table)), {}
        for time in range(int(counts.max(initial=0))):
            beam = self._step(beam, table[:, time].astype(np.float64), said)
            if (done := counts[beam.rows] == time + 1).any():
                found |= self._finished(beam.take(done), said)
                beam = beam.take(~done)
        return [found.get(row, [Hypothesis((), -np.inf, {"ctc": -np.inf}, "cut", "")]) for row in range(len(table))]

    def _start(self, batch: int) -> Beam:
        """Nothing has been said, for sure."""
        none, zeros = np.zeros(batch, np.int64), np.zeros(batch)
        state = none + (0 if self.ngram is None else self.ngram.start)
        empty = Beam(np.arange(batch), none + START, none.astype(np.uint64), state, zeros, zeros, none, zeros, zeros)
        return empty._replace(label=np.full(batch, -np.inf))

    def _step(self, beam: Beam, frame: Float64[np.ndarray, "batch vocab"], said: History) -> Beam:
        """One frame for all hypotheses of all utterances."""
        stays = beam._replace(
            blank=beam.total() + frame[beam.rows, self.silence],
            label=beam.label + frame[beam.rows, self.trie.labels[beam.nodes]],
        )
        floor = self._best(stays, len(frame)) - self.cfg.threshold
        none = np.full(len(beam.rows), STAYS)
        ways = [Candidates(stays, none, none), self._inside(beam, frame, floor), self._opened(beam, frame, floor)]
        beams, words, exits = zip(*ways, strict=True)
        every = Beam(*map(np.concatenate, zip(*beams, strict=True)))
        return self._kept(Candidates(every, np.concatenate(words), np.concatenate(exits)), len(frame), said)

    def _inside(self, beam: Beam, frame: np.ndarray, floor: np.ndarray) -> Candidates:
        """Every word goes on by one label."""
        places, children = self.trie.children.expand(beam.nodes)
        grown = self._moved(beam, places, children, frame)
        grown = grown.take(self._rank(grown) >= floor[grown.rows])
        none = np.full(len(grown.rows), STAYS)
        return Candidates(grown, none, none)

    def _opened(self, beam: Beam, frame: np.ndarray, floor: np.ndarray) -> Candidates:
        """Words end, and the first label of what may follow them is heard."""
        ended, words = self._ended(beam)
        entries = self.trie.entries
        hope = np.full(len(frame), -np.inf)
        np.maximum.at(hope, ended.rows, ended.total() + ended.bonus)
        likely = hope[:, None] + frame[:, self.trie.labels[entries]] + self.ahead[entries] >= floor[:, None]
        offsets = np.concatenate([[0], np.cumsum(likely.sum(1))])
        places, nodes = Rows(offsets, entries[np.nonzero(likely)[1]]).expand(ended.rows)
        opened = self._moved(ended, places, nodes, frame)
        high = self._rank(opened) >= floor[opened.rows]
        return Candidates(opened.take(high), words[places[high]], ended.nodes[places[high]])

    def _moved(self, beam: Beam, places: np.ndarray, nodes: np.ndarray, frame: np.ndarray) -> Beam:
        """The hypotheses at `places`, each with a node's label behind it; between equal labels stands a blank."""
        labels = self.trie.labels[nodes]
        moved, total = beam.take(places), beam.total()[places]
        before = np.where(labels == self.trie.labels[moved.nodes], moved.blank, total)
        encoded_batch = before + frame[moved.rows, labels]
        return moved._replace(nodes=nodes, blank=np.full(len(nodes), -np.inf), label=encoded_batch)

    def _ended(self, beam: Beam) -> tuple[Beam, np.ndarray]:
        """Each hypothesis with each word that ends at its node, said and paid for; and these words."""
        places, words = self.trie.ends.expand(beam.nodes)
        ended = beam.take(places)
        ngram, states = ended.ngram, ended.states
        if self.ngram is not None:
            log_probs, states = self.ngram.advance(states, self.trie.numbers[words])
            ngram = ngram + log_probs
        histories = (ended.histories + words.astype(np.uint64) + np.uint64(1)) * FACTOR
        bonus = ended.bonus + self._weighted(ngram - ended.ngram) + self.cfg.word_bonus
        ended = ended._replace(histories=histories, states=states, ngram=ngram, bonus=bonus)
        possible = bonus > -np.inf
        return ended.take(possible), words[possible]

    def _kept(self, found: Candidates, batch: int, said: History) -> Beam:
        """Equal hypotheses become one; the best of each utterance go on."""
        beam, chosen, first = merged(found.beam)
        rank = self._rank(beam)
        floor = self._best(beam, batch) - self.cfg.threshold
        order = np.lexsort((first, -rank, beam.rows))
        rows = beam.rows[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)
        order = order[(place < self.cfg.beam) & (rank[order] >= floor[rows]) & (rank[order] > -np.inf)]
        beam, chosen = beam.take(order), chosen[order]
        return beam._replace(traces=said.add(beam.traces, found.words[chosen], found.exits[chosen]))

    def _finished(self, beam: Beam, said: History) -> dict[int, Nbest]:
        """The n-best of utterances whose frames are over: what ends in a complete word, or has none at all."""
        ended, words = self._ended(beam)
        silent = beam.nodes == START
        none = np.full(int(silent.sum()), STAYS)
        whole = Beam(*map(np.concatenate, zip(ended, beam.take(silent), strict=True)))
        words, exits = np.concatenate([words, none]), np.concatenate([ended.nodes, none])
        if self.ngram is not None:
            ends = self.ngram.ending(whole.states)
            whole = whole._replace(ngram=whole.ngram + ends, bonus=whole.bonus + self._weighted(ends))
        whole, chosen, _ = merged(whole._replace(nodes=np.zeros(len(words), np.int64)))
        traces = said.add(whole.traces, words[chosen], exits[chosen])
        nbests = {row: self._ranked(whole._replace(traces=traces), row, said) for row in np.unique(beam.rows).tolist()}
        return {row: nbest or [self._cut(beam, row, said)] for row, nbest in nbests.items()}

    def _ranked(self, whole: Beam, row: int, said: History) -> Nbest:
        """The possible texts of an utterance, best first."""
        mine = whole.take((whole.rows == row) & (whole.total() + whole.bonus > -np.inf))
        scores = mine.total() + mine.bonus
        close = np.argsort(-scores, kind="stable")[: self.cfg.nbest]
        close = np.flatnonzero(scores >= scores[close[-1]]) if len(close) else close
        found = sorted((-scores[place], said.words(int(mine.traces[place])), place) for place in close.tolist())
        return [self._hypothesis(mine, place, -lost, said, "eos") for lost, _, place in found[: self.cfg.nbest]]

    def _cut(self, beam: Beam, row: int, said: History) -> Hypothesis:
        """The complete words of the best hypothesis that ends within a word."""
        mine = beam.take(beam.rows == row)
        place = int(np.argmax(self._rank(mine)))
        return self._hypothesis(mine, place, float(mine.total()[place] + mine.bonus[place]), said, "cut")

    def _hypothesis(self, beam: Beam, place: int, score: float, said: History, ended: Ended) -> Hypothesis:
        parts = {"ctc": float(beam.total()[place])}
        if self.ngram is not None:
            parts["ngram"] = float(beam.ngram[place])
        spelled = said.spelled(int(beam.traces[place]))
        words = " ".join(self.trie.words[word] for word in said.words(int(beam.traces[place])))
        labels = tuple(label for one in spelled for label in one)
        return Hypothesis(labels, float(score), parts, ended, words, tuple(map(len, spelled)))

    def _rank(self, beam: Beam) -> Float64[np.ndarray, " hyps"]:
        """What hypotheses of different length are compared by: the score, and what the next word may be worth."""
        return beam.total() + beam.bonus + self.ahead[beam.nodes]

    def _best(self, beam: Beam, batch: int) -> Float64[np.ndarray, " batch"]:
        best = np.full(batch, -np.inf)
        np.maximum.at(best, beam.rows, self._rank(beam))
        return best

    def _weighted(self, log_probs: np.ndarray) -> np.ndarray:
        """The n-gram's share; with no weight it still forbids what it gives no probability."""
        return np.where(log_probs > -np.inf, self.cfg.lm_weight * np.maximum(log_probs, LEAST), -np.inf)
