"""What a study says of its variants, in words; Holm's correction; what cannot be compared."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hybrid_asr.scoring.comparable import refuse_incomparable
from hybrid_asr.scoring.crossed_effects import difference_effect
from hybrid_asr.scoring.scores import ScoringError
from hybrid_asr.scoring.student_t import t_p
from hybrid_asr.scoring.verdict import Variant, compare_variants, holm

REFERENCE = np.random.default_rng(1).integers(4, 12, 130)
HARDNESS = np.random.default_rng(2).gamma(1, 1, 130)


def variant(name: str, rate: float, seeds: int, *, spread: float = 0.1, trainings: str = "") -> Variant:
    """A variant whose seeds have about this rate, evenly spread around it."""
    random = np.random.default_rng(len(name))
    rates = rate * (1 + spread * np.linspace(-1, 1, seeds)) if seeds > 1 else np.array([rate])
    errors = random.poisson(rates[:, None] * REFERENCE * HARDNESS)
    return Variant(name=name, errors=errors, seeds=tuple(range(1, seeds + 1)), trainings=trainings)


def test_the_better_one_comes_first_whichever_is_the_baseline() -> None:
    pair = [variant("hybrid", 0.05, 3), variant("CTC alone", 0.09, 3)]
    (verdict,) = compare_variants(pair, "CTC alone", REFERENCE, unit="utterance")
    (turned,) = compare_variants(pair, "hybrid", REFERENCE, unit="utterance")
    assert verdict.found and turned.found
    assert verdict.difference < 0 < turned.difference and verdict.p == pytest.approx(turned.p)
    size = r"hybrid is better than CTC alone by (\d\.\d) points"
    pattern = size + r" \(95 % interval (\d\.\d) to (\d\.\d), p = [\d.e-]+, 3 seeds, 130 utterances\)$"
    for text in (verdict.text(), turned.text()):
        match = re.match(pattern, text)
        assert match, text
        size, low, high = map(float, match.groups())
        assert low < size < high and size == pytest.approx(-100 * verdict.difference, abs=0.05)


def test_without_a_verdict_the_words_say_what_would_be_needed() -> None:
    pair = [variant("hybrid", 0.07, 3, spread=0.3), variant("CTC alone", 0.09, 3, spread=0.3)]
    (verdict,) = compare_variants(pair, "CTC alone", REFERENCE, unit="utterance")
    assert not verdict.found and verdict.needed.seeds and abs(verdict.difference) < verdict.smallest
    assert re.match(r"no verdict: hybrid is ahead of CTC alone by .*\); about \d+ seeds more", verdict.text())


def test_one_seed_is_a_training_and_never_a_method() -> None:
    pair = [variant("hybrid", 0.04, 1), variant("CTC alone", 0.09, 1)]
    (verdict,) = compare_variants(pair, "CTC alone", REFERENCE, unit="speaker")
    assert verdict.found and verdict.of_trainings
    text = verdict.text()
    assert text.startswith("this training of hybrid is better than this training of CTC alone by ")
    assert "these two trainings, at least 2 seeds more are needed for a verdict on the method" in text
    (verdict,) = compare_variants([pair[0], variant("CTC", 0.09, 3)], "CTC", REFERENCE, unit="speaker")
    assert "this training of hybrid is better than CTC by " in verdict.text() and "a single training" in verdict.text()


def test_an_outside_system_is_one_output_and_needs_no_seeds() -> None:
    outside = Variant(name="theirs", errors=variant("theirs", 0.02, 1).errors, seeds=())
    (verdict,) = compare_variants([outside, variant("ours", 0.09, 3)], "ours", REFERENCE, unit="utterance")
    assert verdict.text().startswith("theirs is better than ours by ") and not verdict.of_trainings
    assert verdict.seeds == (0, 3) and "3 seeds" in verdict.text()


def test_decoders_of_the_same_trainings_are_paired_by_seed() -> None:
    base = variant("greedy", 0.09, 3, spread=0.6, trainings="t")
    fewer = np.maximum(base.errors - (np.arange(130) % 4 == 0), 0)
    beam = Variant(name="beam", errors=fewer, seeds=base.seeds, trainings="t")
    (verdict,) = compare_variants([beam, base], "greedy", REFERENCE, unit="utterance")
    alone = Variant(name="beam", errors=fewer, seeds=base.seeds)
    (unpaired,) = compare_variants([alone, base], "greedy", REFERENCE, unit="utterance")
    assert verdict.found and not unpaired.found
    other = Variant(name="beam", errors=fewer, seeds=(1, 2, 4), trainings="t")
    with pytest.raises(ScoringError, match=r"beam and greedy differ in decoding alone, .* \[1, 2, 4\] and \[1, 2, 3\]"):
        compare_variants([other, base], "greedy", REFERENCE, unit="utterance")


def test_many_variants_are_corrected_together() -> None:
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.04]) == [0.04] and holm([]) == [] and holm([0.9, 0.8]) == [1.0, 1.0]
    variants = [variant("base", 0.09, 3), *(variant(f"v{'x' * n}", 0.07, 3) for n in range(8))]
    verdicts = compare_variants(variants, "base", REFERENCE, unit="utterance")
    assert [one.p_holm for one in verdicts] == holm([one.p or 0.0 for one in verdicts])
    lost = [one for one in verdicts if one.p is not None and one.p < 0.05 <= (one.p_holm or 0)]
    assert lost and all(not one.found and one.text().startswith("no verdict") for one in lost)
    assert "by Holm's correction for 8 comparisons" in lost[0].text()


def test_json_is_plain_and_complete() -> None:
    pair = [variant("hybrid", 0.05, 3), variant("CTC", 0.09, 3)]
    (verdict,) = compare_variants(pair, "CTC", REFERENCE, unit="utterance")
    data = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    assert {"difference", "ci95", "p", "p_holm", "seeds", "units", "unit", "needed", "text"} <= data.keys()
    assert data["found"] is True and data["text"] == verdict.text()


def test_of_many_equal_variants_none_is_found_in_nineteen_studies_of_twenty() -> None:
    random = np.random.default_rng(3)
    rates = 0.1 * random.gamma(12, 1 / 12, (400, 1, 6, 3, 1))
    outputs = random.poisson(rates[:, 0] * REFERENCE[:40] * HARDNESS[:40])
    words = np.broadcast_to(REFERENCE[:40], (400, 40))
    effects = [difference_effect(outputs[:, 0], outputs[:, other], words) for other in range(1, 6)]
    values = np.stack([np.asarray(t_p(effect.value / effect.error, effect.freedom)) for effect in effects], axis=1)
    assert np.mean(values.min(axis=1) < 0.05) > 0.08
    assert np.mean([min(holm(row)) < 0.05 for row in values.tolist()]) < 0.06


def test_other_utterances_and_other_references_are_refused_by_name() -> None:
    first = {f"u{n}": "one two" for n in range(9)}
    refuse_incomparable({"a": first, "b": dict(reversed(first.items())), "c": first}, "word")
    fewer = {key: text for key, text in first.items() if key not in ("u3", "u7")} | {"u10": "one"}
    with pytest.raises(ScoringError) as refused:
        refuse_incomparable({"hybrid": first, "CTC": first, "theirs": fewer}, "word")
    assert str(refused.value) == (
        "hybrid and theirs were not scored on the same utterances (2 utterances only of hybrid: u3, u7 and 1 utterance "
        "only of theirs: u10); use one set"
    )
    with pytest.raises(ScoringError, match=r"different references of 1 utterance: u4; score both against one file"):
        refuse_incomparable({"hybrid": first, "theirs": first | {"u4": "one  too"}}, "word")
    refuse_incomparable({"hybrid": first, "theirs": first | {"u4": "one  two"}}, "word")


def test_the_example_of_the_documents_prints_what_they_say(capsys) -> None:
    page = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    assert found
    exec(compile(found[1], "docs/statistics.md", "exec"), {})
    assert capsys.readouterr().out == found[2]
