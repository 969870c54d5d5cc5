"""`hybrid-asr prepare` of a user's own data: what is written, left out, told, and never stale."""

import json
import os
import resource

import numpy as np
import pytest
import soundfile

from hybrid_asr.cli import main
from hybrid_asr.data.manifest import Manifest


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Stand in a folder with a.wav, b.wav and c.wav of half a second; writes own.csv and prepares it."""
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        soundfile.write(f"{name}.wav", np.full(8000, 0.1), 16000)

    def prepare(*rows: str, options: tuple[str, ...] = (), corpus: str = "table:own.csv") -> int:
        (tmp_path / "own.csv").write_text("\n".join(["path,sentence,split", *rows]) + "\n")
        return main(["prepare", corpus, "--to", "to", *options])

    return prepare


GOOD = ("a.wav,x,train", "b.wav,y,dev", "c.wav,,test")


def test_what_is_left_out_is_in_a_file_that_does_not_outlive_it(own, tmp_path, capsys) -> None:
    bad = ("gone.wav,x,train", "a.wav,,dev")
    assert own(*GOOD, *bad) == 2
    assert "--keep-going" in capsys.readouterr().err and not (tmp_path / "to").exists()
    assert own(*GOOD, *bad, options=("--keep-going",)) == 0
    assert "warning: 2 of 5 lines are left out; rejected.jsonl names all of them" in capsys.readouterr().err
    rejected = [json.loads(line) for line in (tmp_path / "to" / "rejected.jsonl").read_text().splitlines()]
    assert [(one["line"], one["row"]["path"]) for one in rejected] == [(5, "gone.wav"), (6, "a.wav")]
    assert "no such file" in rejected[0]["reason"] and rejected[1]["kind"] == "no transcript"
    assert [one.text for one in Manifest.read(tmp_path / "to" / "test.jsonl")] == [""]
    assert own(*GOOD, options=("--keep-going",)) == 0
    assert sorted(os.listdir(tmp_path / "to")) == ["test.jsonl", "train.jsonl", "valid.jsonl"]


def test_a_missing_set_is_told_with_a_command_that_works_and_an_old_manifest_is_named(own, tmp_path, capsys) -> None:
    assert own(*GOOD) == 0
    assert capsys.readouterr().out.splitlines()[0] == "to/train.jsonl: 1 utterance, 0.00 h, 0 speakers"
    rows = ("a.wav,x,train", "b.wav,y,train", "c.wav,z,test")
    assert own(*rows) == 0
    told = capsys.readouterr().err
    assert "there is no valid, and no valid.jsonl is written; to take it out of train, add --split valid=0.1" in told
    assert "warning: to/valid.jsonl is not of this preparation, perhaps of an earlier one; remove it" in told
    assert own(*rows, options=("--split", "valid=0.1")) == 0
    assert "valid" not in capsys.readouterr().err
    assert [len(Manifest.read(tmp_path / "to" / f"{name}.jsonl")) for name in ("train", "valid", "test")] == [1, 1, 1]


def test_the_same_table_gives_the_same_manifests_from_everywhere(own, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    written = set()
    for table in ("own.csv", "./own.csv", f"{tmp_path}/own.csv", "~/own.csv"):
        assert own(*GOOD, corpus=f"table:{table}") == 0
        written.add((tmp_path / "to" / "train.jsonl").read_text())
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert main(["prepare", "table:../own.csv", "--to", str(tmp_path / "to")]) == 0
    written.add((tmp_path / "to" / "train.jsonl").read_text())
    assert len(written) == 1 and json.loads(written.pop())["id"] == "a"


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        ("own.csv", "own.csv: no such corpus; for a table write table:own.csv"),
        ("kaldi", "kaldi: no such corpus, but a Kaldi data folder; write kaldi:kaldi"),
        ("x_cuts_dev.jsonl.gz", "x_cuts_dev.jsonl.gz: no such corpus, but Lhotse's manifests; write lhotse:x_cuts_dev"),
        ("below", "below: no such corpus; for a folder of tables write table:below"),
        ("an5", "did you mean 'an4'?"),
        ("tabel:own.csv", "did you mean 'table'?"),
    ],
)
def test_what_is_no_corpus_is_told_how_it_is_read(own, tmp_path, capsys, corpus, said) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "kaldi").mkdir()
    (tmp_path / "kaldi" / "wav.scp").touch()
    (tmp_path / "x_cuts_dev.jsonl.gz").touch()
    assert own(*GOOD, corpus=corpus) == 2
    assert said in capsys.readouterr().err


def test_options_of_own_data_do_not_go_with_a_recipe(own, capsys) -> None:
    assert own(*GOOD, corpus="an4", options=("--split", "valid=0.1")) == 2
    assert "an4: a corpus with a recipe is read as the recipe says" in capsys.readouterr().err
    assert own(*GOOD, corpus="kaldi:.", options=("--columns", "text=a")) == 2
    assert "kaldi:.: only tables have columns" in capsys.readouterr().err


def test_a_column_is_chosen_or_passed_over(own, tmp_path, capsys) -> None:
    assert own(*GOOD, options=("--columns", "text=split")) == 0
    assert Manifest.read(tmp_path / "to" / "train.jsonl")[0].text in ("train", "dev", "test")
    assert "passed over: columns sentence" in capsys.readouterr().err
    assert own("a.wav,x,odd", "b.wav,y,odd", "c.wav,z,odd", options=("--ignore-columns", "split")) == 0
    assert "own.csv names no sets; 10 % of the utterances are test" in capsys.readouterr().err


def test_a_manifest_of_another_set_is_named(own, tmp_path, capsys) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "test-clean.jsonl").write_text("{}\n")
    assert own(*GOOD) == 0
    assert "warning: to/test-clean.jsonl is not of this preparation" in capsys.readouterr().err


def test_a_file_where_the_folder_should_be_is_named(own, tmp_path, capsys) -> None:
    (tmp_path / "to").write_text("x")
    assert own(*GOOD) == 2
    assert "--to to: is a file; name a folder" in capsys.readouterr().err


def test_what_no_file_can_hold_is_left_out_by_an_escape(own, tmp_path, capsys) -> None:
    rows = [{"audio": "a.wav", "text": "x"}, {"audio": "b.wav", "text": "y\ud83d"}]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["--to", "to", "--split", "none", "--keep-going"]
    assert main(["prepare", "table:own.jsonl", *options]) == 0
    (rejected,) = (tmp_path / "to" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected)["row"] == rows[1]


def test_a_full_disk_is_named_by_the_folder_and_leaves_nothing(own, tmp_path, capsys) -> None:
    """A limit on the size of files stands for the disk."""
    rows = [f"{tmp_path}/a.wav,words {'of many letters ' * 50},train", *GOOD[1:]]
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "to" / ".prepare-4194305-x").mkdir(parents=True)  # of a process that cannot be
    assert own(*GOOD) == 0 and sorted(os.listdir(tmp_path / "to")) == ["test.jsonl", "train.jsonl", "valid.jsonl"]
    before = (tmp_path / "to" / "train.jsonl").read_bytes()
    capsys.readouterr()
    (tmp_path / "long.csv").write_text("\n".join(["path,sentence,split", *rows]) + "\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (900, former[1]))
    try:
        assert main(["prepare", "table:long.csv", "--to", "to"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    assert "hybrid-asr prepare: to: cannot be written: File too large; name another folder" in capsys.readouterr().err
    assert (tmp_path / "to" / "train.jsonl").read_bytes() == before and len(os.listdir(tmp_path / "to")) == 3
