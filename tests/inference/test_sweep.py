"""Sweeps: how they are written, which value is best, what of an earlier one still holds."""

import dataclasses
import json

import pytest

from hybrid_asr.common.errors import UserError
from hybrid_asr.inference.sweep import Curve, Sweep, SweepRow, parse_sweep, read_curve, valid_rows
from hybrid_asr.scoring.intervals import Interval, Rate


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("decode.ctc_weight=0:1:0.25", "ctc_weight", (0, 0.25, 0.5, 0.75, 1)),
        ("decode.ctc_weight=0:1:0.1", "ctc_weight", (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)),
        ("decode.beam=4,10,40", "beam", (4, 10, 40)),
        ("decode.beam=1:10:4", "beam", (1, 5, 9)),
        ("decode.length_bonus=-1, 0.5,-1", "length_bonus", (-1, 0.5)),
        ("decode.length_bonus=-0.5:0.5:0.5", "length_bonus", (-0.5, 0, 0.5)),
    ],
)
def test_values(text, key, values):
    assert parse_sweep(text) == Sweep(key, values)
    assert [type(value) for value in parse_sweep(text).values] == [type(value) for value in values]


@pytest.mark.parametrize(
    "text",
    [
        *("decode.beam", "beam=1,2", "decode.=1", "decode.beam=", "decode.beam=a", "decode.beam=1:2"),
        *("decode.beam=1:2:0", "decode.beam=2:1:1", "decode.beam=1:2:-1", "decode.beam=0:1:0.0001", "decode.beam=nan"),
        *("decode.beam=1:inf:1", "decode.beam=1:2:3:4"),
    ],
)
def test_what_is_no_sweep_is_told_with_how_to_write_one(text):
    with pytest.raises(UserError, match=r"--sweep .*FIRST:LAST:STEP"):
        parse_sweep(text)


def row(value, wer, *, failed=0, signature="s") -> SweepRow:
    rate = Rate(wer, Interval(0.0, 1.0))
    counts = {"cut": 0, "empty": 0, "looping": 0, "failed": failed}
    times = {"search_s": 0.2, "search_rtf": 0.1, "audio_s": 2.0}
    return SweepRow(value=value, signature=signature, wer=rate, cer=rate, ser=rate, **counts, **times)


def curve(*rows, own=0.5, purpose="selection") -> Curve:
    return Curve("valid", "joint", "joint", "ctc_weight", "wer", own, purpose, rows, "w")


def test_the_best_has_the_lowest_rate_then_is_nearest_to_the_recipe_s_own():
    assert curve(row(0.1, 0.3), row(0.4, 0.2), row(0.9, 0.25)).best == 0.4
    assert curve(row(0.1, 0.2), row(0.4, 0.2), row(0.9, 0.2)).best == 0.4
    assert curve(row(0.3, 0.2), row(0.7, 0.2), own=0.5).best == 0.3
    assert curve(row(0.1, 0.1, failed=1), row(0.4, 0.2)).best == 0.4, "a rate of fewer utterances compares to nothing"
    assert curve(row(0.1, 0.1, failed=1)).best is None
    assert curve(row(0.1, 0.3), row(0.4, 0.2), purpose="not for selection").best is None, "a test set chooses nothing"


def test_the_table_marks_the_best_and_what_is_not_for_selection():
    text = curve(row(0.1, 0.3), row(0.5, 0.25), row(0.9, 0.2)).text()
    assert "to choose by" in text
    marked = [line.split()[-1] for line in text.splitlines() if line.endswith(("best", "own"))]
    assert marked == ["own", "best"]
    tested = curve(row(0.1, 0.3), purpose="not for selection").text()
    assert "NOT FOR SELECTION" in tested and "best" not in tested


def test_a_curve_is_kept_and_what_was_changed_is_not_believed(tmp_path):
    one = curve(row(0.1, 0.3, signature="a"), row(0.5, 0.25, signature="b"), row(0.9, 0.2, failed=1, signature="c"))
    one.write(tmp_path)
    path = one.path(tmp_path)
    assert read_curve(path) == one
    assert valid_rows(path, {0.1: "a", 0.5: "other", 0.9: "c", 0.7: "d"}) == {0.1: one.rows[0]}
    content = json.loads(path.read_text())
    content["rows"][0]["wer"] = 0.0
    path.write_text(json.dumps(content))
    assert valid_rows(path, {0.1: "a"}) == {}
    dataclasses.replace(one, label="other").write(tmp_path)
    for damage in ("", "[]", "{", '{"form": "hybrid-asr sweep 1"}'):
        path.write_text(damage)
        assert valid_rows(path, {0.1: "a"}) == {}
        with pytest.raises(UserError, match="damaged"):
            read_curve(path)
