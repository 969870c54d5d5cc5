"""Error rates over length: every utterance with words in one group, and the numbers those of the group."""

import itertools

import numpy as np

from hybrid_asr.pages.errors_by_length import GROUPS, LEAST, group_lengths, rates_by_length
from hybrid_asr.scoring.scores import Scored, score_utterances


def test_groups_part_the_utterances_by_length():
    lengths = np.random.default_rng(1).integers(0, 40, size=500)
    groups = group_lengths(lengths)
    assert 2 <= len(groups) <= GROUPS
    assert sorted(np.concatenate(groups).tolist()) == np.flatnonzero(lengths).tolist()
    assert all(len(group) >= LEAST for group in groups)
    for shorter, longer in itertools.pairwise(groups):
        assert lengths[shorter].max() < lengths[longer].min()


def test_few_utterances_are_one_group():
    assert [group.tolist() for group in group_lengths(np.array([3, 0, 1]))] == [[2, 0]]
    assert group_lengths(np.zeros(4, dtype=int)) == []


def test_a_decoding_that_fails_on_long_utterances_is_seen_to_do_so():
    words = [" ".join("abcdefgh"[: 1 + number % 8]) for number in range(160)]
    exact = [Scored(str(number), text, text) for number, text in enumerate(words)]
    first_four = [Scored(str(number), text, text[:7]) for number, text in enumerate(words)]  # the rest is left out
    drawn = rates_by_length({"exact": score_utterances(exact), "short": score_utterances(first_four)}, "wer")
    assert drawn is not None
    good, bad = drawn.chart.series
    assert good.x.tolist() == bad.x.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert not good.y.any()
    assert np.allclose(bad.y, [0, 0, 0, 0, 100 / 5, 200 / 6, 300 / 7, 400 / 8])
    assert rates_by_length({"one length": score_utterances(exact[::8])}, "wer") is None
