"""The lexicon search finds what a sum over all alignments of all word sequences finds."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_asr.decoding.hypothesis import DecodeError
from hybrid_asr.decoding.lexicon_search import LexiconConfig, LexiconSearch
from hybrid_asr.decoding.trie import build_trie
from hybrid_asr.text.ngram import Ngram
from tests.decoding.toys import labelings, log, random_log_probs

BORDER = 4
EXACT = {"beam": 10_000, "threshold": math.inf, "nbest": 10_000}
SPELLING = st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple)
LEXICA = st.dictionaries(
    st.sampled_from("abcd"), st.lists(SPELLING, min_size=1, max_size=2, unique=True), min_size=1, max_size=3
)


def search(spellings, *, border=None, ngram=None, **settings) -> LexiconSearch:
    trie = build_trie(spellings, blank=0, border=border, ngram=ngram)
    return LexiconSearch(trie, LexiconConfig(**settings), blank=0, ngram=ngram)


def decode(found: LexiconSearch, log_probs: torch.Tensor):
    """The n-best of one utterance."""
    return found(log_probs[None], torch.tensor([len(log_probs)]))[0]


def bigram(words, seed: int) -> tuple[Ngram, dict]:
    """A bigram of random numbers, and the same as a table: some pairs, back-off for the rest."""
    rng = np.random.default_rng(seed)
    names = ["<s>", "</s>", *words]
    log_probs = {(number,): float(-rng.uniform(0.2, 3)) for number in range(len(names))}
    pairs = itertools.product(range(len(names)), range(1, len(names)))
    log_probs |= {pair: float(-rng.uniform(0.2, 3)) for pair in pairs if rng.random() < 0.4}
    backoffs = {(number,): float(-rng.uniform(0, 1)) for number in range(len(names)) if rng.random() < 0.7}
    table = {tuple(names[number] for number in gram): value for gram, value in log_probs.items()}
    return Ngram(names, log_probs, backoffs), table | {(names[n], "*"): v for (n,), v in backoffs.items()}


def said_by(table: dict, words: tuple[str, ...]) -> float:
    """The log probability of a sentence, pair by pair."""
    total = 0.0
    for one, next_ in itertools.pairwise(("<s>", *words, "</s>")):
        known = (one, next_) in table
        total += table[one, next_] if known else table.get((one, "*"), 0.0) + table[(next_,)]
    return total


def exhaustive(spellings, log_probs, *, border=None, table=None, lm_weight=0.0, word_bonus=0.0) -> dict[str, float]:
    """The score of every word sequence that has a probability, by adding up all paths of all its labelings."""
    known, found = labelings(log_probs), {}
    for count in range(len(log_probs) + 1):
        for words in itertools.product(spellings, repeat=count):
            labels = [
                tuple(
                    label
                    for place, way in enumerate(ways)
                    for label in ((border,) * (place > 0 and border is not None) + way)
                )
                for ways in itertools.product(*(dict.fromkeys(spellings[word]) for word in words))
            ]
            ctc = log(sum(known.get(one, 0.0) for one in labels))
            if ctc > -math.inf:
                lm = said_by(table, words) if table else 0.0
                found[" ".join(words)] = ctc + lm_weight * lm + word_bonus * count
    return found


@settings(max_examples=60)
@given(LEXICA, st.integers(1, 5), st.booleans(), st.sampled_from([0.0, 0.7, -0.4]), st.integers(0, 10**6))
def test_with_a_full_beam_it_is_exhaustive_search_with_an_ngram(spellings, time, bordered, bonus, seed) -> None:
    border = BORDER if bordered else None
    log_probs = random_log_probs(time, 5, seed=seed, sharp=1.5)
    ngram, table = bigram(sorted(spellings), seed)
    weights = {"lm_weight": 0.8, "word_bonus": bonus}
    nbest = decode(search(spellings, border=border, ngram=ngram, **weights, **EXACT), log_probs)
    wanted = exhaustive(spellings, log_probs, border=border, table=table, **weights)
    assert {one.text: one.score for one in nbest} == pytest.approx(wanted, abs=1e-9)
    assert [one.score for one in nbest] == sorted((one.score for one in nbest), reverse=True)
    for one in nbest:
        assert one.parts["ngram"] == pytest.approx(said_by(table, tuple(one.text.split())), abs=1e-9)
        assert one.score == pytest.approx(
            one.parts["ctc"] + 0.8 * one.parts["ngram"] + bonus * len(one.text.split()), abs=1e-9
        )


@settings(max_examples=60)
@given(LEXICA, st.integers(1, 5), st.booleans(), st.integers(0, 10**6))
def test_with_a_full_beam_it_is_exhaustive_search_without_an_ngram(spellings, time, bordered, seed) -> None:
    """Of words that sound alike the first of the lexicon is written, and only it."""
    border = BORDER if bordered else None
    log_probs = random_log_probs(time, 5, seed=seed, sharp=1.5)
    alike: dict = {}
    for word, several in spellings.items():
        alike.setdefault(frozenset(several), word)
    firsts = {word: spellings[word] for word in alike.values()}
    nbest = decode(search(spellings, border=border, **EXACT), log_probs)
    assert {one.text: one.score for one in nbest} == pytest.approx(
        exhaustive(firsts, log_probs, border=border), abs=1e-9
    )


def certain(*labels: int, vocab_size: int = 5) -> torch.Tensor:
    """Posteriors of a path that is all but sure."""
    probs = torch.full((len(labels), vocab_size), 1e-4, dtype=torch.float64)
    probs[range(len(labels)), labels] = 1 - 1e-4 * (vocab_size - 1)
    return probs.log()


def test_a_label_that_ends_a_word_and_begins_the_next_needs_a_blank_between() -> None:
    words = {"at": [(1, 2)], "to": [(2, 3)], "ado": [(1, 2, 3)]}
    assert decode(search(words), certain(1, 2, 0, 2, 3))[0].text == "at to"
    assert decode(search(words), certain(1, 2, 2, 2, 3))[0].text == "ado"


def test_of_a_word_that_begins_another_and_of_homophones() -> None:
    words = {"for": [(1, 2)], "four": [(1, 2)], "forty": [(1, 2, 3)]}
    assert decode(search(words), certain(1, 2, 2))[0].text == "for"
    assert decode(search(words), certain(1, 2, 3))[0].text == "forty"
    names = ["<s>", "</s>", "for", "four", "forty"]
    ngram = Ngram(names, {(number,): -1.0 - (number == 2) for number in range(5)}, {})
    nbest = decode(search(words, ngram=ngram, nbest=2, lm_weight=1.0), certain(1, 2, 2))
    assert [one.text for one in nbest] == ["four", "for"] and nbest[0].score - nbest[1].score == pytest.approx(1)


def test_pronunciations_are_added_up_and_the_labels_are_those_of_the_best() -> None:
    log_probs = random_log_probs(4, 5, seed=3)
    [one] = decode(search({"one": [(1,), (2, 3)]}, nbest=1), log_probs)
    known = labelings(log_probs)
    twice = {word: decode(search({"one": [word]}), log_probs)[0] for word in [(1,), (2, 3)]}
    assert one.text in ("one", "one one")
    best = max(twice.values(), key=lambda found: found.score)
    wanted = exhaustive({"one": [(1,), (2, 3)]}, log_probs)
    assert one.score == pytest.approx(max(wanted.values())) and one.score > best.score
    assert one.labels in known and sum(one.counts) == len(one.labels) and len(one.counts) == len(one.text.split())


def test_labels_are_counted_word_by_word_with_the_label_between() -> None:
    [one] = decode(search({"ab": [(1, 2)], "b": [(2,)]}, border=BORDER), certain(1, 2, BORDER, 2, 0))
    assert (one.text, one.labels, one.counts, one.ended) == ("ab b", (1, 2, BORDER, 2), (2, 2), "eos")


def test_a_word_that_is_not_complete_does_not_count() -> None:
    words, log_probs = {"ab": [(1, 2)], "cde": [(3, 1, 2)]}, certain(1, 2, 0, 3, 3)
    [one] = decode(search(words, **(EXACT | {"nbest": 1})), log_probs)
    assert one.text == "ab" and one.score == pytest.approx(exhaustive(words, log_probs)["ab"], abs=1e-9)
    [cut] = decode(search({"abc": [(1, 2, 3)]}, threshold=5.0), certain(1, 2, 3, 1, 2))
    assert (cut.text, cut.ended, cut.labels) == ("abc", "cut", (1, 2, 3))


def test_silence_is_the_empty_text() -> None:
    [one] = decode(search({"a": [(1,)]}), certain(0, 0, 0))
    assert (one.text, one.labels, one.counts, one.ended) == ("", (), (), "eos")


@pytest.mark.parametrize("border", [None, BORDER])
def test_an_utterance_does_not_depend_on_its_neighbors(border) -> None:
    words = {"a": [(1,)], "ab": [(1, 2), (1, 3)], "c": [(3,)], "ca": [(3, 1)], "d": [(3,)]}
    ngram, _ = bigram(sorted(words), 5)
    log_probs, frames = random_log_probs(5, 12, 5, seed=9, sharp=2.0), torch.tensor([12, 1, 7, 12, 4])
    found = search(words, border=border, ngram=ngram, beam=7, nbest=4)
    together = found(log_probs, frames)
    for row, count in enumerate(frames.tolist()):
        alone = found(log_probs[row : row + 1, :count], frames[row : row + 1])[0]
        assert [one.text for one in alone] == [one.text for one in together[row]]
        assert [one.score for one in alone] == pytest.approx([one.score for one in together[row]], abs=1e-9)
        assert [one.labels for one in alone] == [one.labels for one in together[row]]


def test_a_wider_beam_finds_no_worse() -> None:
    words = {
        "".join("abc"[label - 1] for label in way): [way]
        for n in (1, 2)
        for way in itertools.product((1, 2, 3), repeat=n)
    }
    ngram, _ = bigram(sorted(words), 2)
    for seed in range(5):
        log_probs = random_log_probs(10, 5, seed=seed, sharp=2.0)
        scores = [decode(search(words, ngram=ngram, beam=beam), log_probs)[0].score for beam in (1, 4, 32, 500)]
        assert scores[-1] >= max(scores) - 1e-9 and scores[-1] > scores[0]


def test_nan_is_named_and_what_is_impossible_is_cut() -> None:
    log_probs = random_log_probs(2, 3, 5, seed=1)
    log_probs[1, 2, 0] = math.nan
    found = search({"a": [(1,)]})
    with pytest.raises(DecodeError, match=r"utterances \[1\] of the batch: NaN in the scores"):
        found(log_probs, torch.tensor([3, 3]))
    assert found(log_probs, torch.tensor([3, 2]))[1][0].score > -math.inf, "beyond the end nothing is looked at"
    nothing = torch.full((1, 2, 5), -math.inf, dtype=torch.float64)
    assert found(nothing, torch.tensor([2]))[0][0].ended == "cut"
