"""The area under the curve is the share of pairs in the right order; its interval belongs to utterances."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hybrid_asr.scoring.roc import area_under_curve, best_cut

WORDS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=12)


@given(WORDS.filter(lambda words: len({wrong for _, wrong in words}) == 2))
def test_it_is_the_share_of_pairs_in_order(words):
    bad = [number for number, wrong in words if wrong]
    good = [number for number, wrong in words if not wrong]
    wanted = sum((b > g) + 0.5 * (b == g) for b in bad for g in good) / (len(bad) * len(good))
    numbers, wrong = (np.array(part) for part in zip(*words, strict=True))
    found = area_under_curve(numbers.astype(float), wrong, utterances=["one"] * len(words))
    assert found.value == pytest.approx(wanted) and found.ci95 is None, "a single utterance cannot be drawn anew"


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    """Two normal distributions one standard deviation apart: the area is Phi(1 / sqrt 2) = 0.760."""
    random, inside = np.random.default_rng(3), 0
    names = [str(place // 3) for place in range(90)]
    for _ in range(40):
        wrong = random.random(90) < 0.3
        found = area_under_curve(random.normal(size=90) + wrong, wrong, utterances=names)
        assert found.ci95 is not None
        inside += found.ci95.low <= 0.7602 <= found.ci95.high
    assert inside >= 33


def test_words_of_one_utterance_share_their_luck():
    """Each word three times over, in the same utterances: the interval is that of the words once."""
    random = np.random.default_rng(5)
    wrong, names = random.random(60) < 0.4, [str(place) for place in range(60)]
    numbers = random.normal(size=60) + wrong
    once = area_under_curve(numbers, wrong, utterances=names)
    thrice = area_under_curve(np.tile(numbers, 3), np.tile(wrong, 3), utterances=names * 3)
    assert (thrice.value, *thrice.ci95) == pytest.approx((once.value, *once.ci95))


def test_nothing_to_tell_apart_is_refused():
    with pytest.raises(ValueError, match="0 of 2 words are wrong"):
        area_under_curve(np.zeros(2), np.zeros(2, bool), utterances=["a", "b"])


@given(WORDS.filter(lambda words: any(wrong for _, wrong in words)))
def test_no_other_cut_has_a_better_f1_and_none_as_good_marks_fewer(words):
    numbers, wrong = (np.array(part) for part in zip(*words, strict=True))
    cut = best_cut(numbers.astype(float), wrong)

    def worth(cut: float) -> tuple[float, int]:
        marked = numbers > cut
        return round(2 * int((marked & wrong).sum()) / int(marked.sum() + wrong.sum()), 9), -int(marked.sum())

    assert worth(cut) == max(worth(other) for other in np.arange(-0.5, 6.0))
    assert cut not in numbers, "it lies between two of them"


def test_where_nothing_is_wrong_there_is_nothing_to_mark():
    with pytest.raises(ValueError, match="none of 3 words is wrong"):
        best_cut(np.arange(3.0), np.zeros(3, dtype=bool))
