"""Reading references and hypotheses, and every way in which they can be wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from hybrid_asr.scoring.compare import Comparison
from hybrid_asr.scoring.files import Reading, score_files
from hybrid_asr.scoring.formats.source import Line, Role, Transcripts
from hybrid_asr.scoring.report import ErrorReport
from hybrid_asr.scoring.scores import ScoringError

TEXTS = {"a-1": "one two three", "a-2": "four (or five)", "b-1": "", "b-2": "今天 天气\u2028好"}


def jsonl(path: Path, entries: list[dict]) -> Path:
    path.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries), encoding="utf-8")
    return path


def read(path: Path, role: Role = "hyp", **options: Any) -> dict[str, Line]:
    """The lines of a file by id."""
    content = Reading(**options).file(path, role).content
    assert isinstance(content, Transcripts)
    return content.lines


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_the_three_formats_say_the_same(tmp_path: Path) -> None:
    lines = jsonl(tmp_path / "x", [{"id": key, "text": text, "duration_s": 1.5} for key, text in TEXTS.items()])
    kaldi = written(tmp_path / "y", "".join(f"{key} {text}\n" for key, text in TEXTS.items()))
    trn = written(tmp_path / "z", "\ufeff" + "\r\n".join(f"{text} ({key})" for key, text in TEXTS.items()) + "\r\n\r\n")
    expected = {key: Line(text) for key, text in TEXTS.items()}
    assert read(lines) == read(kaldi) == read(trn) == expected


def test_formats_mix_and_the_order_does_not_matter(tmp_path: Path) -> None:
    ref = jsonl(tmp_path / "ref", [{"id": key, "text": text, "speaker": key[0]} for key, text in TEXTS.items()])
    hyp = written(tmp_path / "hyp", "".join(f"{text} ({key})\n" for key, text in reversed(TEXTS.items())))
    scores = score_files(ref, hyp)
    assert isinstance(scores, ErrorReport)
    assert scores.wer.value == 0 and scores.utterances == 4
    assert [item.speaker for item in scores.speakers] == ["a", "b"]


def test_our_own_hypotheses(tmp_path: Path) -> None:
    own = jsonl(
        tmp_path / "hypotheses.jsonl",
        [{"id": "a", "reference": "one two", "text": "one", "score": -1.5, "parts": {"ctc": -1.0}}],
    )
    ref = jsonl(tmp_path / "ref.jsonl", [{"id": "a", "text": "one six"}])
    assert read(own, "ref")["a"].text == "one two"
    assert read(own)["a"].text == "one"
    scores = score_files(ref, own)
    assert isinstance(scores, ErrorReport)
    assert scores.rows[0].reference == "one six"  # its own reference plays no part
    itself = score_files(own, own)
    assert isinstance(itself, ErrorReport) and itself.wer.value == 0.5


def test_against_another_system(tmp_path: Path) -> None:
    ref = written(tmp_path / "ref", "a one two\nb three four\nc five\n")
    hyp = written(tmp_path / "hyp", "a one two\nb three four\nc nine\n")
    other = written(tmp_path / "other", "one (a)\nthree (b)\nfive (c)\n")
    pair = score_files(ref, hyp, other)
    assert isinstance(pair, Comparison)
    assert pair.to_json()["difference"] == pytest.approx(0.2 - 0.4)
    same = score_files(ref, hyp, hyp)
    assert isinstance(same, Comparison)
    assert (same.to_json()["difference"], same.to_json()["p_bootstrap"]) == (0.0, 1.0)


def test_scored_twice_the_output_is_identical(tmp_path: Path) -> None:
    ref = written(tmp_path / "ref", "".join(f"u{i} one two three\n" for i in range(30)))
    hyp = written(tmp_path / "hyp", "".join(f"u{i} one two{' x' * (i % 3)}\n" for i in range(30)))
    first, second = score_files(ref, hyp), score_files(ref, hyp)
    assert first.to_json() == second.to_json() and first.text() == second.text()


def test_metric_of_choice(tmp_path: Path) -> None:
    ref = written(tmp_path / "ref", "a 今天 天气\nb 你好\n")
    hyp = written(tmp_path / "hyp", "a 今天天汽\nb 你好\n")
    scores = score_files(ref, hyp, metric="cer")
    assert isinstance(scores, ErrorReport) and scores.rate.value == 1 / 6


def test_missing_ids_are_counted_and_named(tmp_path: Path) -> None:
    ref = written(tmp_path / "ref", "".join(f"u{i} one\n" for i in range(9)))
    hyp = written(tmp_path / "hyp", "u0 one\nu8 one\n")
    with pytest.raises(
        ScoringError, match=r"7 of 9 utterances of .*ref without a hypothesis in .*hyp: u1, .*u5 and 2 more;"
    ):
        score_files(ref, hyp)
    with pytest.raises(ScoringError, match=r"7 of 9 utterances of .*ref without a reference in .*hyp: u1"):
        score_files(hyp, ref)
    with pytest.raises(ScoringError, match=r"7 of 9 utterances of .*ref without a hypothesis in .*hyp"):
        score_files(ref, ref, hyp)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"bad: is empty"),
        (b" \n\n", r"bad: is empty"),
        (b"\x00\x01\x02\xff" * 20, r"bad:1: is not text in UTF-8"),
        ("a töst".encode("latin-1"), r"bad:1: is not text in UTF-8: byte 0xF6 is none; convert it, as by iconv"),
        ("a test".encode("utf-16"), r"bad: is not text in UTF-8 but in UTF-16"),
        (b"\x1f\x8b\x08\x00", r"bad: is compressed by gzip; unpack it"),
        (b"PK\x03\x04\x14", r"bad: is a spreadsheet or another zip archive; save it as CSV"),
        (b"PAR1\x15", r"bad: is a Parquet file"),
        (b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n", r"bad: this file is subtitles \(WebVTT\); give JSON lines"),
        (b"1\r\n00:00:00,000 --> 00:00:01,000\r\nhello\r\n", r"subtitles \(SubRip\)"),
        (b'File type = "ooTextFile"\nObject class = "TextGrid"\n', r"one of Praat"),
        (b"SPEAKER r 1 0.0 2.0 <NA> <NA> s1 <NA> <NA>\n", r"without words"),
        (b"<!DOCTYPE html>\n<html></html>\n", r"a page of the web"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n", r"git lfs pull"),
        (b"the cat sat\nthe dog ran\n", r"bad:2: utterance 'the' .*; each line must begin with an id of its own"),
        (b'{"id": "a", "text": "x"}\n{"id": "b", "te', r"bad:2: is not JSON"),
        (b'{"id": "a", "text": "x"}\n\nplain words\n', r"bad:3: is not JSON"),
        (b'{"id": "a", "text": "x"}\n["b", "y"]\n', r"bad:2: is not a JSON object"),
        (b'{"id": "a", "text": "x"}\n{"id": "b"}\n', r"bad:2: has no 'text'"),
        (b'{"text": "x"}\n', r"bad:1: has no 'id'"),
        (b'{"id": 7.5, "text": "x"}\n', r"bad:1: 'id' is 7.5, not a text"),
        (b'{"id": "a", "text": null}\n', r"bad:1: 'text' is null, not a text; write \"\" where nothing is said"),
        (b'{"id": "a", "text": "x", "speaker": true}\n', r"bad:1: 'speaker' is true, not a text"),
        (b'{"id": "a", "text": "\\ud83d"}\n', r"bad:1: 'text' holds half of a surrogate pair"),
        (b'{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', r"bad:2: utterance 'a' .* second time"),
        (b"a one\nb two\na one\n", r"bad:3: utterance 'a' .* second time \(read as Kaldi text\)"),
        (b"one (a)\ntwo (a)\n", r"bad:2: utterance 'a' .* second time \(read as trn\)"),
        (b"one (a)\ntwo (b)\nthree\n", r"bad:3: does not end in '\(id\)'"),
    ],
)
def test_bad_files_are_refused_by_name_and_line(tmp_path: Path, content: bytes, message: str) -> None:
    bad, good = written(tmp_path / "bad", content), written(tmp_path / "good", "a x\n")
    with pytest.raises(ScoringError, match=message):
        score_files(bad, good)
    with pytest.raises(ScoringError, match=message):
        score_files(good, bad)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="nowhere: there is no such file"):
        read(tmp_path / "nowhere", "ref")
    with pytest.raises(ScoringError, match="is a folder, not a file"):
        read(tmp_path, "ref")


def test_a_published_transcription_against_itself(shared: Path) -> None:
    path = shared / "data/an4/etc/an4_test.transcription"
    if not path.is_file():
        pytest.skip("needs shared/data/an4 beside the checkout")
    scores = score_files(path, path)
    assert isinstance(scores, ErrorReport)
    assert (scores.utterances, scores.words) == (130, type(scores.words)(0, 0, 0, 773))


@pytest.mark.parametrize("written", [{"reference": "one two", "text": "one"}, {"text": "one two", "pred_text": "one"}])
def test_references_and_hypotheses_that_are_swapped_are_told(written: dict, tmp_path: Path) -> None:
    """Else references are scored against references, and the rate is a good one."""
    own = jsonl(tmp_path / "hypotheses.jsonl", [{"id": "a", **written}])
    manifest = jsonl(tmp_path / "ref.jsonl", [{"id": "a", "audio": "a.wav", "duration_s": 1.0, "text": "one two"}])
    told: list[str] = []
    score_files(own, manifest, reading=Reading(tell=told.append))
    assert [line for line in told if "the references come first: hybrid-asr score REF HYP" in line]
    told.clear()
    score_files(manifest, own, reading=Reading(tell=told.append))
    score_files(own, own, reading=Reading(tell=told.append))
    assert not [line for line in told if line.startswith("warning")]


def test_a_folder_or_a_mistyped_file_leads_to_the_hypotheses(tmp_path: Path) -> None:
    ref = jsonl(tmp_path / "ref.jsonl", [{"id": "a", "text": "one"}])
    (tmp_path / "run/decode/test/joint").mkdir(parents=True)
    own = jsonl(tmp_path / "run/decode/test/joint/hypotheses.jsonl", [{"id": "a", "text": "one"}])
    for folder in (own.parent, tmp_path / "run"):
        with pytest.raises(ScoringError, match=f"is a folder, not a file; name the file: {own}"):
            score_files(ref, folder)
    with pytest.raises(ScoringError, match=f"there is no such file; .*; did you mean '{ref}'"):
        score_files(tmp_path / "reff.jsonl", own)
