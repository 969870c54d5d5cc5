"""Decodings on a run's page: which weights and which utterances they are of, and what is compared."""

import json
import shutil

import pytest
import soundfile

from hybrid_asr.cli import main
from hybrid_asr.pages.decodings import Decoding, choose, find_decodings, lowest
from hybrid_asr.run.folder import Run
from tests.pages.reading import read


@pytest.fixture(scope="module")
def compared(decoded, tmp_path_factory):
    """The decoded run, the test set by other checkpoints, too, and another set of the same name."""
    folder = tmp_path_factory.mktemp("compared")
    run = folder / "run"
    shutil.copytree(decoded, run)
    last = str(run / "checkpoints/last.ckpt")
    for checkpoint in ("last", last):
        assert main(["decode", str(run), "--decoders", "ctc_greedy", "--checkpoint", checkpoint]) == 0
    source = Run(run).read_config().data
    entry = json.loads((folder / source.root / source.test[0]).read_text().splitlines()[0])
    audio = soundfile.read(folder / source.root / entry["audio"])
    soundfile.write(folder / "other.wav", *audio)
    other = {"id": "elsewhere", "audio": "other.wav", "duration_s": entry["duration_s"], "text": entry["text"]}
    (folder / "test.jsonl").write_text(json.dumps(other) + "\n")
    assert main(["decode", str(run), f"data.test=[{folder}/test.jsonl]", "--decoders", "ctc_greedy,joint"]) == 0
    return run


@pytest.fixture(scope="module")
def rows(compared):
    run = Run(compared)
    return [row for row in find_decodings(run, run.read_config()) if isinstance(row, Decoding)]


def test_each_row_names_its_checkpoint_and_its_set(rows, compared):
    of_test = {(row.decoder.partition("-")[0], row.checkpoint, row.other_set) for row in rows if row.set_name == "test"}
    other, last = compared.parent / "test.jsonl", str(compared / "checkpoints/last.ckpt")
    assert of_test == {
        *((name, "average", None) for name in ("ctc_greedy", "attention", "joint")),
        *(("ctc_greedy", checkpoint, None) for checkpoint in ("last", last)),
        *((name, "average", other) for name in ("ctc_greedy", "joint")),
    }
    assert rows[-1].group == f"test ({other})", "sets that are not the run's own come last"


def test_other_weights_and_other_utterances_are_not_compared(rows):
    """Here all rates of the other set are 0 or 100 %, below or above those of the run's own."""
    winners = lowest(rows)
    for row in rows:
        same = (row.set_name, row.other_set, row.weights)
        rates = [
            other.report.scores.wer.value for other in rows if (other.set_name, other.other_set, other.weights) == same
        ]
        assert (row in winners) == (len(rates) > 1 and row.report.scores.wer.value == min(rates))
    groups = {(row.group, row.weights) for row in winners}
    assert {group for group, _ in groups} == {"test", "valid", rows[-1].group}
    averaged = next(row.weights for row in rows if row.checkpoint == "average")
    assert ("test", averaged) in groups
    by_file = [row for row in rows if row.checkpoint and row.checkpoint.endswith("last.ckpt")]
    [by_name] = [row for row in rows if row.checkpoint == "last"]
    assert all(row.comparable(by_name) for row in by_file), "a file holds the same weights as its name"


def test_the_page_shows_them_and_is_of_the_averaged_weights_and_the_own_set(compared, rows):
    run = Run(compared)
    chosen = choose(rows, run.read_config())
    assert (chosen.decoder, chosen.checkpoint, chosen.other_set) == ("joint", "average", None)
    page = read(compared)
    table = page.sections["decoders"]
    assert "lowest WER" in table and "are not compared" in table
    heads = [cells[0].removesuffix(" lowest WER") for cells in page.cells if cells]
    assert {"ctc_greedy average", "joint average"} <= {*heads}
    assert all(any(head.endswith(f" {name}") for head in heads) for name in ("last", "last.ckpt"))
    assert f"test ({compared.parent}/test.jsonl)" in table
    assert "The model has changed" not in page.sections["attention"]


def test_show_run_names_checkpoints_and_what_cannot_be_read(copy, capsys):
    (copy / "decode/test/joint/report.json").write_text("{")
    (copy / "decode/test/attention/report.json").unlink()
    capsys.readouterr()
    assert main(["show", "run", str(copy)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "decoded: decode/test/ctc_greedy, checkpoint average" in shown
    assert any(line.startswith("passed over: decode/test/joint: report.json is damaged (line 1") for line in shown)
    assert "passed over: decode/test/attention: no report.json, this decoding has not ended" in shown


@pytest.mark.parametrize("checkpoint", ["last", "file"])
def test_a_model_that_has_not_changed_is_not_said_to_have(trained, tmp_path, checkpoint):
    run = shutil.copytree(trained, tmp_path / "run")
    name = str(run / "checkpoints/last.ckpt") if checkpoint == "file" else checkpoint
    assert main(["decode", str(run), "--checkpoint", name, "--decoders", "joint"]) == 0
    page = read(run)
    assert "The model has changed" not in page.sections["attention"] and page.json["pictures"]
    report = next(run.glob("decode/test/*/report.json"))
    content = json.loads(report.read_text())
    del content["source"]  # as a former version wrote it
    report.write_text(json.dumps(content))
    assert main(["decode", str(run), "--checkpoint", name, "--decoders", "ctc_greedy"]) == 0
    assert "The model has changed" not in read(run).sections["attention"]


def test_a_set_that_the_run_does_not_know_has_its_pictures(trained, tones, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    lines = (tones / "test.jsonl").read_text().splitlines()[:3]
    entries = [json.loads(line) for line in lines]
    written = [entry | {"audio": str(tones / entry["audio"]), "id": f"new-{entry['id']}"} for entry in entries]
    (tmp_path / "fresh.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in written))
    assert main(["decode", str(run), "--sets", "fresh", f"data.test=[{tmp_path}/fresh.jsonl]"]) == 0
    page = read(run)
    assert {one["id"] for one in page.json["pictures"]} <= {entry["id"] for entry in written}
    assert f"fresh ({tmp_path}/fresh.jsonl)" in page.sections["attention"]
