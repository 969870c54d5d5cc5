"""Laws of the plan's arithmetic, against plain and slow versions of it."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_asr.data import packing

SECONDS = st.lists(st.floats(0.1, 10.0), min_size=1, max_size=40)


def cost(rows) -> float:
    return max(rows) * len(rows) if len(rows) else 0.0


@settings(max_examples=60, deadline=None)
@given(SECONDS, st.floats(10.0, 60.0))
def test_next_fit_takes_as_many_rows_as_fit(seconds, budget) -> None:
    edges = packing.next_fit(np.array(seconds), budget).tolist()
    start, expected = 0, [0]
    while start < len(seconds):
        stop = start + 1
        while stop < len(seconds) and cost(seconds[start : stop + 1]) <= budget * packing.SLACK:
            stop += 1
        start = stop
        expected.append(stop)
    assert edges == expected


@settings(max_examples=60, deadline=None)
@given(SECONDS, st.floats(10.0, 60.0), st.integers(0, 40))
def test_splitting_gives_the_number_of_groups_and_no_group_costs_more(seconds, budget, more) -> None:
    values = np.array(seconds)
    edges = packing.next_fit(values, budget)
    groups = min(len(edges) - 1 + more, len(seconds))
    split = packing.split_largest(values, edges, groups)
    assert len(split) == groups + 1 and split[0] == 0 and split[-1] == len(seconds) and (np.diff(split) > 0).all()
    assert set(edges.tolist()) <= set(split.tolist())
    assert packing.padded(values, split).max() <= budget * packing.SLACK


@settings(max_examples=100, deadline=None)
@given(SECONDS, st.integers(1, 12))
def test_dealing_is_complete_and_within_its_bound(seconds, parts) -> None:
    rows = sorted(seconds, reverse=True)
    dealt = packing.deal(rows, parts)
    assert len(dealt) == parts
    assert sorted(row for start, stop in dealt for row in range(start, stop)) == list(range(len(rows)))
    costs = [cost(rows[start:stop]) for start, stop in dealt]
    assert costs == sorted(costs, reverse=True)
    assert min(len(rows), parts) == sum(stop > start for start, stop in dealt)
    equal = rows[0] * math.ceil(len(rows) / parts)
    assert costs[0] <= equal * (1 + 1e-9)


@settings(max_examples=100, deadline=None)
@given(SECONDS, st.floats(1.0, 30.0))
def test_so_many_parts_bring_any_batch_within_the_device(seconds, device) -> None:
    rows = sorted((min(second, device) for second in seconds), reverse=True)
    parts = packing.parts_needed(cost(rows), device, rows[0])
    assert max(cost(rows[start:stop]) for start, stop in packing.deal(rows, parts)) <= device * (1 + 1e-6)


def test_draws_are_even_and_hang_on_key_and_place_alone() -> None:
    keys = np.random.default_rng(0).integers(0, 2**63, 20_000).astype(np.uint64)
    draws = packing.uniform(keys, 1, 0, "speed")
    assert draws.min() >= 0 and draws.max() < 1
    counts, _ = np.histogram(draws, 20, (0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 50  # chi square with 19 degrees of freedom: p = 0.0001 at 50
    assert np.array_equal(packing.uniform(keys[::-7], 1, 0, "speed"), draws[::-7])
    for place in ((2, 0, "speed"), (1, 1, "speed"), (1, 0, "join")):
        assert abs(np.corrcoef(draws, packing.uniform(keys, *place))[0, 1]) < 0.04
    consecutive = packing.uniform(np.arange(20_000, dtype=np.uint64), 1, 0, "speed")
    assert abs(np.corrcoef(consecutive[1:], consecutive[:-1])[0, 1]) < 0.04


def test_a_draw_is_the_same_in_every_version() -> None:
    """A plan must not change when numpy or Python does: a resumed training would go on with other batches."""
    draws = packing.uniform(np.array([0, 1, 2**64 - 1], dtype=np.uint64), 1, 0, "speed")
    assert draws.tolist() == [0.3454216234694323, 0.20503132858041562, 0.9381600052398852]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0.5, 8.0), min_size=0, max_size=50), st.floats(1.0, 12.0), st.integers(0, 9))
def test_pairs_are_disjoint_chosen_and_short_enough(durations, limit, seed) -> None:
    values = np.array(durations)
    keys = np.arange(len(values), dtype=np.uint64)
    speeds = np.where(packing.uniform(keys, seed) < 0.5, 0.9, 1.1)
    chosen = packing.uniform(keys, seed, "chosen") < 0.7
    first, second = packing.pairs(values, speeds, keys, chosen, limit, seed, "partner")
    both = np.concatenate([first, second]).tolist()
    assert len(set(both)) == len(both) and chosen[both].all()
    assert ((values[first] + values[second]) / speeds[first] <= limit * packing.SLACK).all()


def test_short_utterances_all_find_a_partner() -> None:
    values = np.full(100, 2.0)
    keys = np.arange(100, dtype=np.uint64)
    first, second = packing.pairs(values, np.ones(100), keys, np.ones(100, dtype=bool), 8.0, 1, "partner")
    assert len(first) == 50
    again = packing.pairs(values, np.ones(100), keys, np.ones(100, dtype=bool), 8.0, 2, "partner")
    assert len(set(zip(first, second, strict=True)) & set(zip(*again, strict=True))) < 10, "partners are drawn anew"
