"""The decodings of a run, from decode/<set>/<decoder>/: rates with their intervals, and the utterances behind them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from hybrid_asr.common.errors import UserError
from hybrid_asr.pages.kit import Note, attempt
from hybrid_asr.run.config import RunConfig, set_paths
from hybrid_asr.run.folder import Run
from hybrid_asr.scoring.align import Step, align
from hybrid_asr.scoring.significance import rate_intervals
from hybrid_asr.scoring.utterances import UNITS, Confusion, Metric, Scored, UtteranceScore, score_utterances

T = TypeVar("T")

WORST = 20  # utterances with errors that are shown
SPEAKERS = 60
CONFUSIONS = 15
_PREFERRED = ("ctc_greedy", "attention", "joint")  # the order of rows, from the simplest to the best


class Rate(NamedTuple):
    """A fraction, its 95 % interval over utterances, and that over speakers where they are known."""

    value: float
    ci95: tuple[float, float] | None
    ci95_speakers: tuple[float, float] | None = None


class Speaker(NamedTuple):
    """The errors of one speaker in the metric of the run."""

    name: str
    utterances: int
    reference: int
    substitutions: int
    deletions: int
    insertions: int
    rate: float


class Decoding(NamedTuple):
    """One row of the table of decoders, and what lies behind it."""

    set_name: str
    decoder: str
    folder: Path
    metric: Metric
    wer: Rate
    cer: Rate
    ser: Rate
    counts: tuple[int, int, int]  # words substituted, deleted, inserted
    words: int
    utterances: int
    cut: int
    empty: int
    rtf: float
    search_rtf: float | None  # these are None in reports of before they were measured
    oracle: float | None
    missed: int | None  # search errors
    looping: int | None
    peak: int | None  # bytes
    failed: int
    decode_s: float
    settings: str
    weights: str  # the digest of those it was made with
    confusions: list[Confusion]
    speakers: list[Speaker]


class Damaged(NamedTuple):
    """A decoding whose report cannot be read."""

    set_name: str
    decoder: str
    why: str


class Wrong(NamedTuple):
    """An utterance with errors, its alignment in the units of the metric."""

    id: str
    speaker: str | None
    errors: int
    reference: int
    steps: list[Step]


def find_decodings(run: Run, cfg: RunConfig) -> list[Decoding | Damaged]:
    """All decodings: test sets first, decoders from the simplest on; those of other settings or weights follow."""
    order = [*set_paths(cfg, ["test"]), "valid", "train"]

    def key(folder: Path) -> tuple[int, str, int, str]:
        name, known = folder.parent.name, folder.name in _PREFERRED
        place = _PREFERRED.index(folder.name) if known else len(_PREFERRED)
        return order.index(name) if name in order else len(order), name, place, folder.name

    folders = {path.parent for path in run.folder.glob("decode/*/*/*") if path.name[:1] != "."}
    return [_read(folder) for folder in sorted(folders, key=key)]


def _read(folder: Path) -> Decoding | Damaged:
    try:
        found = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        return _decoding(folder, found)
    except FileNotFoundError:
        why = "no report.json, this decoding has not ended"
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        why = f"report.json is damaged ({_cause(error)}); remove {folder.name}/ and decode again"
    return Damaged(folder.parent.name, folder.name, why)


def _cause(error: Exception) -> str:
    """What is wrong with a report, in words."""
    match error:
        case json.JSONDecodeError():
            return f"line {error.lineno}: {error.msg}"
        case UnicodeDecodeError():
            return f"byte {error.start} is not UTF-8"
        case OSError():
            return str(error.strerror)
        case KeyError():
            return f"the key {error} is missing"
        case _:
            return "a value in it is of another type"


def _decoding(folder: Path, found: dict[str, Any]) -> Decoding:
    metric: Metric = "cer" if found["metric"] == "cer" else "wer"
    wer, cer, ser = _rates(found)
    return Decoding(
        set_name=folder.parent.name,
        decoder=folder.name,
        folder=folder,
        metric=metric,
        wer=wer,
        cer=cer,
        ser=ser,
        counts=(int(found["substitutions"]), int(found["deletions"]), int(found["insertions"])),
        words=int(found["reference_words"]),
        utterances=int(found["utterances"]),
        cut=int(found["cut"]),
        empty=int(found["empty"]),
        rtf=float(found["rtf"]),
        search_rtf=_maybe(float, found.get("search_rtf")),
        oracle=_maybe(float, found.get(f"oracle_{metric}")),
        missed=_maybe(int, found.get("search_errors")),
        looping=_maybe(int, found.get("looping")),
        peak=_maybe(int, found.get("peak_bytes")),
        failed=len(found.get("failed", [])),
        decode_s=float(found["decode_s"]),
        settings=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found["decoder"].items()),
        weights=str(found["signatures"]["weights"]),
        confusions=[Confusion(*(one[name] for name in Confusion._fields)) for one in found["confusions"]],
        speakers=[_speaker(one, metric) for one in found["per_speaker"]],
    )


def _maybe(kind: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else kind(value)


def _speaker(one: dict[str, Any], metric: Metric) -> Speaker:
    prefix, unit = ("", "words") if metric == "wer" else ("character_", "characters")
    return Speaker(
        name=str(one["speaker"]),
        utterances=int(one["utterances"]),
        reference=int(one[f"reference_{unit}"]),
        substitutions=int(one[f"{prefix}substitutions"]),
        deletions=int(one[f"{prefix}deletions"]),
        insertions=int(one[f"{prefix}insertions"]),
        rate=float(one[metric]),
    )


def _rates(found: dict[str, Any]) -> list[Rate]:
    """The three rates; a report that holds no intervals has the counts to compute them from."""
    if "cer_ci95" not in found:
        rows = found["per_utterance"]
        words = [[row[name] for name in ("substitutions", "deletions", "insertions")] for row in rows]
        characters = [
            [row[f"character_{name}"] for name in ("substitutions", "deletions", "insertions")] for row in rows
        ]
        errors = np.array([[sum(w), sum(c)] for w, c in zip(words, characters, strict=True)])
        wrong = errors[:, [0 if found["metric"] == "wer" else 1]] > 0
        reference = np.array([[row["reference_words"], row["reference_characters"], 1] for row in rows])
        intervals = rate_intervals(np.concatenate([errors, wrong], axis=1), reference) or [None] * 3
        return [Rate(float(found[name]), ci) for name, ci in zip(("wer", "cer", "ser"), intervals, strict=True)]
    return [
        Rate(float(found[name]), _pair(found[f"{name}_ci95"]), _pair(found[f"{name}_ci95_speakers"]))
        for name in ("wer", "cer", "ser")
    ]


def _pair(interval: Any) -> tuple[float, float] | None:
    return None if interval is None else (float(interval[0]), float(interval[1]))


def choose(decodings: Sequence[Decoding | Damaged], cfg: RunConfig) -> Decoding | Note:
    """What pictures and errors are shown of: the first set, by the recipe's decoder, else joint, else the best one."""
    whole = [one for one in decodings if isinstance(one, Decoding)]
    if not whole:
        return Note("Shown as soon as a set has been decoded.")
    here = [one for one in whole if one.set_name == whole[0].set_name]
    own = cfg.presets.get("decode", "joint")
    rate = {one.decoder: (one.wer if one.metric == "wer" else one.cer).value for one in here}
    return min(here, key=lambda one: (one.decoder != own, one.decoder != "joint", rate[one.decoder]))


def read_utterances(decoding: Decoding) -> tuple[UtteranceScore, ...]:
    """The errors of each utterance, from hypotheses.jsonl. Raises UserError where that is not there or damaged."""
    path = decoding.folder / "hypotheses.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        items = [Scored(str(row["id"]), str(row["reference"]), str(row["text"]), row.get("speaker")) for row in rows]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        problem = f"{path}: cannot be read ({type(error).__name__})"
        raise UserError(f"{problem}; remove {decoding.folder.name}/ and decode again") from None
    return score_utterances(items)


def worst(rows: Sequence[UtteranceScore], metric: Metric, most: int = WORST) -> list[Wrong]:
    """The utterances with the most errors; of equals those with the higher rate."""
    wrong = [row for row in rows if row.counts(metric).errors]
    wrong.sort(key=lambda row: (-row.counts(metric).errors, -row.counts(metric).rate, row.id))
    return [
        Wrong(
            row.id,
            row.speaker,
            row.counts(metric).errors,
            row.counts(metric).reference,
            align(row.reference, row.hypothesis, UNITS[metric]),
        )
        for row in wrong[:most]
    ]


def utterances_of(decoding: Decoding | Note) -> tuple[UtteranceScore, ...] | Note:
    """The same, or why there are none."""
    return decoding if isinstance(decoding, Note) else attempt(lambda: read_utterances(decoding))
