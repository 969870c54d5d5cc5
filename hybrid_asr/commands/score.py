"""`hybrid-asr score`: error rates of files of transcripts, and whether two systems differ."""

import json
from pathlib import Path
from typing import Literal

from hybrid_asr.scoring.files import score_files
from hybrid_asr.scoring.scores import Metric


def score(
    reference: Path, hypothesis: Path, *, against: Path | None, metric: Metric, form: Literal["text", "json"]
) -> None:
    """Print the report of `hypothesis`; with `against`, whether that second system differs in `metric`."""
    report = score_files(reference, hypothesis, against, metric=metric)
    print(json.dumps(report.to_json(), indent=2, ensure_ascii=False) if form == "json" else report.text())
