"""Curriculum by length: the first epochs go from the shortest batch to the longest, the others do not."""

import pytest

from tests.data.test_sampler import an4_like, everyone, planner_of


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_the_first_epochs_are_in_the_order_of_length(epochs):
    planner = planner_of(an4_like(), shortest_first_epochs=epochs, jitter=0.0, join_share=0.0)
    for epoch in range(5):
        plan = planner.plan(epoch)
        longest = [max(plan.seconds(row) for row in batch.utterances) for batch in plan.batches]
        assert (longest == sorted(longest)) == (epoch < epochs), epoch
        assert set(everyone(plan).values()) == {1}


def test_the_order_is_a_function_of_seed_and_epoch():
    """So that a training that goes on in the middle of an epoch takes up the very next batch."""
    one, other = (planner_of(an4_like(), shortest_first_epochs=2) for _ in range(2))
    other.plan(4)
    for epoch in (1, 2):
        assert list(one.plan(epoch).batches) == list(other.plan(epoch).batches)
