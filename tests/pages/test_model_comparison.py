"""The page of models beside each other: every number in its own cell."""

import numpy as np

from hybrid_asr.pages.charts import Chart, Series, draw
from hybrid_asr.pages.model_comparison import Compared, Corpus, comparison_page
from hybrid_asr.scoring.intervals import Interval, Rate
from tests.pages.reading import Reader

HYBRID = Compared(
    recipe="las_hybrid",
    about="<b>bold</b>",
    parameters=2_740_000,
    minutes="~29.5",
    epochs=60,
    rates={"attention": Rate(0.12, Interval(0.1, 0.14)), "joint": Rate(0.07, Interval(0.05, 0.09))},
    control=0.97,
    speed={2: 100.0, 20: 80.0},
)
CTC = Compared("las_ctc", "", 2_700_000, "2.6", 10, {"ctc_greedy": Rate(0.28, None)}, None, {})


def test_each_number_stands_in_the_row_of_its_model_and_the_column_of_its_decoder():
    lengths = draw(Chart("WER", "%", [Series("additive", np.array([1.0, 9.0]), np.array([3.0, 5.0]))]))
    page = comparison_page([Corpus("an4", 130, 773, [HYBRID, CTC], lengths)], command="compare <all>")
    reader = Reader(page)
    rates, speed = reader.cells[:3], reader.cells[3:5]
    assert rates[0] == ["model", "attention", "joint", "ctc greedy", "control", "M par.", "core min"]
    assert rates[1] == ["las_hybrid", "12.00 10.0–14.0", "7.00 5.0–9.0", "", "97.0", "2.74", "~29.5"]
    assert rates[2] == ["las_ctc", "", "", "28.00", "", "2.70", "2.6"]
    assert speed == [["model", "2 s", "20 s", "slower by"], ["las_hybrid", "100", "80", "1.25"]]
    assert "130 utterances, 773 words" in reader.sections["an4"]
    assert "<b>bold" not in page and "compare &lt;all&gt;" in page
    assert sum(tag == "path" for tag, _ in reader.tags) == 1
    assert not any(attrs.get("src") for _, attrs in reader.tags)


def test_the_lowest_rate_of_each_decoder_is_marked():
    better = HYBRID._replace(recipe="better", rates={"joint": Rate(0.05, None)})
    corpus = Corpus("an4", 130, 773, [HYBRID, better], None)
    assert corpus.least == {"attention": 0.12, "joint": 0.05}
    marked = [attrs for tag, attrs in Reader(comparison_page([corpus], command="")).tags if tag == "td"]
    assert ["least" in (attrs.get("class") or "") for attrs in marked[:4]] == [True, False, False, False]
    assert "least" in (marked[6].get("class") or ""), "the second row's joint"
