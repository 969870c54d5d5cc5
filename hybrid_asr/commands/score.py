"""`hybrid-asr score`: error rates of files of transcripts, and whether two systems differ."""

import json
from pathlib import Path
from typing import Literal

from hybrid_asr.scoring.files import Reading, score_files
from hybrid_asr.scoring.formats.source import Format, Role
from hybrid_asr.scoring.pairing import Ids
from hybrid_asr.scoring.scores import Metric
from hybrid_asr.text.normalize import rules_named


def score(
    reference: Path,
    hypothesis: Path,
    *,
    against: Path | None,
    metric: Metric,
    form: Literal["text", "json"],
    formats: dict[Role, Format],
    fields: dict[Role, str],
    ids: Ids,
    marks: bool,
    rules: str | None,
    language: str | None,
) -> None:
    """Print the report of `hypothesis`; with `against`, whether that second system differs in `metric`.

    What files hold beside transcripts is told on standard error.
    """
    spelled = rules_named(rules, "--rules") if rules else "none@1"
    reading = Reading(forms=formats, fields=fields, ids=ids, marks=marks, rules=spelled, language=language)
    report = score_files(reference, hypothesis, against, metric=metric, reading=reading)
    print(json.dumps(report.to_json(), indent=2, ensure_ascii=False) if form == "json" else report.text())
