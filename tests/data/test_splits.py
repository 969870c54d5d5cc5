"""What is held out of training: stable, whole speakers, never everything."""

import random

import pytest

from hybrid_asr.data.manifest import Utterance
from hybrid_asr.data.splits import SplitError, hash_fraction, hold_out


def utterances(count: int, speakers: int = 0) -> list[Utterance]:
    return [
        Utterance(id=f"u{n}", audio="a.wav", duration_s=1.0, text="a", speaker=f"s{n % speakers}" if speakers else None)
        for n in range(count)
    ]


def ids(split) -> dict[str, list[str]]:
    return {name: [utterance.id for utterance in members] for name, members in split.items()}


def test_a_tenth_goes_into_each_set_and_nothing_is_lost():
    everything = utterances(2000)
    split = hold_out(everything)
    assert sorted(key for members in ids(split).values() for key in members) == sorted(
        utterance.id for utterance in everything
    )
    assert all(150 < len(split[name]) < 250 for name in ("test", "valid"))
    fractions = {name: [hash_fraction(utterance.id) for utterance in split[name]] for name in split}
    assert max(fractions["test"]) < 0.1 <= min(fractions["valid"]) and max(fractions["valid"]) < 0.2


def test_speakers_stay_together():
    split = hold_out(utterances(300, speakers=30))
    members = [{utterance.speaker for utterance in split[name]} for name in split]
    assert sum(map(len, members)) == 30


def test_order_and_what_is_added_change_little():
    everything = utterances(200)
    before = hold_out(everything)
    shuffled = hold_out(random.Random(1).sample(everything, 200))
    assert {name: set(members) for name, members in ids(shuffled).items()} == {
        name: set(members) for name, members in ids(before).items()
    }
    after = ids(hold_out(utterances(300)))
    assert all(set(members) <= set(after[name]) for name, members in ids(before).items())


def test_one_set_alone_is_the_one_that_it_is_beside_the_other():
    everything = utterances(500)
    both, alone = ids(hold_out(everything)), ids(hold_out(everything, ["valid"]))
    assert alone["valid"] == both["valid"] and set(alone) == {"train", "valid"}
    assert ids(hold_out(everything, []))["train"] == [utterance.id for utterance in everything]


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_few_give_every_set_at_least_one(count):
    assert all(hold_out(utterances(count)).values())


def test_too_few_are_refused():
    with pytest.raises(SplitError, match="2 utterances are too few to take test and valid out of train; add more"):
        hold_out(utterances(2))
