"""The alarm: it tells what is wrong and what to try, once, and is silent where a head follows the speech."""

import numpy as np
import pytest

from hybrid_asr.attention.alarms import AttentionAlarm, Heads, describe_problem


def heads(monotonicity, entropy, coverage=0.7, *, marching=0.1, listening=0.6) -> Heads:
    first = np.array(monotonicity, dtype=float)
    others = (np.broadcast_to(np.array(values, float), first.shape) for values in (marching, entropy, coverage))
    return Heads(first, *others, listening)


GOOD = heads([[0.1, 0.2], [0.3, 0.9]], 0.5)


def test_one_head_that_follows_is_enough():
    assert describe_problem(GOOD) is None


def test_attention_that_moves_on_by_itself_may_do_so_while_it_listens():
    marching = {"marching": [[0.8, 0.7]], "monotonicity": [[0.9, 0.7]], "entropy": 0.5}
    assert describe_problem(heads(**marching, listening=0.6)) is None
    assert describe_problem(heads(**marching, listening=np.nan)) is None, "nobody can tell"
    assert describe_problem(heads([[0.9, 0.7]], 0.5, marching=[[0.2, 0.9]], listening=0.0)) is None, "found by content"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (heads([[0.1, 0.2], [0.0, 0.1]], 0.99), ("layers 1 and 2 are near uniform", "does not use the audio yet")),
        (heads([[0.1, 0.2]], 0.1, 0.2), ("gets no weight", "same frames")),
        (heads([[0.1, 0.2], [0.0, 0.1]], [[0.99, 0.95], [0.4, 0.5]]), ("no order", "layer 1 are near uniform")),
        (heads([[0.1, 0.8]], 0.5, marching=0.78, listening=0.14), ("own pace (head 2", "(0.78)", "listening 0.14")),
        (heads([[-0.9, 0.2]], 0.4), ("head 2 of layer 1", "monotonicity 0.20", "show batch")),
    ],
)
def test_what_is_seen_is_told_with_causes_and_remedies(found, words):
    told = describe_problem(found)
    assert told is not None and all(word in told for word in (*words, "Likely:", "Try:"))


def test_attention_that_nobody_can_judge_is_no_alarm():
    assert describe_problem(heads([[np.nan, np.nan]], 0.5)) is None


def test_the_alarm_waits_and_is_given_once_until_a_head_follows_again():
    alarm, bad = AttentionAlarm(patience=3), heads([[0.1, 0.2]], 0.99)
    told = [alarm.add(epoch, found) for epoch, found in enumerate([bad, bad, bad, bad, GOOD, bad, bad, bad], 1)]
    assert [place for place, text in enumerate(told, 1) if text] == [3, 8]
    assert told[2] is not None and told[2].startswith(
        "epoch 3: attention has not aligned with the speech in 3 validations, since epoch 1: "
    )
