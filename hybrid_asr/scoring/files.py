"""References and hypotheses in files: JSON lines, Kaldi text, or trn; the format is detected from the content.

- JSON lines: one object a line.  A reference file has `id`, `text` and perhaps `speaker` (our manifests); a hypothesis
  file `id` and `text` (our hypotheses.jsonl, whose own `reference` plays no part).  A reference file that has a
  `reference` in its lines is a hypotheses.jsonl: that field is taken, not what a system wrote.
- Kaldi text: `id word word ...`
- trn: `word word ... (id)`
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_asr.common.files import RepeatedKey, read_problem, unique_keys
from hybrid_asr.scoring.compare import Comparison, compare
from hybrid_asr.scoring.report import ErrorReport, report
from hybrid_asr.scoring.scores import Metric, Scored, ScoringError

_TRN = re.compile(r"^(?P<text>.*?)\s*\((?P<id>[^\s()]+)\)$")
_EXAMPLE = '{"id": "...", "text": "..."}'
_LARGEST = 1 << 30  # bytes
_NAMED = 5  # at most so many ids in one message


class Line(NamedTuple):
    """The text of one utterance in a file, and its speaker where the file names one."""

    text: str
    speaker: str | None = None


def score_files(
    ref: str | Path, hyp: str | Path, against: str | Path | None = None, *, metric: Metric = "wer"
) -> ErrorReport | Comparison:
    """Score the hypotheses in `hyp` against the references in `ref`, and compare them with those in `against`.

    Raises ScoringError for a file that cannot be read and for utterances that only one side has.
    """
    references = read_references(ref)
    scored = report(_paired(ref, references, hyp), metric=metric)
    if against is None:
        return scored
    return compare(scored, report(_paired(ref, references, against), metric=metric))


def read_references(path: str | Path) -> dict[str, Line]:
    """The references in `path` by id, with their speakers where the file names them."""
    return _read(Path(path), prefer="reference")


def read_hypotheses(path: str | Path) -> dict[str, Line]:
    """The hypotheses in `path` by id."""
    return _read(Path(path), prefer="text")


def _paired(ref: str | Path, references: Mapping[str, Line], hyp: str | Path) -> list[Scored]:
    hypotheses = read_hypotheses(hyp)
    _refuse_unpaired(references, hypotheses, f"{ref} without a hypothesis in {hyp}", "decode the whole set")
    _refuse_unpaired(hypotheses, references, f"{hyp} without a reference in {ref}", "give the references of this set")
    return [Scored(key, line.text, hypotheses[key].text, line.speaker) for key, line in references.items()]


def _refuse_unpaired(lines: Mapping[str, Line], others: Mapping[str, Line], where: str, remedy: str) -> None:
    missing = [key for key in lines if key not in others]
    if missing:
        more = ", ..." if len(missing) > _NAMED else ""
        raise ScoringError(
            f"{len(missing)} of {len(lines)} utterances of {where}: {', '.join(missing[:_NAMED])}{more}; {remedy}"
        )


def _read(path: Path, *, prefer: str) -> dict[str, Line]:
    lines = _lines(path)
    name, parse = _format(lines, prefer)
    by_id: dict[str, Line] = {}
    for number, content in lines:
        key, line = parse(content, f"{path}:{number}")
        if key in by_id:
            raise ScoringError(f"{path}:{number}: utterance '{key}' occurs a second time (read as {name})")
        by_id[key] = line
    return by_id


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    problem = read_problem(path, pipes=True, largest=_LARGEST)
    if problem:
        raise ScoringError(f"{path}: {problem}; give JSON lines, Kaldi text or trn")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        odd = text.find("\0")
        line = text.count("\n", 0, odd) + 1 if odd >= 0 else 0
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    if line:
        raise ScoringError(f"{path}:{line}: is not text in UTF-8; give JSON lines, Kaldi text or trn")
    # Not splitlines(): a transcript may hold U+2028 and its like.
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise ScoringError(f"{path}: is empty; give JSON lines, Kaldi text or trn")
    return lines


def _format(lines: list[tuple[int, str]], prefer: str) -> tuple[str, Callable[[str, str], tuple[str, Line]]]:
    """The name of the format, and what reads one line of it; most lines decide between Kaldi text and trn."""
    if lines[0][1].startswith("{"):
        return "JSON lines", partial(_from_json, prefer=prefer)
    closed = sum(bool(_TRN.match(content)) for _, content in lines)
    return ("trn", _from_trn) if 2 * closed > len(lines) else ("Kaldi text", _from_kaldi)


def _from_json(content: str, where: str, *, prefer: str) -> tuple[str, Line]:
    try:
        entry = json.loads(content, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        what = "too many brackets in each other" if isinstance(error, RecursionError) else _json_problem(error)
        raise ScoringError(f"{where}: is not JSON: {what}; every line must be one object") from error
    if not isinstance(entry, dict):
        raise ScoringError(f"{where}: is not a JSON object; every line must be like {_EXAMPLE}")
    text = _string(entry, prefer if prefer in entry else "text", where)
    speaker = None if entry.get("speaker") is None else _string(entry, "speaker", where)
    return _string(entry, "id", where), Line(text, speaker)


def _json_problem(error: ValueError) -> str:
    if isinstance(error, RepeatedKey):
        return f"the key '{error}' occurs twice"
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else "a number without end"


def _string(entry: dict[str, Any], key: str, where: str) -> str:
    """The text under `key`."""
    if key not in entry:
        raise ScoringError(f"{where}: has no '{key}'; every line must be like {_EXAMPLE}")
    value = entry[key]
    if not isinstance(value, str):
        raise ScoringError(f"{where}: '{key}' is {json.dumps(value)[:40]}, not a text; put it in quotes")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ScoringError(
            f"{where}: '{key}' holds half of a surrogate pair; the program that wrote it broke a character"
        )
    return value


def _from_trn(content: str, where: str) -> tuple[str, Line]:
    match = _TRN.match(content)
    if match is None:
        raise ScoringError(f"{where}: does not end in '(id)', as most lines of this file do")
    return match["id"], Line(match["text"])


def _from_kaldi(content: str, where: str) -> tuple[str, Line]:
    key, *words = content.split(maxsplit=1)
    return key, Line(words[0] if words else "")
