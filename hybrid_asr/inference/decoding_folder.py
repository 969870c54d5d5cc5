"""The files of decode/<set>/<decoder>/: hypotheses.jsonl, report.txt, and the report.json that vouches for them."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hybrid_asr import __version__
from hybrid_asr.common.files import read_problem, remove_unfinished, write_text
from hybrid_asr.config.compose import digest
from hybrid_asr.config.schema import plain
from hybrid_asr.inference.build_decoder import DecodeConfig
from hybrid_asr.inference.outcomes import Decoded, Evaluation, FailedUtterance
from hybrid_asr.inference.report import DecodingReport, DecodingSource, DecodingStatistics, Signatures
from hybrid_asr.inference.short import SHARE
from hybrid_asr.scoring.report import ErrorReport, Scored, report
from hybrid_asr.scoring.scores import Metric

_LARGEST = 1 << 30  # bytes of a report
_FORM = 2  # of the report; another form is decoded again
_NEWER_KEYS = {"failed", "nbest", "search_errors"}  # which reports of former versions lack


def file_digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def signatures(settings: DecodeConfig, weights: str, data: Sequence[Any]) -> Signatures:
    """What a decoding depends on. Not on how many texts are kept of each utterance: the best is the same."""
    deciding = {key: value for key, value in plain(settings).items() if key != "nbest"}
    return Signatures(decoding=digest([deciding, weights, *data, __version__, _FORM]), weights=weights)


def score_items(items: Sequence[Decoded], metric: Metric) -> ErrorReport:
    """Error rates of decoded utterances."""
    return report([Scored(item.id, item.reference, item.text, item.speaker) for item in items], metric=metric)


def earlier_report(
    folder: Path, signatures: Signatures, *, nbest: int = 1, search_errors: bool = False
) -> DecodingReport | None:
    """The report of an earlier decoding with the same settings, model and data, if both files are as written.

    It must hold as many texts of each utterance, and search errors if they are asked for. One with utterances that
    failed is none: what they failed for may have been fixed.
    """
    names = ("report.json", "hypotheses.jsonl", "report.txt")
    if any(read_problem(folder / name, largest=_LARGEST) for name in names):
        return None
    try:
        content = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.get("signatures") != signatures._asdict():
            return None
        as_written = content.get("digest") == digest({key: value for key, value in content.items() if key != "digest"})
    except (ValueError, RecursionError):  # not JSON, or a number that JSON does not have
        return None
    if not as_written:
        print(f"{folder}/report.json: is not as it was written, decoded again", file=sys.stderr)
        return None
    if not content.keys() >= _NEWER_KEYS:
        return None
    earlier = DecodingReport.from_json(content)
    statistics = earlier.statistics
    if statistics.failed or statistics.nbest < nbest or (search_errors and statistics.search_errors is None):
        return None
    unchanged = earlier.hypotheses_sha256 == file_digest(folder / "hypotheses.jsonl")
    if not unchanged:
        print(f"{folder}/hypotheses.jsonl: does not match its report, decoded again", file=sys.stderr)
    return earlier if unchanged else None


def write_decoding(
    folder: Path,
    evaluation: Evaluation,
    settings: DecodeConfig,
    signatures: Signatures,
    metric: Metric,
    source: DecodingSource,
) -> DecodingReport:
    """Write hypotheses, then the report that vouches for them. Returns the report; there must be an utterance."""
    scores = score_items(evaluation.items, metric)
    statistics = DecodingStatistics.of(evaluation, settings, metric)
    (folder / "report.json").unlink(missing_ok=True)
    remove_unfinished(folder)
    write_text(folder / "hypotheses.jsonl", "".join(hypothesis_line(item) for item in evaluation.items))
    written = DecodingReport(
        scores=scores,
        statistics=statistics,
        decoder=plain(settings),
        signatures=signatures,
        hypotheses_sha256=file_digest(folder / "hypotheses.jsonl"),
        source=source,
    )
    notes = f"{_failed_note(statistics.failed, scores.utterances)}{_short_note(statistics.short or ())}"
    write_text(folder / "report.txt", f"{notes}{scores.text()}\n")
    write_text(folder / "report.json", json.dumps(written.to_json(), indent=1, ensure_ascii=False) + "\n")
    return written


def hypothesis_line(item: Decoded) -> str:
    """One line of hypotheses.jsonl."""
    row = {"id": item.id, "reference": item.reference, "text": item.text, "score": item.score, "parts": item.parts}
    if item.speaker is not None:
        row["speaker"] = item.speaker
    row["ended"] = item.ended
    if item.missed is not None:
        row["search_error"] = item.missed
    if item.short:
        row["short"] = True
    if item.nbest:
        row["nbest"] = [alternative._asdict() for alternative in item.nbest]
    return json.dumps(row, ensure_ascii=False) + "\n"


def _failed_note(failed: Sequence[FailedUtterance], decoded: int) -> str:
    """Which utterances the rates leave out."""
    if not failed:
        return ""
    lines = [f"  {failure.id}: {failure.reason}" for failure in failed]
    head = f"{len(failed)} of {len(failed) + decoded} utterances could not be decoded; the rates are of the rest:"
    return "\n".join([head, *lines]) + "\n\n"


def _short_note(short: Sequence[str]) -> str:
    """Which texts end far too early."""
    if not short:
        return ""
    head = f"{len(short)} texts have less than {SHARE:.0%} of the labels that the audio lets expect, as if cut short:"
    return "\n".join([head, *(f"  {key}" for key in short)]) + "\n\n"
