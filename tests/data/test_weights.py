"""Laws of weighted manifests: every utterance is in an epoch as often as its weight says, and steps stay constant."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.config.schema import ConfigError, parse
from hybrid_asr.data.config import DataConfig
from hybrid_asr.data.plan import Source
from hybrid_asr.data.sampler import PlanError, Planner
from tests.data.test_sampler import an4_like, corpus_of, everyone

SOURCES = (Source("read", 100, 2.0), Source("noisy", 60, 0.5), Source("phone", 40, 1.25))


def planner_of(*sources: Source, plan: int = 2, speeds=(0.9, 1.0, 1.1), **augment) -> Planner:
    count = sum(source.utterances for source in sources)
    data = DataConfig(train="a", valid="b", batch_seconds=25.0, plan=1 if plan == 1 else 2)
    corpus = replace(corpus_of(an4_like(count)), sources=sources)
    return Planner(corpus, data=data, augment=AugmentConfig(speeds=speeds, **augment), seed=1)


@pytest.mark.parametrize("plan", [1, 2])
def test_every_utterance_is_in_an_epoch_as_often_as_its_weight_says(plan: int) -> None:
    planner = planner_of(*SOURCES, plan=plan, join_share=0.3)
    for epoch in range(3):
        planned = planner.plan(epoch)
        counts = everyone(planned)
        assert planned.steps == planner.steps
        assert Counter(counts[index] for index in range(100)) == {2: 100}
        assert Counter(counts[index] for index in range(100, 160)) == {0: 30, 1: 30}
        assert Counter(counts[index] for index in range(160, 200)) == {1: 30, 2: 10}
        assert planned.statistics.sources == {"read": 200, "noisy": 30, "phone": 50}
    assert "200 of read, 30 of noisy, 50 of phone" in planner.plan(0).statistics.text()


def test_fractions_choose_others_in_every_epoch() -> None:
    planner = planner_of(*SOURCES)
    chosen = [frozenset(index for index in everyone(planner.plan(epoch)) if 100 <= index < 160) for epoch in range(8)]
    assert len(set(chosen)) == 8 and len(frozenset().union(*chosen)) > 55


def test_every_copy_has_draws_of_its_own() -> None:
    planner = planner_of(Source("read", 300, 2.0))
    speeds: dict[int, list[float]] = {}
    for row in (row for batch in planner.plan(0).batches for row in batch.utterances):
        speeds.setdefault(row.indices[0], []).append(row.speed)
    equal = np.mean([first == second for first, second in speeds.values()])
    assert 0.22 < equal < 0.45, "a third of them by chance"


def test_equal_weights_of_1_change_nothing() -> None:
    whole, split = planner_of(Source("all", 200)), planner_of(Source("some", 150), Source("others", 50))
    assert list(whole.plan(2).batches) == list(split.plan(2).batches)


def test_steps_are_constant_without_speeds_to_save_by() -> None:
    planner = planner_of(Source("a", 37, 0.4), Source("b", 23, 1.7), speeds=(1.0,))
    assert {planner.plan(epoch).steps for epoch in range(40)} == {planner.steps}


def test_weights_that_leave_nothing_and_no_manifest_are_refused() -> None:
    with pytest.raises(PlanError, match=r"weights of data.train leave no utterance"):
        planner_of(Source("a", 3, 0.1))
    data = {"valid": "b", "batch_seconds": 9}
    with pytest.raises(ConfigError, match="name at least one manifest"):
        parse(DataConfig, data | {"train": []})
    with pytest.raises(ConfigError, match=r"train.0.weight: Input should be greater than 0"):
        parse(DataConfig, data | {"train": [{"manifest": "a", "weight": 0}]})
    parsed = parse(DataConfig, data | {"train": [{"manifest": "a", "weight": 2}, {"manifest": "b"}]})
    assert [(each.manifest, each.weight) for each in parsed.train_manifests] == [("a", 2.0), ("b", 1.0)]
