"""A study file: what it describes, and what is refused before anything is trained."""

from pathlib import Path

import pytest

from hybrid_asr.common.errors import UserError
from hybrid_asr.study.config import read_study
from hybrid_asr.study.plan import Plan, make_plan

STUDY = """
recipe: tiny.yaml
metric: [test.joint.wer, test.ctc_greedy.wer, test.attention.wer]
baseline: joint
seeds: [1, 2]
settings: {data.root: ROOT}
"""
VARIANTS = "variants:\n  joint: {}\n"


def plan_of(tones: Path, folder: Path, text: str) -> Plan:
    file = folder / "study.yaml"
    file.write_text((STUDY + text).replace("ROOT", str(tones)).replace("tiny.yaml", str(tones / "tiny.yaml")))
    return make_plan(read_study(file))


def test_variants_that_differ_in_decoding_alone_share_their_trainings(tones, tmp_path):
    plan = plan_of(tones, tmp_path, VARIANTS + "  beam: {decode.beam: 2}\n  ctc: {loss.ctc_weight: 1.0}\n")
    joint, beam, ctc = plan.variants
    assert [one.signature for one in joint.trainings] == [one.signature for one in beam.trainings]
    assert joint.decodings[0].label == "joint" and beam.decodings[0].label.startswith("joint-")
    assert len(plan.trainings) == 4 and str(ctc.metric) == "test.ctc_greedy.wer", "what its model serves"
    assert {one.label for one in plan.decodings(joint.trainings[0])} == {"joint", beam.decodings[0].label}


def test_what_else_decides_the_model_is_another_training(tones, tmp_path):
    plan = plan_of(tones, tmp_path, VARIANTS + "  averaged: {trainer.average_count: 3}\n")
    joint, averaged = ([one.signature for one in each.trainings] for each in plan.variants)
    assert not set(joint) & set(averaged)


def test_what_a_variant_starts_from_is_trained_first(tones, tmp_path):
    plan = plan_of(tones, tmp_path, VARIANTS + "  longer: {init.from: joint, optim.lr: 0.001}\n")
    assert [training.variant for training in plan.trainings.values()] == ["joint", "joint", "longer", "longer"]
    longer = plan.variants[1].trainings
    assert [one.start.signature if one.start else None for one in longer] == [
        one.signature for one in plan.variants[0].trainings
    ]


def test_a_grid_is_all_combinations_but_for_those_excluded(tones, tmp_path):
    grid = "grid: {loss.ctc_weight: [0.3, 0.7], optim.lr: [0.01, 0.02]}\n"
    grid += "exclude: [{loss.ctc_weight: 0.3, optim.lr: 0.02}]\n"
    plan = plan_of(tones, tmp_path, VARIANTS + grid)
    assert [one.name for one in plan.variants] == [
        "joint", "ctc_weight=0.3,lr=0.01", "ctc_weight=0.7,lr=0.01", "ctc_weight=0.7,lr=0.02"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variants", "told"),
    [
        ("  typo: {loss.ctc_wieght: 0.2}\n", "variant 'typo': loss.ctc_wieght: unknown key"),
        ("  same: {loss.ctc_weight: 0.5}\n", "variant 'same': is the same as 'joint'"),
        (
            "  ctc: {loss.ctc_weight: 1.0, metric: test.joint.wer}\n",
            "variant 'ctc': this model has no attention decoder",
        ),
        ("  set: {metric: tset.joint.wer, optim.lr: 0.1}\n", "variant 'set': --sets tset: the run has no such set"),
        ("  rate: {metric: test.joint.per, optim.lr: 0.1}\n", "there is no rate 'per'"),
        ("  by: {metric: test.jiont.wer, optim.lr: 0.1}\n", "there is no decoder 'jiont'"),
        ("  seeded: {seed: 3}\n", "variant 'seeded': seed: the study's 'seeds' say which"),
        ("  'a b': {optim.lr: 0.1}\n", "variant 'a b': the name is that of folders"),
        ("  out: {hypotheses: none.trn}\n", "none.trn: no such file"),
        ("  circle: {init.from: circle}\n", "init.from leads in a circle"),
        ("exclude: [{loss.nothing: 3}]\n", "exclude: {loss.nothing: 3} is no combination of the grid"),
        ("", "a study compares: name a second variant"),
    ],
)
def test_a_mistake_is_named_with_its_variant(variants, told, tones, tmp_path):
    with pytest.raises(UserError) as raised:
        plan_of(tones, tmp_path, VARIANTS + variants)
    assert told in str(raised.value)
