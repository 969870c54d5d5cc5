"""What a decoding leaves in decode/<set>/<decoder>/: hypotheses, a report that vouches for them, and the one table."""

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hybrid_asr import __version__
from hybrid_asr.common.files import remove_unfinished, why_unreadable, write_text
from hybrid_asr.config.compose import digest
from hybrid_asr.config.schema import plain
from hybrid_asr.inference.build import DecodeConfig
from hybrid_asr.inference.evaluate import Decoded, Evaluation
from hybrid_asr.scoring.oracle import oracle
from hybrid_asr.scoring.repetitions import loops
from hybrid_asr.scoring.report import ErrorReport, Scored, report
from hybrid_asr.scoring.utterances import UNITS, Metric

_LARGEST = 1 << 30  # bytes of a report
_FORM = 2  # of the report; another form is decoded again


def file_digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def signatures(settings: DecodeConfig, weights: str, data: Sequence[Any]) -> dict[str, str]:
    """What a decoding depends on. Not on how many texts are kept of each utterance: the best is the same."""
    deciding = {key: value for key, value in plain(settings).items() if key != "nbest"}
    return {"decoding": digest([deciding, weights, *data, __version__, _FORM]), "weights": weights}


def score_items(items: Sequence[Decoded], metric: Metric) -> ErrorReport:
    """Error rates of decoded utterances."""
    return report([Scored(item.id, item.reference, item.text, item.speaker) for item in items], metric=metric)


def earlier_report(
    place: Path, signatures: Mapping[str, str], *, nbest: int = 1, search_errors: bool = False
) -> dict[str, Any] | None:
    """The report of an earlier decoding with the same settings, model and data, if both files are as written.

    It must hold as many texts of each utterance, and search errors if they are asked for. One with utterances that
    failed is none: what they failed for may be mended.
    """
    if any(
        why_unreadable(place / name, largest=_LARGEST) for name in ("report.json", "hypotheses.jsonl", "report.txt")
    ):
        return None
    try:
        found = json.loads((place / "report.json").read_text(encoding="utf-8"))
        if not isinstance(found, dict) or found.get("signatures") != signatures:
            return None
        as_written = found.get("digest") == digest({key: value for key, value in found.items() if key != "digest"})
    except (ValueError, RecursionError):  # not JSON, or a number that JSON does not have
        return None
    if not as_written:
        print(f"{place}/report.json: is not as it was written, decoded again", file=sys.stderr)
        return None
    if not {"failed", "nbest", "search_errors"} <= found.keys():  # of an earlier version
        return None
    if found["failed"] or found["nbest"] < nbest or (search_errors and found["search_errors"] is None):
        return None
    whole = found.get("hypotheses_sha256") == file_digest(place / "hypotheses.jsonl")
    if not whole:
        print(f"{place}/hypotheses.jsonl: does not match its report, decoded again", file=sys.stderr)
    return found if whole else None


def write_decoding(
    place: Path, found: Evaluation, settings: DecodeConfig, signatures: Mapping[str, str], metric: Metric
) -> dict[str, Any]:
    """Write hypotheses, then the report that vouches for them. Returns the report; there must be an utterance."""
    scores = score_items(found.items, metric)
    content = scores.to_json() | usage(found, settings, metric)
    content |= {"decoder": plain(settings), "signatures": dict(signatures)}
    (place / "report.json").unlink(missing_ok=True)
    remove_unfinished(place)
    write_text(place / "hypotheses.jsonl", "".join(hypothesis_line(item) for item in found.items))
    content["hypotheses_sha256"] = file_digest(place / "hypotheses.jsonl")
    content["digest"] = digest(content)
    write_text(place / "report.txt", f"{_failed_note(found)}{scores.text()}\n")
    write_text(place / "report.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return content


def _failed_note(found: Evaluation) -> str:
    """What the rates are not of."""
    if not found.failed:
        return ""
    lines = [f"  {one.id}: {one.reason}" for one in found.failed]
    total = len(found.failed) + len(found.items)
    head = f"{len(found.failed)} of {total} utterances could not be decoded; the rates are of the rest:"
    return "\n".join([head, *lines]) + "\n\n"


def hypothesis_line(item: Decoded) -> str:
    """One line of hypotheses.jsonl."""
    row = {"id": item.id, "reference": item.reference, "text": item.text, "score": item.score, "parts": item.parts}
    if item.speaker is not None:
        row["speaker"] = item.speaker
    row["ended"] = item.ended
    if item.missed is not None:
        row["search_error"] = item.missed
    if item.nbest:
        row["nbest"] = [one._asdict() for one in item.nbest]
    return json.dumps(row, ensure_ascii=False) + "\n"


def usage(found: Evaluation, settings: DecodeConfig, metric: Metric) -> dict[str, Any]:
    """Time, memory and oddities.

    `decode_s` and `rtf` are those of features, encoder and search; `encode_…` those without the search, which decoders
    of one pass share, `search_…` the rest. `looping` counts hypotheses that repeat themselves as their reference does
    not; `search_errors` utterances of which twice the beam finds a better hypothesis, null where nobody looked.
    """
    audio_s = sum(item.audio_s for item in found.items)
    search_s = found.decode_s - found.encode_s
    looked = [item.missed for item in found.items if item.missed is not None]
    unit = UNITS[metric]
    return {
        "audio_s": audio_s,
        "decode_s": found.decode_s,
        "rtf": found.decode_s / audio_s,
        "encode_s": found.encode_s,
        "encode_rtf": found.encode_s / audio_s,
        "search_s": search_s,
        "search_rtf": search_s / audio_s,
        "peak_bytes": found.peak,
        "cut": sum(item.ended == "cut" for item in found.items),
        "empty": sum(not item.text for item in found.items),
        "looping": sum(loops(item.reference, item.text, unit) for item in found.items),
        "search_errors": sum(looked) if looked else None,
        "failed": [{"id": one.id, "reason": one.reason} for one in found.failed],
        "nbest": plain(settings).get("nbest", 1),
        **_oracle(found.items),
    }


def _oracle(items: Sequence[Decoded]) -> dict[str, float]:
    """The error rates of the best text of each n-best; where one text was kept, its own."""
    references = [item.reference for item in items]
    texts = [[one.text for one in item.nbest] or [item.text] for item in items]
    return {f"oracle_{name}": oracle(references, texts, unit).rate for name, unit in UNITS.items()}


def table(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a decoding, for people; less than 160 columns where names have fewer than 30 characters."""
    width = max(map(len, reports))
    rates = "  ".join(f"{name + ' %':>6} {'95 %':^11}" for name in ("WER", "CER", "SER"))
    odd = f"{'cut':>4} {'empty':>5} {'loop':>4} {'fail':>4}"
    head = f"{'':{width}}  {rates}  {'sub':>5} {'del':>5} {'ins':>5}  {'oracle':>6} {'missed':>6}"
    lines = [f"{head}  {odd}  {'RTF':>7} {'peak MB':>7}"]
    lines += [f"{name:{width}}  {_cells(found)}" for name, found in reports.items()]
    return "\n".join([*lines, *_notes(reports)])


def _cells(found: Mapping[str, Any]) -> str:
    rates = "  ".join(f"{100 * found[name]:6.2f} {_interval(found[f'{name}_ci95'])}" for name in ("wer", "cer", "ser"))
    edits = f"{found['substitutions']:5} {found['deletions']:5} {found['insertions']:5}"
    best = f"{100 * found['oracle_' + found['metric']]:6.2f} {_or_dash(found['search_errors']):>6}"
    odd = f"{found['cut']:4} {found['empty']:5} {found['looping']:4} {len(found['failed']):4}"
    peak = found["peak_bytes"]
    memory = _or_dash(None if peak is None else round(peak / 1e6))
    return f"{rates}  {edits}  {best}  {odd}  {found['search_rtf']:7.4f} {memory:>7}"


def _interval(pair: Sequence[float] | None) -> str:
    return f"{'–':^11}" if pair is None else f"{100 * pair[0]:5.1f}–{100 * pair[1]:<5.1f}"


def _or_dash(value: int | None) -> str:
    return "–" if value is None else str(value)


def _notes(reports: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the columns do not say themselves."""
    shares = sorted({f"{found['encode_rtf']:.4f}" for found in reports.values()})
    span = shares[0] if len(shares) == 1 else f"{shares[0]} to {shares[-1]}"
    notes = [f"RTF: of the search alone; features and encoder take {span}, once for all decoders of a pass."]
    kept = {found["nbest"] for found in reports.values()}
    if kept != {1}:
        notes.append(f"oracle: the error rate of the best of up to {max(kept)} texts of each utterance.")
    if any(found["search_errors"] is not None for found in reports.values()):
        notes.append("missed: utterances of which twice the beam finds a hypothesis with a better score.")
    return notes
