"""`hybrid-asr ngram`: words of manifests and texts, units of a run, and what it refuses."""

import gzip
import re
from pathlib import Path

import pytest

from hybrid_asr.cli import main
from hybrid_asr.data.manifest import Utterance, write_manifest
from hybrid_asr.text.arpa import read_arpa
from hybrid_asr.text.estimate import arpa, unit_names, witten_bell
from hybrid_asr.text.normalize import normalize
from hybrid_asr.text.tokenizer import BpeTokenizerConfig, CharTokenizerConfig, train_tokenizer

TEXTS = ["Go, go!", "Stop", "On we go"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    rows = [Utterance(id=str(row), audio="x.wav", duration_s=1.0, text=text) for row, text in enumerate(TEXTS)]
    write_manifest(path, rows)
    return path


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_words_of_a_manifest(manifest, tmp_path, order, capsys):
    to = tmp_path / "it.arpa"
    assert main(["ngram", str(manifest), "--rules", "upper@1", "--order", str(order), "--to", str(to)]) == 0
    sentences = [normalize(text, "upper@1").split() for text in TEXTS]
    assert to.read_text() == arpa(*witten_bell(sentences, order), order)
    assert capsys.readouterr().out.startswith(f"{to}: 3 sentences, ")


def test_texts_gzipped_or_not_are_a_manifest_s_transcripts(manifest, tmp_path):
    (tmp_path / "a.txt").write_text("Go, go!\n\nStop\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"On we go\n"))
    (tmp_path / "extra.txt").write_text("never\nsaid\n")
    command = ["ngram", "--words", str(tmp_path / "extra.txt"), "--to"]
    assert main([*command, str(tmp_path / "one.arpa"), str(manifest)]) == 0
    texts = [str(tmp_path / name) for name in ("a.txt", "b.txt.gz")]
    assert main([*command, str(tmp_path / "two.arpa"), *texts]) == 0
    assert main([*command, str(tmp_path / "three.arpa.gz"), *texts]) == 0
    content = (tmp_path / "one.arpa").read_bytes()
    assert (tmp_path / "two.arpa").read_bytes() == content
    assert gzip.decompress((tmp_path / "three.arpa.gz").read_bytes()) == content
    assert read_arpa(tmp_path / "three.arpa.gz").words.keys() > {"never", "said", "go"}


def test_the_units_of_a_run(trained, bundle, tones, tmp_path):
    to = tmp_path / "units.arpa"
    assert main(["ngram", str(tones / "train.jsonl"), "--units", str(trained), "--to", str(to)]) == 0
    model, tokenizer = read_arpa(to), bundle.tokenizer
    names = unit_names(tokenizer)
    assert set(names.values()) <= model.words.keys(), "also units that do not occur"
    assert names.keys() == set(range(tokenizer.vocab_size)) - {tokenizer.blank, tokenizer.sos, tokenizer.eos}
    said, unsaid = ([names[label] for label in tokenizer.encode(text)] for text in ("ab cd", "    "))
    assert model.score(said) / len(said) > -5 and unsaid != said


def test_what_is_not_used_as_it_stands_is_counted_and_named(trained, tmp_path, capsys):
    texts = tmp_path / "texts.txt"
    texts.write_text("bad cafe\n\nfed zoo\n...\n  \nbed \u00e9\n")
    command = ["ngram", str(texts), "--order", "2", "--to", str(tmp_path / "it.arpa"), "--units"]
    assert main([*command, str(trained)]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert [note.partition(": ")[2] for note in notes] == [
        "2 blank lines left out",
        "1 sentence empty by the rules of the text, counted as such",
        f"2 sentences with 'o' (U+006F), 'z' (U+007A), '\u00e9' (U+00E9), "
        f"which {trained} cannot write: counted as <unk>",
    ]
    texts.write_text("bad cafe\nfed\n")
    assert main([*command, str(trained)]) == 0
    assert not capsys.readouterr().err


ODD_TEXTS = {
    "Kaldi's text": ("utt-1 go on\nutt-2 stop\n", "each line begins with an id, such as 'utt-1'.* cut -d' ' -f2-"),
    "trn": ("go on (a)\nstop (b)\n", r"each line ends with an id, such as '\(a\)'"),
    "marked": ("<s> go on </s>\n<s> stop </s>\n", "2 sentences with <s> and </s> around it, which are no words of it"),
    "a count": ("2 go\n2 stop\n", ""),
    "one line": ("utt-1 go\n", ""),
}


@pytest.mark.parametrize(("text", "told"), ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_texts_with_ids_or_marks_are_told(text, told, tmp_path, capsys):
    (tmp_path / "texts").write_text(text)
    assert main(["ngram", str(tmp_path / "texts"), "--to", str(tmp_path / "it.arpa")]) == 0
    said = capsys.readouterr().err
    assert re.search(told, said) if told else not said
    assert "s" not in read_arpa(tmp_path / "it.arpa").words


@pytest.mark.parametrize(("cfg", "odd"), [(CharTokenizerConfig(), "\u2581 "), (BpeTokenizerConfig(size=30), "")])
def test_units_have_different_names_without_spaces(cfg, odd):
    tokenizer = train_tokenizer(cfg, ["the cat sat on the mat", f"a hat and a {odd}<s> bat"] * 9)
    names = unit_names(tokenizer)
    assert len(set(names.values())) == len(names)
    assert all(name.split() == [name] for name in names.values())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["missing.txt"], "missing.txt: there is no such file"),
        (["missing.jsonl"], "missing.jsonl"),
        (["empty.txt"], "empty.txt: holds no text"),
        (["dots.txt"], "dots.txt: holds no text"),
        (["torn.txt.gz"], "torn.txt.gz: is compressed and damaged"),
        (["latin.txt"], "latin.txt: is not UTF-8"),
        (["good.txt", "--order", "0"], "--order 0: must be at least 1"),
        (["good.txt", "--units", "nowhere"], "--units nowhere: no such run"),
        (["good.txt", "--units", "."], "no checkpoint|config.yaml"),
        (["good.txt", "--units", ".", "--rules", "basic@1"], "--rules goes with --units words"),
        (["good.txt", "--rules", "basic@9"], "--rules basic@9: no such rules; there are none@1"),
        (["good.txt", "--words", "missing.txt"], "--words missing.txt: there is no such file"),
    ],
)
def test_what_cannot_be_used_is_named(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("good.txt").write_text("go on\n")
    Path("empty.txt").write_text("")
    Path("dots.txt").write_text("...\n")
    Path("torn.txt.gz").write_bytes(gzip.compress(b"go on\n" * 99)[:-12])
    Path("latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    assert main(["ngram", *words, "--to", "it.arpa"]) == 2
    said = capsys.readouterr().err
    assert any(part in said for part in message.split("|")), said
    assert not Path("it.arpa").exists()


@pytest.mark.parametrize(("rules", "told"), [("basic@2", "3 tags left out: [noise] (2), <unk> (1)"), ("basic@1", None)])
def test_tags_that_the_rules_leave_out_are_counted(rules, told, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("on [noise] we go\n[noise] on <unk>\n")
    assert main(["ngram", str(tmp_path / "a.txt"), "--rules", rules, "--to", str(tmp_path / "a.arpa")]) == 0
    err = capsys.readouterr().err
    assert f"hybrid-asr ngram: {told}\n" in err if told else "left out" not in err
