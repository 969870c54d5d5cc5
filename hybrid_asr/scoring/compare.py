"""Two systems on the same utterances."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hybrid_asr.scoring import text_report as printed
from hybrid_asr.scoring.align import split
from hybrid_asr.scoring.report import ErrorReport, speakers_of
from hybrid_asr.scoring.scores import UNITS, ScoringError
from hybrid_asr.scoring.significance import PairedDifference, paired_bootstrap


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The report of a system and how it differs from another; differences are rate minus the other's rate."""

    report: ErrorReport
    against: ErrorReport
    over_utterances: PairedDifference
    over_speakers: PairedDifference | None  # None where a speaker is unknown
    better: int  # utterances with fewer errors than the other system
    worse: int

    def to_json(self) -> dict[str, Any]:
        """The report's keys, and `difference`, `ci95`, `p_bootstrap` in the metric of the report; the other's rates."""
        other = self.against
        pairs = {"": self.over_utterances, "_speakers": self.over_speakers or PairedDifference(0.0, None, None)}
        return {
            "difference": self.over_utterances.difference,
            **{f"ci95{name}": list(pair.ci95) if pair.ci95 else None for name, pair in pairs.items()},
            **{f"p_bootstrap{name}": pair.p_bootstrap for name, pair in pairs.items()},
            "better": self.better,
            "worse": self.worse,
            "against": {
                "wer": other.wer.value,
                "cer": other.cer.value,
                "ser": other.ser.value,
                "empty": other.empty,
            },
            **self.report.to_json(),
        }

    def text(self, *, aligned: int = 10) -> str:
        """The comparison for people, then the system's own report."""
        metric = self.report.metric.upper()
        lines = [
            f"{metric} {printed.percent(self.report.rate.value)} against {printed.percent(self.against.rate.value)}",
            _difference_line("over utterances", self.over_utterances),
            *(
                [_difference_line(f"over {len(self.report.speakers)} speakers", self.over_speakers)]
                if self.over_speakers
                else []
            ),
            f"better in {printed.counted(self.better, 'utterance')}, worse in {self.worse}, "
            f"as many errors in {self.report.utterances - self.better - self.worse}",
        ]
        return "\n".join(lines) + "\n\n" + self.report.text(aligned=aligned)


def compare(report: ErrorReport, against: ErrorReport) -> Comparison:
    """Compare two reports in the metric of the first by the paired bootstrap.

    Raises ScoringError where they do not cover the same utterances with the same references.
    """
    others = {row.id: row for row in against.rows}
    unit = UNITS[report.metric]
    if others.keys() != {row.id for row in report.rows}:
        odd = sorted(others.keys() ^ {row.id for row in report.rows})
        raise ScoringError(
            f"{len(odd)} utterances are in one of the two systems only, '{odd[0]}' first; score both on one set"
        )
    for row in report.rows:
        if split(row.reference, unit) != split(others[row.id].reference, unit):
            raise ScoringError(f"the two systems were scored against different references of utterance '{row.id}'")
    mine = np.array([row.counts(report.metric).errors for row in report.rows])
    theirs = np.array([others[row.id].counts(report.metric).errors for row in report.rows])
    reference = np.array([row.counts(report.metric).reference for row in report.rows])
    speakers = speakers_of(report.rows)
    return Comparison(
        report=report,
        against=against,
        over_utterances=paired_bootstrap(mine, theirs, reference),
        over_speakers=paired_bootstrap(mine, theirs, reference, groups=speakers) if speakers else None,
        better=int((mine < theirs).sum()),
        worse=int((mine > theirs).sum()),
    )


def _difference_line(name: str, pair: PairedDifference) -> str:
    if pair.ci95 is None:
        return f"difference {printed.percent(pair.difference)}, too few for an interval {name}"
    return (
        f"difference {printed.percent(pair.difference)} absolute, 95 % interval {name} {printed.interval(pair.ci95)}, "
        f"p = {pair.p_bootstrap:.4f}"
    )
