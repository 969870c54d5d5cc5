"""`metrics.csv` survives interruptions: continued, without what is done again, with columns that come later."""

import pytest

from hybrid_asr.training.csv_metrics import CsvMetrics
from hybrid_asr.training.metrics import MetricsError, read_metrics


def written(path, *rows, after=0) -> CsvMetrics:
    metrics = CsvMetrics(path)
    metrics.continue_from(after)
    for step, row in rows:
        metrics.log_metrics(row, step=step)
    return metrics


def test_rows_are_appended_with_all_their_digits(tmp_path):
    path = tmp_path / "metrics.csv"
    written(path, (1, {"epoch": 1, "loss": 1 / 3}), (2, {"epoch": 1, "loss": 1e-30}))
    assert [row["step"] for row in read_metrics(path)] == ["1", "2"]
    assert [float(row["loss"]) for row in read_metrics(path)] == [1 / 3, 1e-30]


def test_a_new_column_is_empty_in_the_rows_before(tmp_path):
    path = tmp_path / "metrics.csv"
    written(path, (1, {"epoch": 1, "loss": 2.0}), (2, {"epoch": 1, "wer": 0.5}), (3, {"epoch": 2, "loss": 1.0}))
    assert path.read_text() == "step,epoch,loss,wer\n1,1,2.0,\n2,1,,0.5\n3,2,1.0,\n"


def test_what_lies_behind_the_step_is_forgotten(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [(step, {"epoch": 1, "loss": float(step)}) for step in range(1, 13)]
    written(path, *rows, (12, {"epoch": 1, "wer": 0.25}))
    whole = path.read_bytes()
    written(path, after=9)
    assert [row["step"] for row in read_metrics(path)] == [str(step) for step in range(1, 10)]
    written(path, *rows[9:], (12, {"epoch": 1, "wer": 0.25}), after=9)
    assert path.read_bytes() == whole


def test_a_torn_last_row_is_no_row(tmp_path):
    """A crash after the 1 of step 12 must not leave a second row of step 1."""
    path = tmp_path / "metrics.csv"
    written(path, (1, {"epoch": 1, "loss": 2.0}), (11, {"epoch": 1, "loss": 1.0}))
    path.write_text(path.read_text() + "1")
    written(path, after=11)
    assert [row["step"] for row in read_metrics(path)] == ["1", "11"]


def test_a_training_from_the_start_forgets_all(tmp_path):
    path = tmp_path / "metrics.csv"
    written(path, (1, {"epoch": 1, "loss": 2.0}))
    written(path, after=0)
    assert read_metrics(path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "metrics.csv: is empty"),
        (b"step,loss\n1,2\n\xff,1\n", "metrics.csv:3: is not UTF-8"),
        (b"epoch,loss\n1,2\n", "metrics.csv:1: the columns are epoch, loss, without 'step'"),
        (b"step,loss,loss\n1,2,3\n", "metrics.csv:1: .* one of them twice"),
        (b"step,loss\n1,2\n2\n3,1\n", "metrics.csv:3: 1 values in a row, the header has 2"),
        (b"step,loss\n1,2\n2,one\n3,1\n", "metrics.csv:3: 'one' in the column 'loss' is no number"),
        (b"step,loss\n1,2\n2.5,1\n3,1\n", "metrics.csv:3: the step '2.5' is no whole number"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(content, message, tmp_path):
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(MetricsError, match=message):
        read_metrics(tmp_path / "metrics.csv")


def test_a_last_row_that_a_crash_has_torn_is_passed_over(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss\n1,2.0\n2")
    assert read_metrics(tmp_path / "metrics.csv") == [{"step": "1", "loss": "2.0"}]
