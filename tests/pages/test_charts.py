"""Learning curves: what stands in the rows is what is drawn."""

import re

import numpy as np
import pytest

from hybrid_asr.pages.charts import BINS, BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Series, draw, thin


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
    assert "2 values that are no finite number" in drawn.caption
    assert draw(Chart("", "", [Series("", np.arange(2.0), np.full(2, np.nan))])) is None
    assert draw(Chart("", "", [Series("", np.arange(2.0), np.zeros(2))], scale="log")) is None
