"""Two systems on the same utterances."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hybrid_asr.scoring import text_report as printed
from hybrid_asr.scoring.align import split
from hybrid_asr.scoring.bootstrap import RESAMPLES
from hybrid_asr.scoring.comparable import refuse_incomparable
from hybrid_asr.scoring.mapsswe import SegmentTest, align_as_sclite, segment_errors, segment_test
from hybrid_asr.scoring.report import ErrorReport, speakers_of
from hybrid_asr.scoring.scores import UNITS, Metric, UtteranceScore
from hybrid_asr.scoring.significance import PairedDifference, paired_test


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The report of a system and how it differs from another; differences are rate minus the other's rate."""

    report: ErrorReport
    against: ErrorReport
    over_utterances: PairedDifference
    over_speakers: PairedDifference | None  # None where a speaker is unknown
    segments: SegmentTest
    better: int  # utterances with fewer errors than the other system
    worse: int

    def to_json(self) -> dict[str, Any]:
        """The report's keys, and `difference`, `ci95`, `p_bootstrap`, `p_mapsswe` in its metric; the other's rates.

        `test` says what the p is of: with few utterances it is that of exact sign flips, under the same key. Where
        `p_is_bound` is true, resampling cannot tell the p from a smaller one; `p_smallest` is the least that so many
        `units` allow. Keys that end in `_speakers` are of the comparison over speakers, null where one is unknown.
        """
        other = self.against
        pairs = {"": self.over_utterances, "_speakers": self.over_speakers}
        return {
            "difference": self.over_utterances.difference,
            **{f"ci95{name}": list(pair.ci95) if pair and pair.ci95 else None for name, pair in pairs.items()},
            **{f"p_bootstrap{name}": pair.p if pair else None for name, pair in pairs.items()},
            **{f"p_is_bound{name}": pair.is_bound if pair else None for name, pair in pairs.items()},
            **{f"p_smallest{name}": pair.smallest_p if pair else None for name, pair in pairs.items()},
            "p_mapsswe": self.segments.p,
            "z_mapsswe": self.segments.z,
            "segments": self.segments.segments,
            **{f"test{name}": pair.test if pair else None for name, pair in pairs.items()},
            **{f"units{name}": pair.units if pair else None for name, pair in pairs.items()},
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
            *([_difference_line("speaker", self.over_speakers)] if self.over_speakers else []),
            _difference_line("utterance", self.over_utterances),
            _segments_line(self.segments),
            f"better in {printed.counted(self.better, 'utterance')}, worse in {self.worse}, "
            f"as many errors in {self.report.utterances - self.better - self.worse}",
        ]
        return "\n".join(lines) + "\n\n" + self.report.text(aligned=aligned)


def compare(report: ErrorReport, against: ErrorReport) -> Comparison:
    """Compare two reports in the metric of the first, over utterances and, where all are known, over speakers.

    Raises ScoringError where they do not cover the same utterances with the same references.
    """
    others = {row.id: row for row in against.rows}
    refuse_incomparable({"the first system": _texts(report), "the second": _texts(against)}, UNITS[report.metric])
    pairs = [(row, others[row.id]) for row in report.rows]
    errors = np.array([row.counts(report.metric).errors for row in report.rows])
    other_errors = np.array([others[row.id].counts(report.metric).errors for row in report.rows])
    reference = np.array([row.counts(report.metric).reference for row in report.rows])
    speakers = speakers_of(report.rows)
    return Comparison(
        report=report,
        against=against,
        over_utterances=paired_test(errors, other_errors, reference),
        over_speakers=paired_test(errors, other_errors, reference, groups=speakers) if speakers else None,
        segments=_test_segments(pairs, report.metric),
        better=int((errors < other_errors).sum()),
        worse=int((errors > other_errors).sum()),
    )


def _texts(report: ErrorReport) -> dict[str, str]:
    """The references as they are written: of their alternatives others may be taken for another system."""
    return {row.id: row.written or row.reference for row in report.rows}


def _test_segments(pairs: Sequence[tuple[UtteranceScore, UtteranceScore]], metric: Metric) -> SegmentTest:
    """MAPSSWE; an utterance whose alternatives were chosen otherwise for the two systems is one segment."""
    unit, found = UNITS[metric], []
    for row, other in pairs:
        reference = split(row.reference, unit)
        if reference == split(other.reference, unit):
            aligned = (align_as_sclite(reference, split(one.hypothesis, unit)) for one in (row, other))
            found += segment_errors(*aligned)
        else:
            found.append((row.counts(metric).errors, other.counts(metric).errors))
    return segment_test(found)


def _segments_line(test: SegmentTest) -> str:
    """MAPSSWE in words."""
    segments = printed.counted(test.segments, "segment")
    if test.p is None:
        return f"MAPSSWE over {segments} with errors: no p, all differ by the same amount"
    return f"MAPSSWE over {segments} with errors: z = {test.z:.3f}, p = {test.p:.3g} (speakers are not considered)"


def _difference_line(noun: str, pair: PairedDifference) -> str:
    units = printed.counted(pair.units, noun)
    if pair.p is None:
        return f"difference {printed.percent(pair.difference)}, over {units}: too few for an interval"
    interval = (
        f"95 % interval over {units} {printed.interval(pair.ci95)}"
        if pair.ci95
        else f"no interval over {units}: all differ by the same amount"
    )
    return f"difference {printed.percent(pair.difference)} absolute, {interval}, {_p(pair, units)}"


def _p(pair: PairedDifference, units: str) -> str:
    """The p with what it is of, and whether it could have been smaller."""
    if pair.is_bound:
        return f"p ≤ {pair.p:.1g} (the least that {RESAMPLES:,} resamples can tell)"
    if pair.test == "bootstrap":
        return f"p = {pair.p:.3g} (bootstrap)"
    flips = f"exact sign flips of {units}, at most 2^{pair.units} choices"
    return f"p = {pair.p:.3g} ({flips}: never below {pair.smallest_p:.3g})"
