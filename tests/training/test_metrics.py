"""`metrics.csv` survives interruptions: continued, without what is done again, with columns that come later."""

from hybrid_asr.training.metrics import CsvMetrics, read_metrics


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
