"""Learning curves: what stands in the rows is what is drawn."""

import re
from pathlib import Path

import numpy as np
import pytest

from hybrid_asr.pages import charts
from hybrid_asr.pages.charts import BINS, BOTTOM, HEIGHT, LEFT, LINES, RIGHT, TOP, WIDTH, Chart, Series, draw, thin


def points(path: str) -> np.ndarray:
    return np.array([[float(word) for word in pair.split()] for pair in re.split("[ML]", path) if pair])


def test_few_rows_are_drawn_where_they_are():
    x, y = np.array([0.0, 50.0, 100.0]), np.array([0.0, 10.0, 5.0])
    drawn = draw(Chart("loss", "nats", [Series("loss", x, y)]))
    assert drawn is not None
    [line] = drawn.lines
    right, low = WIDTH - RIGHT, HEIGHT - BOTTOM
    expected = [[LEFT, low], [(LEFT + right) / 2, TOP], [right, (low + TOP) / 2]]
    assert points(line.path) == pytest.approx(np.array(expected), abs=0.1)
    assert line.last == 5.0 and not line.band and not drawn.caption


def test_no_peak_is_lost_among_thousands_of_rows_and_the_caption_says_what_is_shown():
    y = np.sin(np.arange(20_000) / 700) + 3
    y[12_345] = 40.0
    found = thin(np.arange(20_000.0), y)
    assert len(found.x) == BINS and found.rows == 20_000
    assert found.high.max() == 40.0 and found.low.min() == y.min()
    assert ((found.low <= found.middle) & (found.middle <= found.high)).all()
    assert found.last == y[-1]
    drawn = draw(Chart("loss", "nats", [Series("loss", np.arange(20_000.0), y)]))
    assert drawn is not None and drawn.lines[0].band
    assert f"20000 rows in {BINS} columns" in drawn.caption
    assert len(drawn.lines[0].path) < 20 * BINS


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("low, high", [(0.13, 5.9), (1e-9, 1.5e-3), (3.0, 3.0), (0.2, 900.0), (1e-6, 1e6)])
def test_the_axis_reaches_around_the_data(scale, low, high):
    drawn = draw(Chart("", "", [Series("", np.array([1.0, 2.0]), np.array([low, high]))], scale=scale))
    assert drawn is not None
    values, places = [float(tick.text) for tick in drawn.y_ticks], [tick.at for tick in drawn.y_ticks]
    assert 2 <= len(values) <= 16
    assert min(values) <= low * 1.001 and max(values) >= high * 0.999
    assert values == sorted(values) and places == sorted(places, reverse=True)
    assert all(TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1 for y in [*places, *points(drawn.lines[0].path)[:, 1]])


def test_what_is_no_number_is_left_out_and_counted():
    y = np.array([1.0, np.nan, 3.0, np.inf])
    drawn = draw(Chart("", "", [Series("", np.arange(4.0), y), Series("none", np.arange(0.0), np.arange(0.0))]))
    assert drawn is not None and len(drawn.lines) == 1
    assert len(points(drawn.lines[0].path)) == 2
    assert "2 values that are not finite" in drawn.caption
    assert draw(Chart("", "", [Series("", np.arange(2.0), np.full(2, np.nan))])) is None
    assert draw(Chart("", "", [Series("", np.arange(2.0), np.zeros(2))], scale="log")) is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_line_of_a_chart_has_a_color_and_dashes_of_its_own_that_are_seen(scheme):
    """A contrast of 3 to the paper, as WCAG 2.1 AA wants of graphics."""
    style = (Path(charts.__file__).parent / "templates/style.css").read_text()
    light, dark = style.split("@media (prefers-color-scheme: dark)", 1)
    part = light if scheme == "light" else dark
    colors = [re.search(rf"--c{number}: (#\w{{6}})", part)[1] for number in range(LINES)]
    sheet = re.search(r"--sheet: (#\w{6})", part)[1]
    dashes = [
        re.search(rf"\.line\.c{number} \{{[^}}]*?(stroke-dasharray: [^;]*)?; \}}", style)[1] for number in range(LINES)
    ]
    assert len(set(colors)) == len(set(dashes)) == LINES and dashes.count(None) == 1
    for color in colors:
        low, high = sorted(map(luminance, (color, sheet)))
        assert (high + 0.05) / (low + 0.05) >= 3


def luminance(color: str) -> float:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_lines_of_one_chart_differ():
    x = np.arange(3.0)
    drawn = draw(Chart("", "", [Series(str(number), x, x) for number in range(LINES)]))
    assert drawn is not None and [line.color for line in drawn.lines] == list(range(LINES))
