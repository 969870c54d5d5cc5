"""The files of a study: study.json, which `load` reads, runs.csv with a line for each output, and study.md."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from hybrid_asr.common.environment import environment
from hybrid_asr.common.files import write_text
from hybrid_asr.config.schema import plain
from hybrid_asr.scoring.intervals import Interval
from hybrid_asr.study.results import Result, Results
from hybrid_asr.study.verdicts import Verdicts

FORM = 1  # of study.json
COLUMNS: tuple[str, ...] = (
    "variant",
    "seed",
    "set",
    "decoder",
    "wer",
    "cer",
    "ser",
    "rtf",
    "utterances",
    "training",
    "minutes",
)


def write_study(folder: Path, results: Results, found: Verdicts) -> None:
    """Write all of them anew."""
    write_text(folder / "study.json", json.dumps(_content(results, found), indent=1, ensure_ascii=False) + "\n")
    write_text(folder / "runs.csv", _csv(results))
    write_text(folder / "study.md", markdown(results, found))


def _content(results: Results, found: Verdicts) -> dict[str, Any]:
    plan = results.plan
    return {
        "form": FORM,
        "file": plan.study.where,
        "study": plain(plan.study.cfg),
        "environment": environment(),
        "unit": found.unit,
        "verdicts": [verdict.to_json() for verdict in found.verdicts],
        "notes": list(found.notes),
        "variants": [
            {
                "name": one.name,
                "recipe": one.variant.recipe.name,
                "settings": one.variant.settings,
                "metric": str(one.metric),
                "control": one.variant.control,
                "trainings": [training.signature for training in one.trainings],
            }
            for one in plan.variants
        ],
        "rates": [
            {
                "variant": one.variant,
                "rate": one.rate,
                "ci95": list(one.interval) if one.interval else None,
                "rates": list(one.rates),
                "seeds": list(one.seeds),
            }
            for one in found.rates
        ],
        "sets": plan.digests,
        "trainings": {
            key: {
                "name": training.name,
                "seed": training.seed,
                "state": results.statuses[key].state if key in results.statuses else None,
                "minutes": _minutes(results, key),
                "start": training.start.signature if training.start else None,
                "failed": results.failed.get(key),
            }
            for key, training in plan.trainings.items()
        },
        "outputs": [_output(results, one) for one in results.outputs],
    }


def _output(results: Results, one: Result) -> dict[str, Any]:
    return _row(results, one) | {"rows": [row.to_json() for row in one.rows]}


def _row(results: Results, one: Result) -> dict[str, Any]:
    return {
        "variant": one.variant,
        "seed": one.seed,
        "set": one.set_name,
        "decoder": one.decoder,
        **{name: rate.value for name, rate in one.scores.rates.items()},
        "rtf": one.rtf,
        "utterances": one.scores.utterances,
        "training": one.training,
        "minutes": _minutes(results, one.training),
    }


def _minutes(results: Results, training: str | None) -> float | None:
    """What a training took of one core, as far as its run tells."""
    status = results.statuses.get(training or "")
    return None if status is None or status.elapsed_s is None else round(status.elapsed_s / 60, 2)


def _csv(results: Results) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(results, one) for one in results.outputs)
    return text.getvalue()


def markdown(results: Results, found: Verdicts) -> str:
    """Verdicts first, then what they rest on."""
    study = results.plan.study
    lines = [f"# {study.file.stem}", ""]
    lines += [study.cfg.about, ""] if study.cfg.about else []
    lines += ["## Verdicts", ""]
    lines += [f"- {verdict.text()}" for verdict in found.verdicts] or ["None yet."]
    lines += [f"- {note}" for note in found.notes]
    lines += [f"- {results.plan.trainings[key].name}: failed: {why}" for key, why in results.failed.items()]
    lines += ["", "## Rates", ""]
    lines += [
        f"95 % intervals over {found.unit}s, and over seeds where there are several. Baseline: {study.cfg.baseline}."
    ]
    lines += [
        "",
        "| variant | metric | rate | 95 % interval | seeds | each seed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    metrics = {one.name: one.metric for one in results.plan.variants}
    for one in found.rates:
        show = _seconds if metrics[one.variant].rate == "rtf" else _percent
        interval = _interval(one.interval)
        each = ", ".join(map(show, one.rates))
        seeds = len(one.seeds) or "outside"
        cells = [one.variant, metrics[one.variant], show(one.rate), interval, seeds, each]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def _interval(interval: Interval | None) -> str:
    return f"{_percent(interval.low)} to {_percent(interval.high)}" if interval else ""


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _seconds(rate: float) -> str:
    return f"{rate:.3f}"
