"""A run goes on with the defaults that it began with."""

import pytest

from hybrid_asr.config.compose import Composed
from hybrid_asr.run.former_defaults import as_it_began, with_former_defaults


@pytest.mark.parametrize(
    ("written", "begun", "plan"),
    [
        ({}, {}, None),  # begins now
        ({}, {"data.train": "a"}, 1),  # began before there were versions
        ({}, {"data.plan": 1}, 1),
        ({}, {"data.plan": 2}, None),  # today's default
        ({"data.plan": 2}, {"data.plan": 1}, 2),  # refused later, as any other configuration is
    ],
)
def test_a_run_goes_on_with_its_version_of_the_plan(written: dict, begun: dict, plan: int | None) -> None:
    tree = {"data": {"train": "a"} | {path.removeprefix("data."): value for path, value in written.items()}}
    composed = Composed(tree=tree, sources=dict.fromkeys(written, "recipe"), dropped={}, recipe=None)
    data = with_former_defaults(composed, begun).tree["data"]
    assert data == {"train": "a"} | ({} if plan is None else {"plan": plan})


def test_the_configuration_of_an_old_run_is_read_as_it_was() -> None:
    assert as_it_began({"data": {"train": "a"}, "seed": 1}) == {"data": {"train": "a", "plan": 1}, "seed": 1}
    assert as_it_began({"data": {"plan": 2}}) == {"data": {"plan": 2}}
