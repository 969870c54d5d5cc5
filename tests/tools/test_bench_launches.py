"""The benchmark of launches: what it prints, and what it keeps."""

import json
from pathlib import Path

from tools.benchmarks import bench_launches as bench


def test_launches_and_reads_of_a_step_are_printed_and_kept(tmp_path: Path, capsys):
    assert bench.main(["--only", "ctc_b8", "--json", str(tmp_path / "rows.json")]) == 0
    launches, reads = json.loads((tmp_path / "rows.json").read_text())
    assert {row["what"] for row in (launches, reads)} == {"ctc_b8"}
    assert launches["ours"] == sum(launches["operations"].values()) > 40
    assert (reads["ours"], reads["places"]) == (0.25, {"tolist at decoding/joint.py:_unfinished": 0.25})
    assert "logcumsumexp 2," in capsys.readouterr().out
