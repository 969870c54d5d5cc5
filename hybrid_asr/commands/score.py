"""`hybrid-asr score`: error rates of files of transcripts, and whether two systems differ."""

import json
from pathlib import Path
from typing import Literal

from hybrid_asr.common.errors import UserError
from hybrid_asr.scoring.files import Reading, score_files
from hybrid_asr.scoring.formats.source import Format, Role
from hybrid_asr.scoring.pairing import Ids
from hybrid_asr.scoring.scores import Metric
from hybrid_asr.text.normalize import Rules, rules_named
from hybrid_asr.text.one_spelling import is_language


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
    if language:
        _check_language(language, spelled)
    reading = Reading(forms=formats, fields=fields, ids=ids, marks=marks, rules=spelled, language=language)
    report = score_files(reference, hypothesis, against, metric=metric, reading=reading)
    print(json.dumps(report.to_json(), indent=2, ensure_ascii=False) if form == "json" else report.text())


def _check_language(language: str, rules: Rules) -> None:
    """Raise UserError for a language that these rules would not use, or that is none."""
    if not rules.endswith("@2"):
        raise UserError(f"--language {language}: the rules '{rules}' know no language; give --rules basic@2")
    if not is_language(language):
        raise UserError(f"--language {language}: is no tag of a language, such as tr, az or en-US; give one")
