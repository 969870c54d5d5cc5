"""What the runs of a study reached: errors of every utterance, by variant, seed, set and decoder."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from hybrid_asr.common.problems import examples
from hybrid_asr.inference.report import DecodingReport
from hybrid_asr.scoring.files import Reading, score_files
from hybrid_asr.scoring.report import SetScore
from hybrid_asr.scoring.scores import UtteranceErrors
from hybrid_asr.study.metric import Metric, StudyError
from hybrid_asr.study.plan import Decoding, Plan, PlannedVariant
from hybrid_asr.study.running import Workplace
from hybrid_asr.study.trainings import Training
from hybrid_asr.training.status import TrainingStatus


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """One output: what a training's model wrote for a set by a decoder, or what an outside system did.

    `seed`, `training` (its signature) and `rtf` are None of an outside system.
    """

    variant: str
    set_name: str
    decoder: str
    scores: SetScore
    seed: int | None = None
    training: str | None = None
    rtf: float | None = None

    @property
    def rows(self) -> tuple[UtteranceErrors, ...]:
        """The errors of each utterance."""
        return self.scores.rows

    def value(self, metric: Metric) -> float | None:
        """The rate that a metric names; None where it is not known."""
        return self.rtf if metric.rate == "rtf" else self.scores.rates[metric.rate].value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """All outputs that there are, in the order of variants, seeds and decodings, and what is missing."""

    plan: Plan
    outputs: tuple[Result, ...]
    statuses: dict[str, TrainingStatus]  # by the signature of a training that has begun
    failed: dict[str, str]

    def of(self, planned: PlannedVariant) -> list[Result]:
        """The outputs that the metric of a variant judges, one for each seed that has one."""
        judged = planned.name, planned.metric.set_name, planned.metric.decoder
        return [one for one in self.outputs if (one.variant, one.set_name, one.decoder) == judged]


def collect(place: Workplace, failed: dict[str, str]) -> Results:
    """Read all outputs. Raises StudyError for an outside system that was not scored on the same utterances."""
    plan = place.plan
    outputs = []
    for planned in plan.variants:
        if planned.variant.hypotheses is not None:
            outputs.append(_outside(plan, planned, planned.variant.hypotheses))
            continue
        for training in planned.trainings:
            for decoding in planned.decodings:
                report = place.decoded(training, decoding)
                if report is not None:
                    outputs.append(_output(planned, training, decoding, report))
    _refuse_different_utterances(outputs)
    statuses = {key: place.run(training).status() for key, training in plan.trainings.items()}
    return Results(
        plan=plan,
        outputs=tuple(outputs),
        statuses={key: status for key, status in statuses.items() if status is not None},
        failed=failed,
    )


def _output(planned: PlannedVariant, training: Training, decoding: Decoding, report: DecodingReport) -> Result:
    return Result(
        variant=planned.name,
        set_name=decoding.set_name,
        decoder=decoding.decoder,
        scores=report.scores,
        seed=training.seed,
        training=training.signature,
        rtf=report.statistics.rtf,
    )


def _outside(plan: Plan, planned: PlannedVariant, file: Path) -> Result:
    """The score of an outside system's texts, which the rules of the recipe spell as they do the references."""
    metric, text = planned.metric, planned.text
    scored = score_files(
        plan.references[metric.set_name].path,
        file,
        metric="cer" if metric.rate == "cer" else "wer",
        reading=Reading(rules=text.rules, language=text.language),
    )
    if not isinstance(scored, SetScore):
        raise TypeError(f"{file}: two outputs in place of one")
    return Result(variant=planned.name, set_name=metric.set_name, decoder=metric.decoder, scores=scored)


def _refuse_different_utterances(outputs: Sequence[Result]) -> None:
    """Raise StudyError where outputs of one set have other utterances or references of another length."""
    first: dict[str, Result] = {}
    for one in outputs:
        other = first.setdefault(one.set_name, one)
        ours, theirs = ({row.id: row.words.reference for row in each.rows} for each in (one, other))
        if ours != theirs:
            odd = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
            raise StudyError(
                f"variants '{one.variant}' and '{other.variant}' were not scored against the same references of "
                f"{one.set_name}: {examples(odd)}; give all of them the same set and text.rules, and all its utterances"
            )
