"""Sweep a decoder setting over many values: error rates on one set, and the value that is best there.

Chosen on the validation set, a value may be judged on a test set. What is best on a test set itself says nothing about
other data: such a sweep is marked as not for selection, and its best value is not taken.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import read_problem, write_text
from hybrid_asr.config.compose import digest
from hybrid_asr.inference.report import DecodingStatistics
from hybrid_asr.scoring.intervals import Rate
from hybrid_asr.scoring.report import SetScore
from hybrid_asr.scoring.scores import Metric

MOST = 200  # values of a sweep
_LARGEST = 1 << 26  # bytes of a file
Value = int | float
Purpose = Literal["selection", "not for selection"]
FORM = "hybrid-asr sweep 1"


class Sweep(NamedTuple):
    """What to vary: `key` is a setting of section `decode`."""

    key: str
    values: tuple[Value, ...]

    def setting(self, value: Value) -> str:
        """The override that sets a value."""
        return f"decode.{self.key}={value}"


def parse_sweep(text: str) -> Sweep:
    """Read `decode.KEY=FIRST:LAST:STEP`, or values separated by commas. Raises UserError that shows how to write it."""
    name, equals, wanted = text.partition("=")
    key = name.removeprefix("decode.")
    if not equals or not name.startswith("decode.") or not key:
        raise UserError(f"--sweep {text}: write decode.KEY=FIRST:LAST:STEP or decode.KEY=ONE,OTHER,…")
    try:
        numbers = _range(wanted) if ":" in wanted else [Decimal(word.strip()) for word in wanted.split(",")]
        if not all(number.is_finite() for number in numbers) or len(numbers) > MOST:
            raise ValueError
    except (InvalidOperation, ValueError):
        raise UserError(
            f"--sweep {text}: write numbers, FIRST:LAST:STEP with a STEP above 0, or ONE,OTHER,… (at most {MOST})"
        ) from None
    values = [int(number) if number == number.to_integral_value() else float(number) for number in numbers]
    return Sweep(key, tuple(dict.fromkeys(values)))


def _range(wanted: str) -> list[Decimal]:
    """The values from first to last; the last is included if the steps meet it."""
    first, last, step = (Decimal(word) for word in wanted.split(":"))
    if not (step > 0 and last >= first and (last - first) / step < MOST):
        raise ValueError
    return [first + index * step for index in range(int((last - first) / step) + 1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepRow:
    """The result of one value: error rates, counts and times as in a decoding's report.

    `signature` is that of the decoding: a digest of all that it depends on. `failed` counts utterances that could not
    be decoded.
    """

    value: Value
    signature: str
    wer: Rate
    cer: Rate
    ser: Rate
    cut: int
    empty: int
    looping: int
    search_s: float
    search_rtf: float
    audio_s: float
    failed: int

    @classmethod
    def of(cls, value: Value, signature: str, scores: SetScore, statistics: DecodingStatistics) -> "SweepRow":
        """The row of a value, from the scores and statistics of its decoding."""
        looping, search_s, search_rtf = statistics.looping, statistics.search_s, statistics.search_rtf
        assert looping is not None and search_s is not None and search_rtf is not None, "this version writes all"
        return cls(
            value=value,
            signature=signature,
            wer=scores.wer,
            cer=scores.cer,
            ser=scores.ser,
            cut=statistics.cut,
            empty=scores.empty,
            looping=looping,
            search_s=search_s,
            search_rtf=search_rtf,
            audio_s=statistics.audio_s,
            failed=len(statistics.failed),
        )

    def rate(self, metric: Metric) -> Rate:
        """The WER or the CER."""
        return self.wer if metric == "wer" else self.cer

    def to_json(self) -> dict[str, Any]:
        """The row as a dictionary with the keys of the curve's file."""
        rates = self.wer.to_json("wer") | self.cer.to_json("cer") | self.ser.to_json("ser")
        return {
            "value": self.value,
            "signature": self.signature,
            **rates,
            "cut": self.cut,
            "empty": self.empty,
            "looping": self.looping,
            "search_s": self.search_s,
            "search_rtf": self.search_rtf,
            "audio_s": self.audio_s,
            "failed": self.failed,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "SweepRow":
        """Read what `to_json` wrote. Raises LookupError, TypeError or ValueError if it is damaged."""
        speakers = "wer_ci95_speakers" in data  # curves of former versions have none
        return cls(
            value=data["value"],
            signature=data["signature"],
            wer=Rate.from_json(data, "wer", speakers=speakers),
            cer=Rate.from_json(data, "cer", speakers=speakers),
            ser=Rate.from_json(data, "ser", speakers=speakers),
            cut=int(data["cut"]),
            empty=int(data["empty"]),
            looping=int(data["looping"]),
            search_s=float(data["search_s"]),
            search_rtf=float(data["search_rtf"]),
            audio_s=float(data["audio_s"]),
            failed=int(data["failed"]),
        )


@dataclasses.dataclass(frozen=True)
class Curve:
    """A sweep of one decoder on one set."""

    set_name: str
    decoder: str  # the preset
    label: str  # its folder's name with its own value
    key: str
    metric: Metric
    own: Value
    purpose: Purpose
    rows: tuple[SweepRow, ...]
    weights: str
    applied: dict[str, str] = dataclasses.field(default_factory=dict)  # set -> folder of the chosen value's decoding

    @property
    def best(self) -> Value | None:
        """The value with the lowest error rate; of equals the nearest to the recipe's own, then the smallest.

        None if the curve is not for selection, or if utterances failed for every value.
        """
        complete = [row for row in self.rows if not row.failed]
        if not complete or self.purpose != "selection":
            return None

        def order(row: SweepRow) -> tuple[float, float, Value]:
            return row.rate(self.metric).value, round(abs(row.value - self.own), 9), row.value

        return min(complete, key=order).value

    def path(self, run: Path) -> Path:
        """The curve's file in the folder `run`."""
        return curve_file(run, self.set_name, self.label, self.key)

    def write(self, run: Path) -> None:
        """Write the curve to its file in the folder `run`."""
        rows = [row.to_json() for row in self.rows]
        content = {"form": FORM, **dataclasses.asdict(self), "rows": rows, "best": self.best}
        content["digest"] = digest(content)
        write_text(self.path(run), json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def text(self) -> str:
        """The rows as a table to print."""
        use = "to choose by" if self.purpose == "selection" else "NOT FOR SELECTION"
        name = self.metric.upper() + " %"
        lines = [f"decode.{self.key} of {self.decoder} on {self.set_name} ({use})"]
        lines.append(
            f"{'value':>10}  {name:>6} {'95 %':^11}  {'cut':>4} {'empty':>5} {'loop':>4} {'fail':>4}  {'RTF':>7}"
        )
        lines += [self._line(row) for row in self.rows]
        return "\n".join(lines)

    def _line(self, row: SweepRow) -> str:
        rate = row.rate(self.metric)
        low, high = rate.leading or (math.nan, math.nan)
        cells = f"{100 * rate.value:6.2f} {100 * low:5.1f}–{100 * high:<5.1f}"
        odd = f"{row.cut:4} {row.empty:5} {row.looping:4} {row.failed:4}"
        marks = ["best"] * (row.value == self.best) + ["its own"] * (row.value == self.own)
        return f"{row.value:>10g}  {cells}  {odd}  {row.search_rtf:7.4f}  {', '.join(marks)}".rstrip()


def curve_file(run: Path, set_name: str, label: str, key: str) -> Path:
    """The file of a curve in the folder `run`."""
    return run / "decode" / set_name / f"sweep-{label}-{key}.json"


def valid_rows(path: Path, wanted: Mapping[Value, str]) -> dict[Value, SweepRow]:
    """The rows of an earlier sweep that are still valid: `wanted` has the signature of each value."""
    if read_problem(path, largest=_LARGEST):
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        as_written = content.pop("digest") == digest(content)
        rows = [SweepRow.from_json(row) for row in content["rows"]] if as_written and content["form"] == FORM else []
        by_value = {row.value: row for row in rows}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # damaged: the sweep is run again
        return {}
    known = {value: by_value[value] for value in wanted if value in by_value}
    return {value: row for value, row in known.items() if row.signature == wanted[value] and not row.failed}


def read_curve(path: Path) -> Curve:
    """Read what `Curve.write` wrote. Raises UserError if it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("form") != FORM or content.pop("digest") is None:
            raise ValueError
        content.pop("best")
        return Curve(**content | {"rows": tuple(SweepRow.from_json(row) for row in content["rows"])})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: damaged; remove it and repeat the sweep") from None
