"""`hybrid-asr show attention`: what it draws, of which text, and how it refuses what it cannot."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hybrid_asr.cli import main
from hybrid_asr.commands.show_attention import from_alignment
from hybrid_asr.models.bundle import Bundle
from tests.tones import RATE

UTTERANCE = "test-00"


def texts(path: Path) -> list[str]:
    return ["".join(one.itertext()) for one in ET.parse(path).getroot().iter() if one.tag.endswith("}text")]


def drawn(capsys, run: Path, item: str | Path, *words: str) -> tuple[Path, str, str]:
    """The file that the command names, the title in it, and the line below."""
    capsys.readouterr()
    assert main(["show", "attention", str(run), str(item), *words]) == 0
    path = Path(capsys.readouterr().out.strip())
    title, below, *_ = [text for text in texts(path) if " · " in text or " s; " in text]
    return path, title, below


def refused(capsys, *words: str | Path) -> str:
    capsys.readouterr()
    assert main(["show", "attention", *map(str, words)]) == 2
    told = capsys.readouterr()
    assert not told.out and "Traceback" not in told.err
    return told.err


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Pictures without --to go where the user stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reference(tones) -> str:
    return json.loads((tones / "test.jsonl").read_text().splitlines()[0])["text"]


def test_the_text_is_the_decoders_the_references_or_the_one_that_is_given(trained, reference, capsys):
    _, title, below = drawn(capsys, trained, UTTERANCE, "--to", "a.svg")
    assert "Decoder cross-attention · layer 1, head " in title and "nearest to the CTC alignment" in title
    written = re.fullmatch(
        rf"{UTTERANCE}, \d\.\d\d s; text by the run's decoder \(joint\): (.*); reference: (.*)", below
    )
    assert written and written[2] == ("the same" if written[1] == reference else reference)
    *_, below = drawn(capsys, trained, UTTERANCE, "--reference", "--to", "b.svg")
    assert below.endswith(f"; the reference: {reference}")
    path, title, below = drawn(capsys, trained, UTTERANCE, "--text", "fed a bad", "--head", "2", "--to", "c.svg")
    assert title.endswith("layer 1, head 2") and "text as it was given: fed a bad" in below
    shown = texts(path)
    first = shown.index("Decoder cross-attention: layer 1, head 2")
    labels = [text for text in shown[:first] if text in {*"fedab", "␣", "⟨end⟩"}]
    assert labels[-10:] == [*"fed␣a␣bad", "⟨end⟩"], "characters on the axis, in their order"


@pytest.mark.parametrize(("of", "title"), [("encoder", "Encoder self-attention"), ("labels", "over the labels")])
def test_other_kinds_of_attention(trained, capsys, of, title):
    path, told, _ = drawn(capsys, trained, UTTERANCE, "--of", of, "--layer", "1", "--head", "1", "--to", "a.svg")
    assert title in told and told.endswith("layer 1, head 1")
    assert [text for text in texts(path) if re.fullmatch(r"layer \d, head \d", text)] == [
        "layer 1, head 1",
        "layer 1, head 2",
    ]


def test_a_sound_file_and_a_model_file_do_too_and_the_picture_has_a_name(trained, tones, here, capsys):
    capsys.readouterr()
    assert main(["show", "attention", str(trained / "model.pt"), str(tones / "test/00.wav")]) == 0
    assert capsys.readouterr().out == "attention-00-decoder.png\n"
    assert (here / "attention-00-decoder.png").read_bytes().startswith(b"\x89PNG")


def test_the_head_that_is_chosen_is_the_nearest_to_the_alignment(bundle, trained, tones, capsys):
    from hybrid_asr.attention.utterance_view import view_attention, view_utterance
    from hybrid_asr.audio.io import read
    from hybrid_asr.pages.attention_heat_map import head_weights

    *_, title, below = drawn(capsys, trained, tones / "test/00.wav", "--to", "a.svg")
    one = view_utterance(
        bundle, read(tones / "test/00.wav", rate=RATE), bundle.tokenizer.encode(below.split(": ", 1)[1])
    )
    heads = head_weights(view_attention(bundle, one, "decoder"), frames=one.frames)
    far = {}
    for place, weights in heads.items():
        rows = [
            sum(w * abs(t - (span.start + span.end - 1) / 2) for t, w in enumerate(row.tolist()))
            for row, span in zip(weights, one.alignment.spans, strict=False)
        ]
        far[place] = sum(rows) / len(rows)
        assert from_alignment(one, weights) == pytest.approx(far[place], rel=1e-4)
    assert f"{min(far, key=far.__getitem__)} (the nearest" in title


MISTAKES = [
    (["test-0"], "test-0: no file, and no utterance of the run's sets; did you mean test-0"),
    (["gone.wav"], "gone.wav: no such file, and no utterance of the run's sets; ids look like"),
    (["."], ".: a folder; name one audio file in it"),
    ([], "show attention takes one utterance or audio file"),
    ([""], "an empty name: give an utterance of the run's sets or an audio file"),
    ([UTTERANCE, "--layer", "2"], "--layer 2: there are layers 1 to 1"),
    ([UTTERANCE, "--layer", "0"], "--layer 0: there are layers 1 to 1"),
    ([UTTERANCE, "--head", "3"], "--head 3: there are heads 1 to 2"),
    ([UTTERANCE, "--of", "encoder", "--layer", "-1"], "--layer -1: there are layers 1 to 1"),
    ([UTTERANCE, "--text", ""], "--text: empty, once it is spelled by"),
    ([UTTERANCE, "--text", "bad zoo"], "the model cannot write 'o' (U+006F), 'z' (U+007A); spell the text without"),
    ([UTTERANCE, "--text", "abc" * 300], "--text: 900 labels, at most 600 can be drawn"),
    ([UTTERANCE, "--to", "picture.pdf"], "--to picture.pdf: a picture ends in .png or .svg"),
    ([UTTERANCE, "--to", "picture"], "--to picture: a picture ends in .png or .svg"),
    ([UTTERANCE, "--to", "/dev/null/picture.png"], "/dev/null"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[" ".join(one)[:40] for one, _ in MISTAKES])
def test_mistakes_are_named_and_leave_nothing(trained, here, capsys, words, message):
    assert message in refused(capsys, trained, *words)
    assert not list(here.iterdir())


def test_an_hour_is_refused_with_the_remedy_and_so_is_a_click(trained, tones, here, capsys):
    soundfile.write(here / "hour.flac", np.zeros(3600 * RATE, np.int16), RATE)
    told = refused(capsys, trained, "hour.flac")
    assert "hour.flac: 3600.0 s are too long" in told and "ffmpeg -ss 0 -t 20 -i hour.flac piece.wav" in told
    soundfile.write(here / "click.wav", np.zeros(RATE // 40), RATE)
    told = refused(capsys, trained, "click.wav")
    assert re.search(r"click.wav: 0.025 s are too short for one frame of the encoder, which takes 0\.\d+ s; give", told)
    assert "an audio file has no reference" in refused(capsys, trained, tones / "test/00.wav", "--reference")
    assert "knows no sets" in refused(capsys, trained / "model.pt", UTTERANCE)


def test_sets_that_are_gone_are_named(trained, tmp_path, capsys):
    run = shutil.copytree(trained, tmp_path / "run")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("test.jsonl", "gone.jsonl"))
    told = refused(capsys, run, "nothing-like-it")
    assert "gone.jsonl: there is no such manifest" in told and "ids look like valid-00" in told


def test_attention_of_a_model_that_has_none_tells_what_there_is(bundle, tones, here, capsys):
    config = {**bundle.config, "loss": {**bundle.config["loss"], "ctc_weight": 1.0}}
    torch.manual_seed(0)
    Bundle.build(config, bundle.tokenizer, 1.0).save(here / "ctc.pt")
    for words in ([], ["--of", "decoder"]):
        told = refused(capsys, "ctc.pt", tones / "test/00.wav", *words)
        assert "no attention decoder (loss.ctc_weight: 1); it has --of encoder (encoder self-attention)" in told
    assert "no decoder with self-attention" in refused(capsys, "ctc.pt", tones / "test/00.wav", "--of", "labels")
    drawn(capsys, Path("ctc.pt"), tones / "test/00.wav", "--of", "encoder", "--text", "bad", "--to", "a.svg")


@pytest.mark.parametrize("option", [["--of", "encoder"], ["--layer", "1"], ["--reference"], ["--text", "a"]])
def test_what_else_is_shown_takes_no_such_options(trained, capsys, option):
    assert main(["show", "run", str(trained), *option]) == 2
    assert f"show run takes no {option[0]}; it goes with 'show attention'" in capsys.readouterr().err
