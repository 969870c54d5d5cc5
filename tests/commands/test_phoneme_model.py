"""A phoneme model from its recipe to words: training, validation, decoding, transcription, alignment, page."""

import csv
import json
import shutil

import pytest

from hybrid_asr import load
from hybrid_asr.cli import main
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.run.folder import Run
from tests.test_cli import refused
from tests.tones import lexicon_of, train, words


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory):
    """A run that has learned the tones as phonemes; nobody writes to it."""
    folder = tmp_path_factory.mktemp("phonemes")
    (folder / "lexicon.txt").write_text(lexicon_of(tones, "train", "valid", "test"))
    settings = [
        "presets.tokenizer=phoneme",
        f"tokenizer.lexicon={folder / 'lexicon.txt'}",
        "loss.ctc_weight=1.0",
        "data.plan=1",
    ]
    assert (
        train(tones, folder / "run", "presets.decode=lexicon", *settings, "trainer.epochs=16", "trainer.valid_every=4")
        == 0
    )
    (folder / "lexicon.txt").unlink()  # the model carries it
    return folder / "run"


def test_it_is_validated_by_words(run) -> None:
    with (run / "metrics.csv").open(newline="") as file:
        rates = [float(row["valid.lexicon.wer"]) for row in csv.DictReader(file) if row["valid.lexicon.wer"]]
    assert len(rates) == 4 and rates[-1] < 0.5 and rates[-1] < rates[0]


def test_decoding_gives_words_and_what_gives_phonemes_is_refused(run, tmp_path, capsys) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    assert main(["decode", str(copy), "--decoders", "all"]) == 0
    assert [path.name for path in (copy / "decode" / "test").iterdir()] == ["lexicon"]
    report = json.loads((copy / "decode/test/lexicon/report.json").read_text())
    assert report["wer"] < 0.5 and report["oracle_wer"] <= report["wer"]
    told = refused(capsys, "decode", str(copy), "--decoders", "ctc_greedy")
    assert "'ctc_greedy' writes phonemes, which cannot be scored as words; choose the decoder 'lexicon'" in told
    assert main(["show", "model", str(copy)]) == 0


def test_transcripts_are_words_with_times_and_greedily_phonemes(run, tones) -> None:
    manifest = Manifest.read(tones / "valid.jsonl")
    entry = next(one for one in manifest if len(one.text.split()) > 1)
    [one] = load(run).transcribe([tones / entry.audio])
    assert [word.text for word in one.words] == one.text.split() and set(one.text) <= set("abcdef ")
    spans = [(word.start_s, word.end_s) for word in one.words]
    assert spans == sorted(spans) and all(0 <= begin < end <= entry.duration_s + 0.1 for begin, end in spans)
    [phonemes] = load(run, decoder="ctc_greedy").transcribe([tones / entry.audio])
    assert set(phonemes.text.split()) <= {*"ABCDEF", *(f"{letter}|" for letter in "ABCDEF")}


def test_words_and_phonemes_are_aligned(run, tones) -> None:
    entry = Manifest.read(tones / "valid.jsonl")[0]
    recognizer = load(run)
    aligned = recognizer.align(tones / entry.audio, entry.text)
    assert [word.text for word in aligned.spans] == entry.text.split()
    phonemes = recognizer.align(tones / entry.audio, entry.text, units="labels")
    said = "".join(one.text for one in phonemes.spans).split()
    assert "".join(said) == entry.text.replace(" ", "|").upper() + "|" and len(said) == len(entry.text.replace(" ", ""))
    with pytest.raises(ValueError, match=r"the model cannot write 'xyz'; its lexicon lacks them"):
        recognizer.align(tones / entry.audio, "xyz")


def test_the_page_is_made(run, tmp_path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    assert main(["decode", str(copy)]) == 0
    assert "lexicon" in (copy / "report.html").read_text()


def test_words_that_the_lexicon_lacks_are_refused_before_training(tones, tmp_path, capsys) -> None:
    said = [word for one in Manifest.read(tones / "train.jsonl") for word in one.text.split()]
    path = tmp_path / "lexicon.txt"
    path.write_text("".join(line for line in lexicon_of(tones, "train").splitlines(True) if line.split()[0] != said[0]))
    settings = [
        "presets.tokenizer=phoneme",
        f"tokenizer.lexicon={path}",
        "loss.ctc_weight=1.0",
    ]
    told = refused(capsys, *words(tones, tmp_path / "run", *settings))
    assert "the tokenizer lacks 1 word" in told and f"'{said[0]}'" in told and "tokenizer.lexicon" in told
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_the_recipe_s_own_settings_hold(run) -> None:
    cfg = Run(run).read_config()
    assert cfg.decode.kind == "lexicon" and cfg.tokenizer.kind == "phoneme"
