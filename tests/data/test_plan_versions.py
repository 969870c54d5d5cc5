"""Laws of the plan's versions: 1 stays as it was to the bit, 2 is even in labels and can be dealt evenly."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.data.config import DataConfig
from hybrid_asr.data.deal import deal_by_labels
from hybrid_asr.data.fill import even_parts, rows_of_batch
from hybrid_asr.data.plan import EpochPlan
from hybrid_asr.data.sampler import Planner
from tests.data.test_sampler import an4_like, corpus_of, padded, planner_of


def speech_like(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds and label counts like those of read speech: 1 to 17 s, most about 15, 14 letters a second."""
    rng = np.random.default_rng(3)
    seconds = np.clip(np.where(rng.random(count) < 0.6, rng.normal(14.7, 1.2, count), rng.uniform(1, 14, count)), 1, 17)
    return seconds, np.round(seconds * np.clip(rng.normal(14, 2.2, count), 8, 22)).astype(np.int64)


def planner_like_speech(count: int, **data) -> Planner:
    seconds, labels = speech_like(count)
    corpus = replace(corpus_of(seconds), labels=labels)
    return Planner(corpus, data=DataConfig(train="a", valid="b", **data), augment=AugmentConfig(), seed=1)


def digest(*plans: EpochPlan) -> str:
    """Of all batches, and of all parts for one device and for two with three accumulated parts."""
    seen = hashlib.sha256()
    for plan in plans:
        for batch in plan.batches:
            seen.update(repr(tuple(batch)).encode())
        for ranks, accumulation in ((1, 1), (2, 3)):
            for rank in range(ranks):
                for part in plan.share(rank, ranks, accumulation):
                    seen.update(repr(tuple(part)).encode())
    return seen.hexdigest()[:16]


def test_version_1_is_as_it_was_to_the_bit() -> None:
    """The digests were computed by the code of version 1 before there was another."""
    one = planner_of(an4_like(), plan=1)
    other = planner_of(
        an4_like(600),
        seed=7,
        speeds=(1.0,),
        join_share=0.0,
        plan=1,
        **{"batch_seconds": 60.0, "device_seconds": 30.0, "jitter": 0.1, "shortest_first_epochs": 2},
    )
    assert digest(one.plan(0), one.plan(3)) == "095baf535112bbcb"
    assert digest(other.plan(1), other.plan(5)) == "0ba42be2cdd838b2"


def test_version_2_does_not_change_either() -> None:
    """A change of this digest needs a version 3: runs that began with version 2 go on with other batches."""
    planner = planner_of(an4_like(), plan=2)
    assert digest(planner.plan(0), planner.plan(3)) == "b6b57b1a30d5137b"


@pytest.mark.parametrize("ranks", [1, 2, 4, 7])
def test_order_and_divisors_are_those_of_one_device_and_shares_add_up(ranks: int) -> None:
    plan = planner_of(an4_like(150), batch_seconds=50.0).plan(2)
    alone = list(planner_of(an4_like(150), batch_seconds=50.0).plan(2).share(0, 1, 1))
    shares = [list(plan.share(rank, ranks, 1)) for rank in range(ranks)]
    for step, whole in enumerate(alone):
        parts = [share[step] for share in shares]
        rows = [row for part in parts for row in part.utterances if row.weight]
        assert sorted(rows) == sorted(whole.utterances)
        assert {part.divisor for part in parts} == {whole.divisor}


@pytest.mark.parametrize(("seconds", "least"), [(25, 0.90), (100, 0.93)])
def test_devices_seldom_wait(seconds: int, least: float) -> None:
    """Real seconds per (devices x slowest part), for numbers of devices that the plan does not know."""
    for ranks in (8, 24):
        plan = planner_like_speech(250 * ranks, batch_seconds=float(seconds * ranks)).plan(1)
        shares = [plan.share(rank, ranks, 1) for rank in range(ranks)]
        steps = range(0, plan.steps, 5)
        slowest = sum(max(padded(plan, share[step].utterances) for share in shares) for step in steps)
        real = sum(plan.seconds(row) for step in steps for share in shares for row in share[step].utterances)
        assert real / (ranks * slowest) >= least - 0.02  # small sets, whose last batches are not full


def test_little_of_labels_and_audio_is_padding() -> None:
    planner = planner_like_speech(3000, batch_seconds=200.0)
    plan, labels = planner.plan(1), speech_like(3000)[1]
    for ranks in (1, 8):
        parts = [plan.share(rank, ranks, 1)[step] for rank in range(ranks) for step in range(0, plan.steps, 7)]
        counts = [labels[[row.indices[0] for row in part.utterances]] for part in parts]
        assert 1 - sum(each.sum() for each in counts) / sum(each.max() * len(each) for each in counts) < 0.1
        real = sum(plan.seconds(row) for part in parts for row in part.utterances)
        assert 1 - real / sum(padded(plan, part.utterances) for part in parts) < 0.05


def test_a_likely_number_of_devices_is_found_in_the_size_of_a_batch() -> None:
    def parts(seconds: float, part_seconds: float | None = None) -> int:
        return even_parts(DataConfig(train="a", valid="b", batch_seconds=seconds, part_seconds=part_seconds))

    assert [parts(25.0 * ranks) for ranks in (1, 7, 8, 24, 40, 512)] == [1, 7, 8, 24, 40, 512]
    assert parts(100.0 * 512) == 2048 and parts(60.0 * 16) == 32 and parts(39.0) == 1
    assert parts(800.0, 100.0) == 8 and parts(90.0, 100.0) == 1
    assert rows_of_batch(15.0, 200.0, 8, 0.9) == 8 and rows_of_batch(13.0, 200.0, 8, 0.9) == 15
    assert rows_of_batch(30.0, 200.0, 8, 0.9) == 4 and rows_of_batch(150.0, 200.0, 8, 0.9) == 1


@pytest.mark.parametrize("device", [25.0, 60.0])
def test_parts_are_within_the_device_where_batches_are_made_of_them(device: float) -> None:
    planner = planner_like_speech(500, batch_seconds=device * 8, part_seconds=device, device_seconds=device)
    assert planner.accumulation(8) == 1 and planner.accumulation(4) == 2
    for ranks in (8, 4, 3):
        accumulation, plan = planner.accumulation(ranks), planner.plan(1)
        for rank in range(0, ranks, 3):
            assert all(
                padded(plan, part.utterances) <= device * 1.00001 for part in plan.share(rank, ranks, accumulation)
            )


def test_dealing_by_labels_moves_no_more_than_it_may() -> None:
    seconds = np.array([10.0, 9.9, 9.8, 9.7, 3.0, 2.9], np.float32)
    dealt = deal_by_labels(seconds, np.array([5, 9, 6, 8, 2, 1], np.int32), 3)
    assert sorted(tuple(sorted(rows.tolist())) for rows in dealt) == [(0, 2), (1, 3), (4, 5)]
    assert [len(rows) for rows in deal_by_labels(seconds[:2], np.array([1, 2], np.int32), 4)] == [1, 1, 0, 0]
