"""Laws of the plan: a pure function of (seed, epoch), complete, within its budgets, the same for all devices."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.data.config import DataConfig
from hybrid_asr.data.plan import Corpus, EpochPlan, Relief
from hybrid_asr.data.sampler import PlanError, Planner, PlanSampler, accumulation_for, within_limits

SHARES = [(ranks, accumulation) for ranks in (1, 2, 4) for accumulation in (1, 3)]
SPEEDS = (0.9, 1.0, 1.1)


def corpus_of(durations, *, shift: int = 0) -> Corpus:
    """A corpus whose label counts tell utterances and pairs apart."""
    values = np.array(durations, dtype=np.float64)
    labels = np.arange(len(values)) % 13 + 1
    return Corpus(
        durations=values,
        keys=np.arange(shift, shift + len(values), dtype=np.uint64) * np.uint64(7919),
        labels=labels,
        joined_labels=lambda first, second: int(labels[first] + labels[second] + 1),
        where=lambda index: f"set.jsonl:{index + 1}: utterance 'u{index}'",
    )


def an4_like(count: int = 300) -> np.ndarray:
    """Durations like AN4's: mean 2.7 s, 0.8 to 6.4 s."""
    return np.clip(np.random.default_rng(5).gamma(5.5, 0.5, count), 0.8, 6.4).round(2)


def planner_of(durations, *, seed: int = 1, speeds=SPEEDS, join_share: float = 0.4, **data) -> Planner:
    data = {"batch_seconds": 25.0, **data}
    return Planner(
        corpus_of(durations),
        data=DataConfig(train="a", valid="b", **data),
        augment=AugmentConfig(speeds=speeds, join_share=join_share),
        seed=seed,
    )


def everyone(plan: EpochPlan) -> Counter:
    return Counter(index for batch in plan.batches for row in batch.utterances for index in row.indices)


def padded(plan: EpochPlan, rows) -> float:
    return max(plan.seconds(row) for row in rows) * len(rows)


def test_a_plan_is_a_function_of_seed_and_epoch() -> None:
    durations = an4_like()
    one, other = planner_of(durations), planner_of(durations)
    other.plan(7)  # what was planned before must not matter
    assert list(one.plan(3).batches) == list(other.plan(3).batches)
    assert list(one.plan(3).batches) != list(one.plan(4).batches)
    assert list(one.plan(3).batches) != list(planner_of(durations, seed=2).plan(3).batches)


def test_no_utterance_is_lost_or_repeated_in_any_epoch() -> None:
    planner = planner_of(an4_like())
    for epoch in range(3):
        assert everyone(planner.plan(epoch)) == Counter(range(300))


def test_speed_and_joining_hang_on_the_utterance_not_on_its_neighbors() -> None:
    durations = an4_like()
    whole = planner_of(durations, join_share=0.0).plan(2)
    fewer = planner_of(durations[:200], join_share=0.0).plan(2)

    def speeds(plan: EpochPlan) -> dict[int, float]:
        return {row.indices[0]: row.speed for batch in plan.batches for row in batch.utterances}

    assert speeds(fewer) == {index: speed for index, speed in speeds(whole).items() if index < 200}


def test_speeds_and_partners_are_drawn_anew_in_every_epoch() -> None:
    planner = planner_of(an4_like(30), join_share=0.4)
    speeds, partners = [set() for _ in range(30)], [set() for _ in range(30)]
    for epoch in range(30):
        for row in (row for batch in planner.plan(epoch).batches for row in batch.utterances):
            for index in row.indices:
                speeds[index].add(row.speed)
                partners[index].update(other for other in row.indices if other != index)
    assert all(seen == set(SPEEDS) for seen in speeds)
    assert sum(len(seen) for seen in partners) > 30 * 5


def test_statistics_say_what_was_applied() -> None:
    plan = planner_of(an4_like(3000)).plan(1)
    rows = [row for batch in plan.batches for row in batch.utterances]
    statistics = plan.statistics
    assert statistics.speeds == Counter(row.speed for row in rows for _ in row.indices)
    assert all(abs(count - 1000) < 120 for count in statistics.speeds.values())
    joined = sum(len(row.indices) for row in rows if len(row.indices) == 2)
    assert statistics.joined_share == joined / 3000 and 0.33 < statistics.joined_share <= 0.43
    real = sum(plan.seconds(row) for row in rows)
    assert statistics.seconds == pytest.approx(real)
    assert statistics.padding_share == pytest.approx(
        1 - real / sum(padded(plan, batch.utterances) for batch in plan.batches)
    )
    assert f"{plan.steps} steps" in statistics.text() and f"joined {joined / 3000:.0%}" in statistics.text()


def test_joined_utterances_are_short_enough_and_counted_with_their_separator() -> None:
    durations = an4_like()
    plan = planner_of(durations).plan(1)
    pairs = [row for batch in plan.batches for row in batch.utterances if len(row.indices) == 2]
    assert len(pairs) > 30
    for row in pairs:
        assert plan.seconds(row) == pytest.approx(durations[list(row.indices)].sum() / row.speed)
        assert plan.seconds(row) <= 8.0 + 1e-6


def test_the_divisor_is_the_labels_of_the_global_batch_plus_an_end_each() -> None:
    labels = np.arange(300) % 13 + 1
    for batch in planner_of(an4_like()).plan(0).batches:
        assert batch.divisor == sum(labels[list(row.indices)].sum() + len(row.indices) for row in batch.utterances)


@pytest.mark.parametrize(("ranks", "accumulation"), SHARES)
def test_shares_are_disjoint_complete_and_of_the_same_global_batches(ranks: int, accumulation: int) -> None:
    plan = planner_of(an4_like(120), batch_seconds=15.0).plan(1)
    shares = [plan.share(rank, ranks, accumulation) for rank in range(ranks)]
    assert [len(share) for share in shares] == [plan.steps * accumulation] * ranks
    for step, batch in enumerate(plan.batches):
        parts = [share[step * accumulation + turn] for share in shares for turn in range(accumulation)]
        assert {part.divisor for part in parts} == {batch.divisor}
        real = [row for part in parts for row in part.utterances if row.weight == 1.0]
        assert Counter(real) == Counter(batch.utterances), "disjoint, and together the whole batch"
        for part in parts:
            fillers = [row for row in part.utterances if row.weight != 1.0]
            assert part.utterances, "every rank has a step"
            assert fillers in ([], [batch.utterances[-1]._replace(weight=0.0)])
            assert not fillers or len(part.utterances) == 1


def test_devices_that_work_at_the_same_time_have_about_the_same_work() -> None:
    plan = planner_of(an4_like(2000), batch_seconds=200.0).plan(1)
    shares = [plan.share(rank, 4, 2) for rank in range(4)]
    work = np.array([[padded(plan, part.utterances) for part in share] for share in shares])
    assert work.max(0).sum() < 1.15 * work.mean(0).sum()


@pytest.mark.parametrize("join_share", [0.0, 0.4])
def test_the_number_of_steps_is_constant_and_batches_are_full(join_share: float) -> None:
    planner = planner_of(an4_like(948), join_share=join_share)
    plans = [planner.plan(epoch) for epoch in range(20)]
    assert {plan.steps for plan in plans} == {planner.steps}
    assert np.mean([plan.statistics.fill for plan in plans]) > 0.8
    assert sum(plan.statistics.relief != Relief() for plan in plans) <= 4
    assert len({tuple(plan.batches) for plan in plans}) == 20


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0.2, 9.0), min_size=1, max_size=60),
    st.sampled_from([(1.0,), (0.9, 1.0, 1.1), (0.5, 2.0)]),
    st.sampled_from([0.0, 0.4, 1.0]),
    st.floats(0.0, 1.0),
    st.floats(18.0, 60.0),
)
def test_the_budget_is_never_exceeded_and_steps_never_change(durations, speeds, join_share, jitter, budget) -> None:
    planner = planner_of(durations, speeds=speeds, join_share=join_share, jitter=jitter, batch_seconds=budget)
    for epoch in range(4):
        plan = planner.plan(epoch)
        assert plan.steps == planner.steps
        assert everyone(plan) == Counter(range(len(durations)))
        assert max(padded(plan, batch.utterances) for batch in plan.batches) <= budget * (1 + 1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.2, 9.0), min_size=1, max_size=60), st.floats(10.0, 40.0), st.integers(1, 4))
def test_every_part_is_within_the_budget_of_a_device(durations, device, ranks) -> None:
    planner = planner_of(durations, batch_seconds=40.0, device_seconds=device)
    accumulation, plan = planner.accumulation(ranks), planner.plan(1)
    for rank in range(ranks):
        for part in plan.share(rank, ranks, accumulation):
            assert padded(plan, part.utterances) <= device * (1 + 1e-6)


def test_the_devices_budget_changes_parts_only() -> None:
    durations = an4_like()
    whole, small = planner_of(durations), planner_of(durations, device_seconds=10.0)
    assert whole.accumulation(1) == 1 and small.accumulation(1) == 4 and small.accumulation(4) == 1
    assert list(whole.plan(2).batches) == list(small.plan(2).batches)
    data = DataConfig(train="a", valid="b", batch_seconds=600.0, device_seconds=100.0)
    assert accumulation_for(data, 1, 17.0) == 8 and accumulation_for(data, 8, 17.0) == 1
    assert accumulation_for(replace(data, part_seconds=100.0), 1, 17.0) == 6
    assert accumulation_for(replace(data, batch_seconds=25.0, device_seconds=25.0), 1, 6.0) == 1


def test_short_utterances_come_first_in_the_first_epoch_only() -> None:
    planner = planner_of(an4_like())

    def longest(epoch: int) -> list[float]:
        plan = planner.plan(epoch)
        return [max(plan.seconds(row) for row in batch.utterances) for batch in plan.batches]

    first, second = longest(0), longest(1)
    assert np.corrcoef(first, np.arange(len(first)))[0, 1] > 0.9
    assert abs(np.corrcoef(second, np.arange(len(second)))[0, 1]) < 0.5


@pytest.mark.parametrize(("ranks", "accumulation"), [(1, 1), (2, 3)])
def test_a_resumed_training_is_the_tail_of_an_uninterrupted_one(ranks: int, accumulation: int) -> None:
    durations = an4_like(120)
    steps = planner_of(durations).steps

    def stream(first: int) -> PlanSampler:
        planner = planner_of(durations)
        return PlanSampler(
            planner, rank=ranks - 1, ranks=ranks, accumulation=accumulation, first=first, total=4 * steps
        )

    whole = list(stream(0))
    assert len(whole) == len(stream(0)) == 4 * steps * accumulation
    for first in (1, 2 * steps, 2 * steps + 5):
        assert list(stream(first)) == whole[first * accumulation :]
        assert len(stream(first)) == len(whole) - first * accumulation
    plan = planner_of(durations).plan(2)
    third = list(plan.share(ranks - 1, ranks, accumulation))
    assert whole[2 * steps * accumulation : 3 * steps * accumulation] == third


def test_an_utterance_longer_than_a_budget_is_named_with_the_remedy() -> None:
    durations = [3.0, 24.0, 12.0, 23.0]
    with pytest.raises(PlanError) as caught:
        planner_of(durations)
    assert str(caught.value) == (
        "set.jsonl:2: utterance 'u1' lasts 24.00 s (26.67 s at speed 0.9), data.batch_seconds is 25, "
        "and 1 more are too long; raise data.batch_seconds, cut the audio into shorter utterances, "
        "or leave long ones out with data.max_seconds"
    )
    assert planner_of(durations, speeds=(1.0,)).steps == 4
    with pytest.raises(PlanError, match=r"'u1' lasts 24.00 s, data.device_seconds is 20"):
        planner_of(durations, speeds=(1.0,), device_seconds=20.0)
    with pytest.raises(PlanError, match=r"longest utterance lasts 24.00 s, data.device_seconds is 20; raise"):
        accumulation_for(DataConfig(train="a", valid="b", batch_seconds=100.0, device_seconds=20.0), 2, 24.0)
    with pytest.raises(PlanError, match=r"augment.join_max_s 8 is more than data.device_seconds 5"):
        planner_of([1.0, 2.0], device_seconds=5.0)
    with pytest.raises(PlanError, match="no utterances"):
        planner_of([])


def test_limits_of_length_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_seconds must be more than min_seconds"):
        parse(DataConfig, {"train": "a", "valid": "b", "batch_seconds": 9, "min_seconds": 3, "max_seconds": 2})
    parsed = parse(DataConfig, {"train": "a", "valid": "b", "test": ["c"], "batch_seconds": 25})
    assert parsed.test == ("c",) and parsed.batch_seconds == 25.0


def test_limits_of_length_choose_training_utterances(make_manifest) -> None:
    train = make_manifest([0.1, 0.5, 0.9])
    data = DataConfig(train="a", valid="b", batch_seconds=9.0, min_seconds=0.2, max_seconds=0.5)
    assert [utterance.id for utterance in within_limits(train, data)] == ["train-1"]
    assert len(within_limits(train, replace(data, min_seconds=0.0, max_seconds=None))) == 3
