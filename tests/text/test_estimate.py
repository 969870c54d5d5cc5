"""Witten-Bell n-grams of transcripts: what the file says sums to one, and is the formula's."""

import math
from pathlib import Path

import numpy as np
import pytest

from hybrid_asr.text.arpa import read_arpa
from hybrid_asr.text.estimate import arpa, witten_bell
from hybrid_asr.text.ngram import BEGIN, Ngram

SENTENCES = [["go", "on"], ["go", "go", "on"], ["stop"], ["on", "go"], []]


def written(tmp_path: Path, order: int, *extra: str) -> Ngram:
    path = tmp_path / "words.arpa"
    path.write_text(arpa(*witten_bell(SENTENCES, order, extra), order))
    return read_arpa(path)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_the_probabilities_of_all_words_sum_to_one_after_any_words(tmp_path, order) -> None:
    ngram = written(tmp_path, order, "never", "said")
    words = np.array([number for word, number in ngram.words.items() if word != BEGIN])
    states = {ngram.start, 0}
    for _ in range(order):
        after = [ngram.advance(np.full(len(words), state), words)[1] for state in states]
        states |= {int(state) for some in after for state in some}
    for state in states:
        log_probs, _ = ngram.advance(np.full(len(words), state), words)
        assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-5), "the file has seven digits"
    assert ngram.number("never") != ngram.number("unheard")


def test_a_bigram_is_the_formula_s(tmp_path) -> None:
    """13 words and ends, go 4, on 3, stop 1, </s> 5; of 5 kinds of words all but <unk> were said."""
    ngram = written(tmp_path, 2)
    go, on = ((count + 4 * 0.2) / (13 + 4) for count in (4, 3))
    after_start = (2 + 4 * go) / (5 + 4)  # go begins 2 of 5; go, stop, on and </s> do
    after_go = (2 + 3 * on) / (4 + 3)  # on follows go 2 of 4 times; on, go and </s> do
    assert ngram.score(["go", "on"]) == pytest.approx(
        math.log(after_start * after_go) + float(ngram.ending(np.array([_after(ngram, "on")]))[0]), abs=1e-6
    )


def _after(ngram: Ngram, word: str) -> int:
    return int(ngram.advance(np.array([0]), np.array([ngram.number(word)]))[1][0])
