"""The benchmark of decoding: what counts as the same work, what is printed and kept, and that all of it still runs."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from tools.benchmarks import bench_decoding as bench
from tools.benchmarks.decoding_plot import LINES, PANELS, Point, case_at, draw, places
from tools.benchmarks.decoding_work import ROWS, Case, compare, gathered, turn_of

ONE = [([5, 6], -1.0), ([5, 7], -2.0)]


def test_rounds_show_every_utterance_of_a_batch():
    for rounds in (1, 4, 9, 40):
        for batch in (1, 8, 32):
            turns = [turn_of(turn, batch, rounds) for turn in range(rounds)]
            assert {one for turn in turns for one in turn} == set(range(batch))
            assert all(len(set(turn)) == len(turn) for turn in turns)


def test_equal_nbest_are_the_same_work():
    verdict = compare({0: ONE, 1: ONE}, {0: ONE, 1: [([5, 6], -1.0), ([5, 7], -2.0002)]})
    assert verdict.same and (verdict.best, verdict.equal, verdict.tied) == (2, 4, 0)
    assert verdict.gap == pytest.approx(2e-4)


def test_a_text_that_differs_is_other_work_unless_it_is_tied():
    swapped = [ONE[1], ONE[0]]
    assert not compare({0: ONE}, {0: swapped}).same
    close = [([5, 7], -1.9998), ([5, 6], -2.0)]
    assert compare({0: [([5, 6], -1.9999), ([5, 7], -2.0001)]}, {0: close}) == (1, 0, 2, 0, 2, 0.0)
    assert compare({0: [([5, 6], -1.0), ([5, 8], -2.0001)]}, {0: ONE}).tied == 1, "beside the last"
    assert not compare({0: [([5, 8], -1.0), ([5, 7], -2.0)]}, {0: ONE}).same, "another text with the same score"
    assert not compare({0: ONE}, {0: ONE[:1]}).same, "a rank that is missing"
    assert not compare({0: ONE}, {1: ONE}).same, "nothing was compared"


def answers(seconds: float, nbest: list, batch: int) -> list[dict]:
    return [{"seconds": seconds, "nbest": {str(n): nbest for n in range(batch)}}] * 3


def test_a_ratio_is_printed_for_equal_texts_only(capsys):
    case = Case("joint", batch=2)
    other = [([5, 8], -1.0), ([5, 7], -2.0)]
    given = {bench.ESPNET: answers(2.0, ONE, 2), bench.SPEECHBRAIN: answers(3.0, other, 2)}
    rows = bench.report(
        "joint_b2", case, given | {bench.OURS: answers(0.1, ONE, 2), bench.HALF: answers(0.05, other, 2)}
    )
    assert [(row["what"], row["ratio"]) for row in rows] == [
        ("joint_b2 beside SpeechBrain 1.1.2", None),
        ("joint_b2", 20.0),
        ("joint_bf16_b2", 40.0),
    ]
    assert all(set(row) >= {"what", "ours", "other", "ratio", "unit"} for row in rows)
    assert "against float32: best texts 0/2 equal, n-best 2/4" in capsys.readouterr().out
    [row] = bench.report("joint_b2", case, {bench.ESPNET: answers(2.0, ONE, 2), bench.OURS: answers(0.1, other, 2)})
    assert row["ratio"] is None and row["why"] == "the n-best differ"
    [row] = bench.report("joint_b2", case, {bench.ESPNET: answers(2.0, ONE, 1), bench.OURS: answers(0.1, ONE, 2)})
    assert row["ratio"] is None and row["why"] == "1 of 2 utterances compared"
    assert "20.00x" not in capsys.readouterr().out.partition("joint_b2: ")[2]


def test_answers_of_all_rounds_are_put_together():
    assert gathered([{"nbest": {"0": ONE}}, {"nbest": {"3": ONE}}]) == {0: ONE, 3: ONE}


def test_the_names_that_others_read_are_there():
    assert {"joint_b1", "joint_b8", "joint_b32", "joint_full_b1", "attention_b8"} <= set(ROWS)
    assert (ROWS["joint_b8"].candidates, ROWS["joint_full_b1"].candidates) == (15, 5000)
    assert (ROWS["joint_full_b1"].units, ROWS["attention_b8"].weight, ROWS["joint_b1"].labels) == (5000, 0.0, 40)


@pytest.mark.parametrize("words", [["nothing"], ["table", "--rounds", "0"], ["table", "--rows", "joint_b9"]])
def test_wrong_words_are_refused(words: list[str], capsys):
    with pytest.raises(SystemExit, match="2"):
        bench.arguments(words)
    said = capsys.readouterr().err
    assert words[-1] in said or "at least 1" in said


def test_without_a_gpu_that_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit, match="no GPU"):
        bench.gpu(bench.arguments(["gpu"]))


def test_panels_change_one_quantity_each():
    usual = case_at("beam", 10, "joint")
    for panel, x, lines in places():
        changed = [name for name, a, b in zip(Case._fields, case_at(panel, x, "joint"), usual, strict=True) if a != b]
        assert set(changed) <= {"beam", "batch", "units", "seconds", "labels"} and len(changed) <= 2
        assert {line.worker for line in lines.values()} >= {"ours", "ours, bf16"}
    assert [len(values) for values in PANELS.values()] == [6, 6, 6, 5]


def test_the_picture_holds_every_line_and_the_command(tmp_path: Path):
    pytest.importorskip("matplotlib", reason="matplotlib belongs to .venv-peers (make peers)")
    points = [Point(panel, name, x, (x, x / 2, x * 2)) for panel, x, lines in places() for name in lines]
    draw(points, [tmp_path / "cost.svg"], title="A title", command="tools/benchmarks/bench_decoding.py plot --rounds 9")
    text = (tmp_path / "cost.svg").read_text(encoding="utf-8")
    assert "tools/benchmarks/bench_decoding.py plot --rounds 9" in text and "A title" in text
    assert all(name in text for name in (*LINES, *PANELS))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["table", "parts"])
def test_all_contestants_run(what: str, checkout: Path, tmp_path: Path):
    python = checkout / ".venv-peers" / "bin" / "python"
    if not python.is_file():
        pytest.skip("needs .venv-peers (make peers)")
    command = [python, "-m", "tools.benchmarks.bench_decoding", what, "--tiny", "--rounds", "1", "--threads", "1"]
    done = subprocess.run(
        [*command, "--json", tmp_path / "rows.json"], cwd=checkout, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row for row in json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))}
    if what == "table":
        assert rows.keys() >= {"joint_b1", "joint_b8", "joint_full_b1", "joint_bf16_b8", "attention_b8"}
    for name, row in rows.items():
        assert row["ratio"] is not None or "beside" in name, row
