"""Line charts as SVG: labeled axes, and thousands of rows thinned so that no peak is lost.

Why these are no figures of matplotlib, as the heat maps are: on a page a chart takes its colors from the page's style
sheet, so that one text suits light and dark screens; matplotlib writes colors into every path, and the page would
have to rewrite them. It is also slower and larger (seven charts of an AN4 run: 185 ms in place of 21, 154 kB in place
of 60; docs/lessons.md has the table), and would save some 60 lines here.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

WIDTH, HEIGHT = 380, 236
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 12, 40
LINES = 5  # that differ in color and in their dashes; style.css has c0, c1, …
BINS = 240  # more columns than these a chart of this width cannot show


class Series(NamedTuple):
    """Measured points; x need not be evenly spaced, y may hold NaN, which is left out.

    `low` and `high` are the interval around each y, drawn as a band.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    dots: bool = False  # also where there are many points


class Chart(NamedTuple):
    """What is to be drawn; `unit` belongs to the y axis. `summary` says what it shows, in place of the last values."""

    title: str
    unit: str
    series: Sequence[Series]
    scale: Literal["linear", "log"] = "linear"
    x_name: str = "step"
    summary: str = ""


class Thinned(NamedTuple):
    """Columns of a chart: the median of the rows in each, and their lowest and highest; `last` is the last row's y."""

    x: np.ndarray
    middle: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rows: int
    last: float


class Line(NamedTuple):
    """A drawn series: SVG path data of the medians and, where rows were put together, of the band around them."""

    name: str
    color: int
    path: str
    band: str
    last: float
    dots: list[tuple[float, float]]


class Tick(NamedTuple):
    """A mark on an axis: its coordinate in the picture and its text."""

    at: float
    text: str


class Axis(NamedTuple):
    """Values from `low` to `high`, on a picture from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    scale: Literal["linear", "log"] = "linear"

    def coordinates(self, values: np.ndarray) -> np.ndarray:
        """Values to coordinates in the picture."""
        if self.scale == "log":
            share = np.log(values / self.low) / math.log(self.high / self.low)
        else:
            share = (values - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, values: Sequence[float]) -> list[Tick]:
        """Marks at values."""
        return [
            Tick(float(at), f"{value:g}") for at, value in zip(self.coordinates(np.array(values)), values, strict=True)
        ]


class Drawing(NamedTuple):
    """A chart in the coordinates of its picture, for the template."""

    chart: Chart
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    caption: str
    frame: tuple[int, int, int, int] = (LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM)
    size: tuple[int, int] = (WIDTH, HEIGHT)


def thin(x: np.ndarray, y: np.ndarray, bins: int = BINS) -> Thinned:
    """Rows put together by equal stretches of x, as soon as there are more of them than `bins`."""
    if len(x) <= bins:
        return Thinned(x, y, y, y, len(x), float(y[-1]))
    edges = np.linspace(x.min(), x.max(), bins + 1)
    column = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, bins - 1)
    groups = [np.flatnonzero(column == number) for number in np.unique(column)]
    columns = [(x[rows].mean(), np.median(y[rows]), y[rows].min(), y[rows].max()) for rows in groups]
    return Thinned(*np.array(columns).T, rows=len(x), last=float(y[-1]))


def draw(chart: Chart) -> Drawing | None:
    """Lay out a chart; None where no series has a finite number (a positive one, on a logarithmic axis)."""
    kept, lost = [], 0
    for series in chart.series:
        usable = np.isfinite(series.y) & ((series.y > 0) | (chart.scale == "linear"))
        lost += int((~np.isfinite(series.y)).sum())
        if usable.any():
            kept.append((series, _prepared(series, usable)))
    if not kept:
        return None
    thinned = [points for _, points in kept]
    x_low, x_high = _range([np.zeros(1), *(points.x for points in thinned)])
    x_axis = Axis(x_low, max(x_high, x_low + 1e-12), LEFT, WIDTH - RIGHT)
    low, high = _range([points.low for points in thinned] + [points.high for points in thinned])
    y_values = _log_ticks(low, high) if chart.scale == "log" else _ticks(min(low, 0.0), high)
    y_axis = Axis(y_values[0], y_values[-1], HEIGHT - BOTTOM, TOP, chart.scale)
    return Drawing(
        chart,
        [_line(series, points, x_axis, y_axis, number % LINES) for number, (series, points) in enumerate(kept)],
        x_axis.ticks([value for value in _ticks(x_low, x_high, 4) if value <= x_high]),
        y_axis.ticks(y_values),
        _caption(thinned, lost),
    )


def _prepared(series: Series, usable: np.ndarray) -> Thinned:
    """The points to draw: as they are where they have intervals, else thinned."""
    x, y = series.x[usable], series.y[usable]
    if series.low is None or series.high is None:
        return thin(x, y)
    return Thinned(x, y, series.low[usable], series.high[usable], len(x), float(y[-1]))


def _line(series: Series, points: Thinned, x_axis: Axis, y_axis: Axis, color: int) -> Line:
    x = x_axis.coordinates(points.x)
    middle, low, high = (y_axis.coordinates(y) for y in (points.middle, points.low, points.high))
    has_band = bool((points.low != points.high).any())
    band = _path(np.concatenate([x, x[::-1]]), np.concatenate([low, high[::-1]])) + "Z" if has_band else ""
    dots = list(zip(x.tolist(), middle.tolist(), strict=True)) if series.dots or len(x) <= 3 else []
    return Line(series.name, color, _path(x, middle), band, points.last, dots)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def _caption(series: Sequence[Thinned], lost: int) -> str:
    """What the chart leaves out: rows that share a column, values that are not finite."""
    most = max(series, key=lambda points: points.rows)
    parts = []
    if most.rows > len(most.x):
        parts.append(f"{most.rows} rows in {len(most.x)} columns: line = median, band = lowest to highest of a column.")
    if lost:
        parts.append(f"{lost} values that are not finite are left out.")
    return " ".join(parts)


def _range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """The lowest and the highest of several arrays."""
    return float(min(array.min() for array in values)), float(max(array.max() for array in values))


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`."""
    rough = max(high - low, 1e-9, 1e-6 * abs(high)) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{multiple * step:.10g}") for multiple in range(first, max(last, first + 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten around the range; only powers where it is wide."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    every = [float(f"{factor}e{power}") for power in powers for factor in factors]
    below = [value for value in every if value <= low][-1:]
    above = [value for value in every if value >= high][:1]
    ticks = [*below, *(value for value in every if low < value < high), *above]
    return ticks if len(set(ticks)) > 1 else [ticks[0] / 2, ticks[0], 2 * ticks[0]]
