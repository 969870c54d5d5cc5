"""Batches by memory: what fits goes together, what does not is cut in two, and each row is done or named once."""

import itertools
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.memory import free_bytes
from hybrid_asr.inference.batching import MEMORY_SHARE, Cost, MemoryBatching, OrderedBatching, SharedBatching
from hybrid_asr.inference.out_of_memory import OutOfMemory, is_out_of_memory, split_on_failure

CPU = torch.device("cpu")


def impossible() -> torch.Tensor:
    """The error of an allocation that no machine can make, as torch tells it."""
    return torch.empty(1 << 60, dtype=torch.uint8)


@settings(max_examples=20)  # each lack of memory collects garbage
@given(count=st.integers(0, 12), fits=st.integers(1, 12), bad=st.sets(st.integers(0, 11)))
def test_every_row_is_done_once_or_named_once(count, fits, bad):
    named, sizes = {}, []

    def work(rows: list[int]) -> list[int]:
        if len(rows) > fits:
            impossible()
        if bad & set(rows):
            raise UserError("bad")
        return [row * row for row in rows]

    done = {}
    failed = named.__setitem__
    for rows, found in split_on_failure(range(count), work, failed=failed, ran_out_with=sizes.append):
        done |= dict(zip(rows, found, strict=True))
    assert done == {row: row * row for row in range(count) if row not in bad}
    assert list(done) == sorted(done), "in their order"
    assert set(named) == {row for row in range(count) if row in bad}
    assert all(size > fits for size in sizes) and bool(sizes) == (count > fits)


def test_what_fails_alone_for_lack_of_memory_is_told_so():
    named = {}
    assert list(split_on_failure([7], lambda rows: impossible(), failed=named.__setitem__)) == []
    assert isinstance(named[7], OutOfMemory)
    assert "decode.beam" in str(named[7])


def test_other_errors_are_not_hidden():
    with pytest.raises(ZeroDivisionError):
        list(split_on_failure([1, 2], lambda rows: 1 / 0, failed=lambda *_: None))
    with pytest.raises(RuntimeError, match="size"):
        list(split_on_failure([1, 2], lambda rows: torch.ones(2) @ torch.ones(3), failed=lambda *_: None))


def test_nothing_of_a_failed_attempt_is_kept_while_it_is_done_again():
    """A traceback would hold every tensor of the attempt, when memory is needed most."""
    kept = []

    def work(rows: list[int]) -> int:
        assert not any(one() is not None for one in kept), "the attempt before is still there"
        large = torch.zeros(1000)
        kept.append(weakref.ref(large))
        if len(rows) > 1:
            impossible()
        return len(rows)

    assert [found for _, found in split_on_failure(range(4), work, failed=lambda *_: None)] == [1] * 4
    assert len(kept) == 7


def test_only_lack_of_memory_is_taken_for_it():
    for error in (MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("std::bad_alloc")):
        assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError) as caught:
        impossible()
    assert is_out_of_memory(caught.value)


@given(st.lists(st.floats(0.1, 30.0), min_size=1, max_size=60), st.floats(0.1, 200.0))
def test_batches_hold_every_utterance_once_the_longest_first_within_the_limit(seconds, most):
    durations = np.array(seconds)
    batching = MemoryBatching(CPU, Cost(1.0, 1.0), most)
    batches = list(batching.batches(durations))
    assert sorted(place for batch in batches for place in batch) == list(range(len(seconds)))
    longest = [durations[batch].max() for batch in batches]
    assert longest == sorted(longest, reverse=True)
    assert all(len(batch) == 1 or len(batch) * durations[batch].max() <= most * 1.001 for batch in batches)


def test_batches_follow_what_the_ones_before_took():
    durations = np.full(1000, 10.0)
    free = MEMORY_SHARE * free_bytes(CPU)
    batching = MemoryBatching(CPU, Cost(free / 200, 0.0), 1e9)  # 20 utterances fit, by the estimate
    batches = batching.batches(durations)
    assert 15 <= len(next(batches)) <= 25
    batching.learn(20, 200.0, int(free / 2))  # they took half of it
    assert 30 <= len(next(batches)) <= 50
    batching.learn(20, 200.0, int(free * 2))
    assert 7 <= len(next(batches)) <= 13
    batching.learn(20, 200.0, 1)
    batching.note_out_of_memory(80.0)
    assert len(next(batches)) == 4, "half of what was too much, whatever was measured"


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 17])
def test_shares_hold_every_utterance_once_in_equal_numbers_of_batches(ranks, count):
    durations = np.array([0.2 + 0.05 * (index * 7 % 17) for index in range(count)])
    shares = [list(SharedBatching(1.5, rank, ranks).batches(durations)) for rank in range(ranks)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(index for share in shares for batch in share for index in batch) == list(range(count))
    assert sum(not batch for share in shares for batch in share) == max(0, ranks - count)
    for share in shares:
        longest = [durations[batch].max() for batch in share if batch]
        assert longest == sorted(longest, reverse=True)
        assert all(len(batch) * durations[batch].max() <= 1.5 + 1e-9 for batch in share if batch)


def test_an_utterance_longer_than_a_share_s_batch_stands_alone():
    batches = list(SharedBatching(1.0).batches(np.array([0.5, 3.0, 0.5])))
    assert batches[0] == [1] and [len(batch) for batch in batches] == [1, 2]


@given(st.lists(st.floats(0.1, 30.0), max_size=60), st.floats(0.1, 200.0), st.none() | st.integers(1, 5))
def test_neighbors_go_together_as_far_as_they_fit(seconds, most, count):
    durations = np.array(seconds)
    batches = list(OrderedBatching(seconds=most, most_utterances=count).batches(durations))
    assert [index for batch in batches for index in batch] == list(range(len(seconds)))
    assert all(len(batch) == 1 or len(batch) * durations[batch].max() <= most for batch in batches)
    assert all(len(batch) <= (count or 60) for batch in batches)
    for before, after in itertools.pairwise(batches):
        more = [*before, after[0]]
        assert len(more) * durations[more].max() > most or len(before) == count, "no batch ends early"
    backward = list(reversed(range(len(seconds))))
    ordered = list(OrderedBatching(backward, most, count).batches(durations))
    assert [index for batch in ordered for index in batch] == backward
