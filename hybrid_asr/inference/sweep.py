"""One setting over many values: a curve on one set, and the value that is best there.

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
from hybrid_asr.common.files import why_unreadable, write_text
from hybrid_asr.config.compose import digest
from hybrid_asr.scoring.utterances import Metric

MOST = 200  # values
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
        if not all(one.is_finite() for one in numbers) or len(numbers) > MOST:
            raise ValueError
    except (InvalidOperation, ValueError):
        raise UserError(
            f"--sweep {text}: write numbers, FIRST:LAST:STEP with a STEP above 0, or ONE,OTHER,… (at most {MOST})"
        ) from None
    values = [int(one) if one == one.to_integral_value() else float(one) for one in numbers]
    return Sweep(key, tuple(dict.fromkeys(values)))


def _range(wanted: str) -> list[Decimal]:
    """The values from the first to the last, which is one of them where the step fits."""
    first, last, step = (Decimal(word) for word in wanted.split(":"))
    if not (step > 0 and last >= first and (last - first) / step < MOST):
        raise ValueError
    return [first + place * step for place in range(int((last - first) / step) + 1)]


@dataclasses.dataclass(frozen=True)
class Curve:
    """A sweep of one decoder on one set. A row holds `value`, `signature` and what a report says in numbers."""

    set_name: str
    decoder: str  # the preset
    label: str  # its folder's name with its own value
    key: str
    metric: Metric
    own: Value
    purpose: Purpose
    rows: tuple[dict[str, Any], ...]
    weights: str
    applied: dict[str, str] = dataclasses.field(default_factory=dict)  # set -> folder of the chosen value's decoding

    @property
    def best(self) -> Value | None:
        """The value with the lowest error rate; of equals the nearest to the recipe's own, then the smallest.

        None where the curve is not for selection, or failures spoil every value.
        """
        whole = [row for row in self.rows if not row["failed"]]
        if not whole or self.purpose != "selection":
            return None

        def order(row: Mapping[str, Any]) -> tuple[float, float, Value]:
            return row[self.metric], round(abs(row["value"] - self.own), 9), row["value"]

        return min(whole, key=order)["value"]

    def path(self, run: Path) -> Path:
        """Where it is kept."""
        return curve_file(run, self.set_name, self.label, self.key)

    def write(self, run: Path) -> None:
        """Keep it in the run."""
        content = {"form": FORM, **dataclasses.asdict(self), "rows": list(self.rows), "best": self.best}
        content["digest"] = digest(content)
        write_text(self.path(run), json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def text(self) -> str:
        """The table for people."""
        use = "to choose by" if self.purpose == "selection" else "NOT FOR SELECTION"
        name = self.metric.upper() + " %"
        lines = [f"decode.{self.key} of {self.decoder} on {self.set_name} ({use})"]
        lines.append(
            f"{'value':>10}  {name:>6} {'95 %':^11}  {'cut':>4} {'empty':>5} {'loop':>4} {'fail':>4}  {'RTF':>7}"
        )
        lines += [self._line(row) for row in self.rows]
        return "\n".join(lines)

    def _line(self, row: Mapping[str, Any]) -> str:
        low, high = row[f"{self.metric}_ci95"] or (math.nan, math.nan)
        rate = f"{100 * row[self.metric]:6.2f} {100 * low:5.1f}–{100 * high:<5.1f}"
        odd = f"{row['cut']:4} {row['empty']:5} {row['looping']:4} {row['failed']:4}"
        marks = ["best"] * (row["value"] == self.best) + ["its own"] * (row["value"] == self.own)
        return f"{row['value']:>10g}  {rate}  {odd}  {row['search_rtf']:7.4f}  {', '.join(marks)}".rstrip()


NUMBERS = (
    *("wer", "wer_ci95", "cer", "cer_ci95", "ser", "ser_ci95", "cut", "empty", "looping"),
    *("search_s", "search_rtf", "audio_s"),
)


def row_of(value: Value, signature: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a value, from its report."""
    numbers = {name: report[name] for name in NUMBERS}
    return {"value": value, "signature": signature, **numbers, "failed": len(report["failed"])}


def curve_file(run: Path, set_name: str, label: str, key: str) -> Path:
    """Where a curve is kept."""
    return run / "decode" / set_name / f"sweep-{label}-{key}.json"


def earlier_rows(path: Path, wanted: Mapping[Value, str]) -> dict[Value, dict[str, Any]]:
    """The rows of an earlier sweep that still hold: `wanted` has the signature of each value."""
    if why_unreadable(path, largest=_LARGEST):
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        whole = found["form"] == FORM and found["digest"] == digest({k: v for k, v in found.items() if k != "digest"})
        rows = {row["value"]: row for row in found["rows"]} if whole else {}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):  # damaged: it is made anew
        return {}
    return {value: rows[value] for value, sign in wanted.items() if value in rows and _holds(rows[value], sign)}


def _holds(row: Mapping[str, Any], signature: str) -> bool:
    return row["signature"] == signature and not row["failed"]


def read_curve(path: Path) -> Curve:
    """What `Curve.write` wrote. Raises UserError where that is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("form") != FORM or found.pop("digest") is None:
            raise ValueError
        found.pop("best")
        return Curve(**found | {"rows": tuple(found["rows"])})
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{path}: damaged; remove it and repeat the sweep") from None
