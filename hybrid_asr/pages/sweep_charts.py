"""The sweeps of a run, from decode/<set>/sweep-….json: a setting over its values, drawn."""

from typing import NamedTuple

import numpy as np

from hybrid_asr.inference.sweep import Curve, read_curve
from hybrid_asr.pages.charts import Chart, Drawing, Series, draw
from hybrid_asr.pages.kit import Note, attempt
from hybrid_asr.run.folder import Run


class DrawnSweep(NamedTuple):
    """A sweep and its chart, which is None where no value could be measured."""

    curve: Curve
    drawing: Drawing | None


def find_sweeps(run: Run) -> list[DrawnSweep | Note]:
    """All sweeps of a run; a damaged one is a note."""
    paths = sorted(run.folder.glob("decode/*/sweep-*.json"))
    return [attempt(lambda path=path: show(read_curve(path))) for path in paths]


def show(curve: Curve) -> DrawnSweep:
    """Draw a sweep: the rate with its intervals, the best value and the recipe's own."""
    x = np.array([float(row.value) for row in curve.rows])
    wanted = [row.rate(curve.metric) for row in curve.rows]
    rates = 100 * np.array([rate.value for rate in wanted])
    pairs = [rate.leading or (rate.value, rate.value) for rate in wanted]
    low, high = 100 * np.array(pairs, dtype=float).reshape(-1, 2).T
    metric = curve.metric.upper()
    marked = {curve.own: f"own, {curve.own:g}"}
    if curve.best is not None:
        marked[curve.best] = f"best, {curve.best:g}" + (", its own" if curve.best == curve.own else "")
    series = [Series(f"{metric} with its 95 % interval", x, rates, low, high, dots=True)]
    for value, name in marked.items():
        here = x == value
        if here.any():
            series.append(Series(name, x[here], rates[here]))
    chart = Chart(
        f"{metric} of {curve.decoder} on {curve.set_name}",
        "%",
        series,
        x_name=f"decode.{curve.key}",
        summary=f"{metric} of {curve.decoder} on {curve.set_name} over decode.{curve.key}: "
        + ", ".join(f"{rate:.2f} % at {value:g}" for value, rate in zip(x, rates, strict=True)),
    )
    return DrawnSweep(curve, draw(chart))
