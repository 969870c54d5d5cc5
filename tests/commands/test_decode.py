"""`hybrid-asr decode` with several decoders and sweeps: one table, files that last, failures that are told."""

import json
import shutil

import numpy as np
import pytest
import soundfile

from hybrid_asr.cli import main
from hybrid_asr.config.locate import presets
from tests.test_cli import refused, snapshot

SERVED = [name for name in presets("decode") if name != "lexicon"]  # which needs to be told the words


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture(scope="module")
def swept(trained, tmp_path_factory):
    """A run decoded by all decoders, with a sweep; nobody writes to it."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("swept") / "run")
    command = ["decode", str(run), "--decoders", "all", "--sweep", "decode.ctc_weight=0,0.5,1"]
    assert main(command) == 0
    return run


def report(run, name: str) -> dict:
    return json.loads((run / "decode" / name / "report.json").read_text())


def test_in_utterances_without_words_every_written_word_is_an_insertion(run, tones, tmp_path):
    """A test set may hold recordings in which nothing is said, to see what a model makes of them."""
    lines = [json.loads(line) for line in (tones / "test.jsonl").read_text().splitlines()]
    silent = {line["id"] for line in lines[:3]}
    for line in lines:
        line |= {"audio": str(tones / line["audio"])} | ({"text": ""} if line["id"] in silent else {})
    (tmp_path / "silent.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["decode", str(run), "--decoders", "ctc_greedy,joint", f"data.test=[{tmp_path}/silent.jsonl]"]) == 0
    for place in (run / "decode" / "silent").iterdir():
        rows = [json.loads(line) for line in (place / "hypotheses.jsonl").read_text().splitlines()]
        written = sum(len(row["text"].split()) for row in rows if row["id"] in silent)
        found = json.loads((place / "report.json").read_text())
        assert [row["reference"] for row in rows if row["id"] in silent] == ["", "", ""]
        assert written >= 3 and written <= found["insertions"]
        words = sum(len(line["text"].split()) for line in lines)
        assert found["wer"] == pytest.approx(
            (found["substitutions"] + found["deletions"] + found["insertions"]) / words
        )


def test_all_is_every_preset_in_one_table(swept, capsys):
    capsys.readouterr()
    assert main(["decode", str(swept), "--decoders", "all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: line for line in lines if line.startswith("test/")}
    assert list(table) == [f"test/{name}" for name in SERVED]
    assert max(map(len, lines)) <= 160
    for name, line in table.items():
        found = report(swept, name)
        cells = line.replace("–", " ").split()[1:]
        leading = {rate: found[f"{rate}_ci95_speakers"] or found[f"{rate}_ci95"] for rate in ("wer", "cer", "ser")}
        expected = [100 * value for rate, ends in leading.items() for value in (found[rate], *ends)]
        assert [float(cell) for cell in cells[:9]] == pytest.approx(expected, abs=0.06)
        assert [int(cell) for cell in cells[9:12]] == [
            found[one] for one in ("substitutions", "deletions", "insertions")
        ]
        assert float(cells[12]) == pytest.approx(100 * found["oracle_wer"], abs=0.006)


def test_an_n_best_lies_beside_the_best(swept):
    for name in SERVED:
        found = report(swept, f"test/{name}")
        rows = [json.loads(line) for line in (swept / f"decode/test/{name}/hypotheses.jsonl").read_text().splitlines()]
        assert found["oracle_wer"] <= found["wer"]
        for row in rows:
            several = row.get("nbest", [])
            assert len(several) <= found["nbest"]
            if several:
                assert (several[0]["text"], several[0]["score"]) == (row["text"], row["score"])
                assert {"text", "score", "parts"} == set(several[0])
    assert any(len(row.get("nbest", [])) > 1 for row in rows)
    assert report(swept, "test/joint")["search_errors"] is not None


def test_what_all_has_decoded_serves_its_decoders_by_name(swept):
    before = snapshot(swept / "decode")
    assert main(["decode", str(swept), "--decoders", "joint,ctc_greedy"]) == 0
    assert main(["decode", str(swept)]) == 0
    assert snapshot(swept / "decode") == before


def test_more_texts_than_there_are_need_another_decoding(run):
    assert main(["decode", str(run)]) == 0
    before = snapshot(run / "decode")
    assert main(["decode", str(run), "--search-errors", "on"]) == 0
    between = snapshot(run / "decode")
    assert set(before) == set(between) and not set(before.items()) & set(between.items())
    assert report(run, "test/joint")["search_errors"] is not None


def test_a_sweep_takes_the_best_value_of_the_validation_set_once(swept, capsys):
    names = {path.name for path in (swept / "decode/valid").iterdir()}
    assert names == {"sweep-joint-ctc_weight.json", "sweep-rescoring-ctc_weight.json"}, "one of each kind of decoder"
    found = json.loads((swept / "decode/valid/sweep-joint-ctc_weight.json").read_text())
    assert [row["value"] for row in found["rows"]] == [0, 0.5, 1]
    own = report(swept, "test/joint")["decoder"]["ctc_weight"]
    best = min(found["rows"], key=lambda row: (row["wer"], abs(row["value"] - own), row["value"]))["value"]
    assert (found["purpose"], found["best"]) == ("selection", best)
    label = found["applied"]["test"]
    assert report(swept, f"test/{label}")["decoder"]["ctc_weight"] == best
    other = json.loads((swept / "decode/valid/sweep-rescoring-ctc_weight.json").read_text())["applied"]["test"]
    places = {place.name for place in (swept / "decode/test").iterdir()}
    assert places == {*SERVED, label, other}, "no other value has seen the test set"


def test_each_value_of_a_sweep_is_a_decoding_of_its_own(swept, tmp_path):
    """What a sweep measures is what decoding with that value gives."""
    run = shutil.copytree(swept, tmp_path / "run")
    assert main(["decode", str(run), "--sets", "valid", "--decoders", "joint", "decode.ctc_weight=1.0"]) == 0
    [place] = [path for path in (run / "decode/valid").iterdir() if path.is_dir()]
    alone = json.loads((place / "report.json").read_text())
    rows = json.loads((run / "decode/valid/sweep-joint-ctc_weight.json").read_text())["rows"]
    assert {name: rows[2][name] for name in ("wer", "wer_ci95", "cer", "ser", "cut", "empty", "looping")} == {
        name: alone[name] for name in ("wer", "wer_ci95", "cer", "ser", "cut", "empty", "looping")
    }


def test_a_sweep_is_not_done_again_and_grows_by_what_is_new(swept, tmp_path, capsys):
    run = shutil.copytree(swept, tmp_path / "run")
    path = run / "decode/valid/sweep-joint-ctc_weight.json"
    before = json.loads(path.read_text())["rows"]
    command = ["decode", str(run), "--decoders", "joint", "--sweep", "decode.ctc_weight=0,0.25,0.5,1"]
    assert main(command) == 0
    after = {row["value"]: row for row in json.loads(path.read_text())["rows"]}
    assert list(after) == [0, 0.25, 0.5, 1]
    assert [after[row["value"]] for row in before] == before, "seconds and all: nothing was done again"


def test_a_sweep_over_the_test_set_is_marked_and_chooses_nothing(run, capsys):
    capsys.readouterr()
    command = ["decode", str(run), "--decoders", "joint", "--sweep", "decode.ctc_weight=0,1", "--sweep-on", "test"]
    assert main(command) == 0
    assert "NOT FOR SELECTION" in capsys.readouterr().out
    found = json.loads((run / "decode/test/sweep-joint-ctc_weight.json").read_text())
    assert (found["purpose"], found["applied"]) == ("not for selection", {})
    assert {path.name for path in (run / "decode/test").iterdir() if path.is_dir()} == {"joint"}
    assert "not for selection" in (run / "report.html").read_text()


MISTAKES = [
    (["--decoders", "jont"], "--decoders jont: there is no such decoder; did you mean 'joint'"),
    (["--sweep", "decode.ctc_weight=0:2:0.5"], "decode.ctc_weight: Input should be less than or equal to 1"),
    (["--sweep", "decode.beam=0,1"], "decode.beam: Input should be greater than 0"),
    (["--sweep", "decode.bem=1,2"], "--sweep decode.bem: joint has no numeric setting 'bem'; it has beam"),
    (["--sweep", "decode.kind=1,2"], "--sweep decode.kind: joint has no numeric setting 'kind'"),
    (["--decoders", "ctc_greedy", "--sweep", "decode.beam=1,2"], "it has none, choose another decoder"),
    (["--sweep", "ctc_weight=0:1:0.1"], "write decode.KEY=FIRST:LAST:STEP"),
    (["--sweep", "decode.beam=1", "--sweep-on", "tset"], "tset: the run has no such set"),
    (["--decoders", "all", "decode.bem=1"], "decode.bem: unknown key"),
    (["decode.beam=1000000000000"], "decode.beam: Input should be less than or equal to 10000"),
    (["decode.ctc_weight=-0.1"], "decode.ctc_weight: Input should be greater than or equal to 0"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[" ".join(one) for one, _ in MISTAKES])
def test_mistakes_are_named_and_leave_nothing(trained, capsys, words, message):
    before = snapshot(trained)
    assert message in refused(capsys, "decode", trained, *words)
    assert snapshot(trained) == before


def test_an_utterance_that_fails_is_named_and_the_rates_are_of_the_rest(run, tones, tmp_path, capsys):
    """Until it is mended: then all is decoded again."""
    data = shutil.copytree(tones, tmp_path / "data")
    good = (data / "test/03.wav").read_bytes()
    soundfile.write(data / "test/03.wav", np.full(8000, np.nan, np.float32), 8000, subtype="FLOAT")
    command = ["decode", str(run), "--decoders", "ctc_greedy,joint", f"data.root={data}"]
    capsys.readouterr()
    for _ in range(2):
        assert main(command) == 2
        told = capsys.readouterr()
        assert "1 utterance could not be decoded; all rates are of the rest" in told.err
        assert "test: utterance 'test-03': " in told.err and "[ctc_greedy, joint]" in told.err
        for name in ("ctc_greedy", "joint"):
            found = report(run, f"test/{name}")
            assert (found["utterances"], [one["id"] for one in found["failed"]]) == (7, ["test-03"])
            assert f"test/{name} " in told.out
            assert "1 of 8 utterances could not be decoded" in (run / f"decode/test/{name}/report.txt").read_text()
    assert "1 of 8 not decoded" in (run / "report.html").read_text()
    (data / "test/03.wav").write_bytes(good)
    assert main(command) == 0
    assert (report(run, "test/joint")["utterances"], report(run, "test/joint")["failed"]) == (8, [])


def test_where_nothing_can_be_decoded_there_is_no_report(run, tones, tmp_path, capsys):
    data = shutil.copytree(tones, tmp_path / "data")
    for path in (data / "test").iterdir():
        path.write_bytes(b"no sound")
    assert main(["decode", str(run), "--decoders", "ctc_greedy", f"data.root={data}"]) == 2
    told = capsys.readouterr()
    assert "8 utterances could not be decoded" in told.err
    assert not list(run.glob("decode/test/*/report.json"))
