"""The verdicts of a study: every variant beside the baseline, over speakers where these are known."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from hybrid_asr.scoring.crossed_effects import rate_effect, rate_interval
from hybrid_asr.scoring.intervals import Interval, group_totals
from hybrid_asr.scoring.ratio_error import FEWEST_UNITS
from hybrid_asr.scoring.scores import UtteranceErrors
from hybrid_asr.scoring.verdict import Unit, Variant, Verdict, compare_variants
from hybrid_asr.study.metric import Rate, StudyError
from hybrid_asr.study.plan import PlannedVariant
from hybrid_asr.study.results import Result, Results


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariantRate:
    """A variant's mean rate over its seeds; `interval` is that for other seeds and other units.

    `rates` are those of the seeds. The interval of one seed is for other units alone, `rtf` has none.
    """

    variant: str
    rate: float
    interval: Interval | None
    rates: tuple[float, ...]
    seeds: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdicts:
    """`rates` of all variants that have outputs, `verdicts` on those that can be compared, and what cannot be."""

    rates: tuple[VariantRate, ...]
    verdicts: tuple[Verdict, ...]
    unit: Unit
    notes: tuple[str, ...]


def judge(results: Results) -> Verdicts:
    """Rates and verdicts of what there is. A variant whose metric is another rate than the baseline's has none."""
    plan, notes = results.plan, []
    base = next(one for one in plan.variants if one.name == plan.study.cfg.baseline)
    outputs = {one.name: results.of(one) for one in plan.variants}
    unit = _unit([each for found in outputs.values() for each in found])
    rates = [_rate(one, outputs[one.name], unit) for one in plan.variants if outputs[one.name]]
    comparable = []
    for one in plan.variants:
        if not outputs[one.name]:
            notes.append(f"{one.name}: no output yet")
        elif (one.metric.set_name, one.metric.rate) != (base.metric.set_name, base.metric.rate):
            notes.append(f"{one.name}: judged by {one.metric}, the baseline by {base.metric}: no verdict")
        elif one.metric.rate == "rtf":
            notes.append(f"{one.name}: a time has no verdict, it is that of one machine")
        else:
            comparable.append(one)
        lacking = len(one.trainings) - len(outputs[one.name])
        if outputs[one.name] and lacking > 0:
            notes.append(f"{one.name}: {lacking} of {len(one.trainings)} seeds have no output yet")
    verdicts: list[Verdict] = []
    if base in comparable and len(comparable) > 1:
        counts = {one.name: _counts(outputs[one.name], one.metric.rate, unit) for one in comparable}
        variants = [_variant(one, outputs[one.name], counts[one.name][0]) for one in comparable]
        verdicts = compare_variants(variants, base.name, counts[base.name][1], unit=unit)
    return Verdicts(rates=tuple(rates), verdicts=tuple(verdicts), unit=unit, notes=tuple(notes))


def _unit(outputs: Sequence[Result]) -> Unit:
    """Speakers, where all utterances have one, and there are enough."""
    speakers = [{row.speaker for row in one.rows} for one in outputs]
    return "speaker" if all(None not in each and len(each) >= FEWEST_UNITS for each in speakers) else "utterance"


def _variant(planned: PlannedVariant, outputs: Sequence[Result], errors: Int[np.ndarray, "seeds units"]) -> Variant:
    signatures = [one.training for one in outputs if one.training is not None]
    seeds = tuple(one.seed for one in outputs if one.seed is not None)
    return Variant(name=planned.name, errors=errors, seeds=seeds, trainings=" ".join(signatures))


def _rate(planned: PlannedVariant, outputs: Sequence[Result], unit: Unit) -> VariantRate:
    values = [one.value(planned.metric) for one in outputs]
    seeds = tuple(one.seed for one in outputs if one.seed is not None)
    known = tuple(value for value in values if value is not None)
    if planned.metric.rate == "rtf":
        if not known:
            raise StudyError(
                f"variant '{planned.name}': the time of an outside system is not known; choose an error rate"
            )
        return VariantRate(variant=planned.name, rate=float(np.mean(known)), interval=None, rates=known, seeds=seeds)
    errors, reference = _counts(outputs, planned.metric.rate, unit)
    effect = rate_effect(errors, reference)
    interval = rate_interval(effect, int(reference.sum()))
    return VariantRate(variant=planned.name, rate=float(effect.value), interval=interval, rates=known, seeds=seeds)


def _counts(
    outputs: Sequence[Result], rate: Rate, unit: Unit
) -> tuple[Int[np.ndarray, "seeds units"], Int[np.ndarray, " units"]]:
    """Errors by seed and unit, and the reference of each unit. A sentence is wrong or not (`ser`)."""
    rows = [sorted(one.rows, key=lambda row: row.id) for one in outputs]
    groups = [str(row.speaker) for row in rows[0]] if unit == "speaker" else None
    tables = [group_totals(np.array([_counted(row, rate) for row in each]), groups) for each in rows]
    return np.stack([table[:, 0] for table in tables]), tables[0][:, 1]


def _counted(row: UtteranceErrors, rate: Rate) -> tuple[int, int]:
    """Errors and reference units of an utterance."""
    if rate == "ser":
        return int(row.words.errors > 0), 1
    counts = row.characters if rate == "cer" else row.words
    return counts.errors, counts.reference
