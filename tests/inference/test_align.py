"""A known text is aligned with its audio, of any length, and written in three formats."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr import load
from hybrid_asr.cli import main
from hybrid_asr.common.errors import UserError
from hybrid_asr.inference.align import Aligned, format_alignment
from hybrid_asr.inference.words import Word
from hybrid_asr.recognizer import Recognizer
from tests.tones import LETTER_S, RATE, sound

TEXT = "bad cafe fed a be dad"


@pytest.fixture(scope="module")
def recognizer(trained) -> Recognizer:
    return load(trained)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("spoken") / "the file.wav"
    soundfile.write(path, sound(TEXT, np.random.default_rng(6)), RATE)
    return path


def test_words_and_labels_stand_where_they_were_said(recognizer: Recognizer, spoken: Path):
    for units, texts in (("words", TEXT.split()), ("labels", list(TEXT))):
        aligned = recognizer.align(spoken, "BAD, cafe:  fed a be dad!", units=units)
        assert [one.text for one in aligned.spans] == texts, "spelled by the model's rules"
        assert aligned.text == TEXT
        assert aligned.score < 0
        assert all(0 < one.confidence <= 1 for one in aligned.spans)
        times = [time for one in aligned.spans for time in (one.start_s, one.end_s)]
        assert times == sorted(times)
        place = 0
        for one in aligned.spans:
            place = TEXT.index(one.text, place)
            assert place * LETTER_S - 0.1 <= one.start_s <= (place + 1) * LETTER_S + 0.1
            place += len(one.text)


def test_audio_in_pieces_is_aligned_alike(recognizer: Recognizer, spoken: Path, monkeypatch):
    once = recognizer.align(spoken, TEXT, units="labels")
    monkeypatch.setattr("hybrid_asr.inference.align.log_probs_in_pieces", _in_small_pieces)
    found = recognizer.align(spoken, TEXT, units="labels")
    assert [one.text for one in found.spans] == [one.text for one in once.spans]
    assert np.allclose([one.start_s for one in found.spans], [one.start_s for one in once.spans], atol=0.081)


def _in_small_pieces(bundle, samples, device):
    from hybrid_asr.inference.long_form import log_probs_in_pieces

    return log_probs_in_pieces(bundle, samples, device, piece_s=1.0, context_s=0.5)


def test_the_command_line_says_the_same(trained, recognizer: Recognizer, spoken: Path, tmp_path: Path, capsys):
    capsys.readouterr()
    (tmp_path / "text.txt").write_text("bad cafe\nfed a be\n\ndad\n")
    for words in (["--text", TEXT], ["--text-file", str(tmp_path / "text.txt")]):
        assert main(["align", str(trained), str(spoken), *words]) == 0
        assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(recognizer.align(spoken, TEXT).to_json()))
    assert main(["align", str(trained), str(spoken), "--text", TEXT, "--units", "labels", "--format", "ctm"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {tuple(row[:2]) for row in rows} == {("the_file", "1")}
    assert [row[4] for row in rows] == [one if one.strip() else "<space>" for one in TEXT]
    assert all(len(row) == 6 for row in rows)


def test_a_textgrid_has_no_gaps():
    spans = (Word('say "a"', 0.4, 0.8, 0.5), Word("b", 0.8, 1.0, 1.0))
    grid = format_alignment(Aligned("x.wav", "", 0.0, 1.5, "words", spans), "textgrid")
    times = [(float(low), float(high)) for low, high in re.findall(r"\n {12}xmin = (\S+)\n +xmax = (\S+)", grid)]
    assert times == [(0.0, 0.4), (0.4, 0.8), (0.8, 1.0), (1.0, 1.5)]
    assert re.findall(r"text = (.*)", grid) == ['""', '"say ""a"""', '"b"', '""']
    assert "intervals: size = 4" in grid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text to align is empty"),
        ("?!", "the text to align is empty"),
        ("bad zoo ß", r"the file.wav: the model cannot write 'o' \(U\+006F\), 'z' \(U\+007A\), 'ß' \(U\+00DF\); spell"),
        ("abcdef " * 40, r"the text needs 2\d\d frames \(2\d\d labels, .*\), the audio has \d\d; is it the text of"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(recognizer: Recognizer, spoken: Path, text: str, message: str):
    with pytest.raises(UserError, match=message):
        recognizer.align(spoken, text)


def test_what_is_no_text_and_no_sound_is_refused(
    trained, recognizer, spoken: Path, tmp_path: Path, capsys, monkeypatch
):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    for file, message in (("gone.txt", "gone.txt: "), ("latin.txt", "latin.txt: not UTF-8 at byte 3")):
        assert main(["align", str(trained), str(spoken), "--text-file", str(tmp_path / file)]) == 2
        assert message in capsys.readouterr().err
    soundfile.write(tmp_path / "click.wav", np.full(80, 0.1, np.float32), RATE)
    with pytest.raises(UserError, match=r"click.wav: 0\.010 s of audio are too short"):
        recognizer.align(tmp_path / "click.wav", "a")
    monkeypatch.setattr(recognizer.bundle.model, "ctc", None)
    with pytest.raises(UserError, match="no CTC head"):
        recognizer.align(spoken, TEXT)
