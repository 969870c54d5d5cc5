"""Every format that `score` reads: what is taken, what is passed over, what is refused, and how a format is told."""

from pathlib import Path
from typing import get_args

import pytest

from hybrid_asr.arguments import TRANSCRIPT_FORMATS
from hybrid_asr.scoring.files import Reading, score_files
from hybrid_asr.scoring.formats.source import Format, Line, Role, Transcripts
from hybrid_asr.scoring.report import ErrorReport
from hybrid_asr.scoring.scores import ScoringError

LISTED = '[{"utt_id": "u", "hypothesis": "a"}, {"utt_id": "v", "hypothesis": ""}]'
NEMO = '{"audio_filepath": "a/u1.wav", "duration": 1.2, "text": "one two", "pred_text": "one too"}\n'
ICEFALL = "u1-0:\tref=['ONE', \"TWO'S\"]\nu1-0:\thyp=['ONE']\nu2-0:\tref=['SIX']\nu2-0:\thyp=[]\n"


def written(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def read(path: Path, role: Role, told: list[str] | None = None, **options) -> dict[str, Line]:
    content = Reading(tell=(told if told is not None else []).append, **options).file(path, role).content
    assert isinstance(content, Transcripts)
    return content.lines


def test_the_command_line_names_the_formats() -> None:
    assert get_args(Format) == TRANSCRIPT_FORMATS


@pytest.mark.parametrize(
    ("name", "content", "role", "expected"),
    [
        ("x.jsonl", NEMO, "hyp", {"a/u1.wav": Line("one too")}),
        ("x.json", NEMO, "ref", {"a/u1.wav": Line("one two")}),
        ("x", LISTED, "hyp", {"u": Line("a"), "v": Line("")}),
        ("x.json", '{"u": "a", "v": "b c"}', "hyp", {"u": Line("a"), "v": Line("b c")}),
        ("x.json", '{\n  "id": "u",\n  "text": "a"\n}\n', "ref", {"u": Line("a")}),
        ("x.jsonl", '{"id": 7, "text": "a", "speaker_id": 84}\n', "ref", {"7": Line("a", "84")}),
        ("x.csv", 'id;text\nu;"one; two"\n', "ref", {"u": Line("one; two")}),
        ("x.csv", "id\ttext\nu\tone, two\n", "ref", {"u": Line("one, two")}),
        ("x.tsv", 'id,text\nu,"one, two"\n', "ref", {"u": Line("one, two")}),
        ("x", '{"key": "u", "label": "a b", "prediction": "a", "text": "A B."}', "ref", {"u": Line("a b")}),
        ("x", '{"key": "u", "label": "a b", "prediction": "a", "text": "A B."}', "hyp", {"u": Line("a")}),
        ("x", '{"file": "u", "transcription": "a", "spk": "s"}', "hyp", {"u": Line("a", "s")}),
        ("x", '{"id": "u", "audio": "u.wav", "Sentence": "a"}', "ref", {"u": Line("a")}),
        ("x.csv", 'path,sentence,client_id\nu.mp3,"one, two",s\n', "ref", {"u.mp3": Line("one, two", "s")}),
        ("x", 'id,ref,hyp\nu,one,"said ""two"""\n\n', "hyp", {"u": Line('said "two"')}),
        ("x.tsv", 'path\tsentence\tup_votes\nu.mp3\tsay "hi\t2\n', "ref", {"u.mp3": Line('say "hi')}),
        ("text", "u1 one (two)\nu2\n", "hyp", {"u1": Line("one (two)"), "u2": Line("")}),
        ("recogs-test.txt", ICEFALL, "ref", {"u1-0": Line("ONE TWO'S"), "u2-0": Line("SIX")}),
        ("recogs-test.txt", ICEFALL, "hyp", {"u1-0": Line("ONE"), "u2-0": Line("")}),
        ("x.trn", ";; by hand\n{ b / @ } (my  id)\n", "ref", {"my id": Line("{ b / @ }", marked=True)}),
        ("x.trn", "a b (u1)\n(u2)\n", "hyp", {"u1": Line("a b"), "u2": Line("")}),
        ("hyp.trn", "one\ttwo\t(spk-u1)\n", "hyp", {"spk-u1": Line("one\ttwo")}),
        ("x", "one a (u1)\ntwo b (u2)\n", "hyp", {"u1": Line("one a"), "u2": Line("two b")}),
        ("x", "a one (um)\na2 two (um)\nb three\n", "hyp", None),
        ("x", "u1 0.5 percent\nu2 two\n", "hyp", {"u1": Line("0.5 percent"), "u2": Line("two")}),
    ],
)  # fmt: skip
def test_what_other_programs_write(tmp_path: Path, name: str, content: str, role: Role, expected) -> None:
    path = written(tmp_path, name, content)
    if expected is None:
        with pytest.raises(ScoringError, match=r":3: does not end in '\(id\)', as most lines of this file do; .*kaldi"):
            read(path, role)
        assert read(path, role, forms={role: "kaldi"})["b"] == Line("three")
    else:
        assert read(path, role) == expected


@pytest.mark.parametrize(
    ("content", "readings"),
    [
        (
            "r1 A s1 0.0 2.1 hello there\nr2 A s2 0.0 1.5 good morning\n",
            "stm .*or Kaldi text .*--ref-format stm or --ref-",
        ),
        ("r1 A 0.10 0.40 hello\nr2 A 0.10 0.40 good 0.9\n", r"ctm \(r1 at 0.10 s: 'hello'\) or Kaldi text"),
        ("one two (u1)\n", r"trn \(\(u1\): 'one two'\) or Kaldi text \(one: 'two \(u1\)'\)"),
    ],
)
def test_two_readings_are_refused_with_the_options_that_decide(tmp_path: Path, content: str, readings: str) -> None:
    path = written(tmp_path, "x", content)
    with pytest.raises(ScoringError, match=readings):
        read(path, "ref")
    assert read(path, "ref", forms={"ref": "kaldi"})


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("r1 A s1 0.0 2.1 <o> hello\nr2 A s2 0.0 1.5 <o> good\n", "stm"),
        ("r1 A s1 0.0 2.1 hello\nr1 A s2 2.0 3.5 good\n", "stm"),
        ("r1 A 0.10 0.40 hello\nr1 A 0.60 0.40 good\n", "ctm"),
        (";; of two\nr1 A 0.10 0.40 hello\n;; words\nr2 A 0.60 0.40 good NA lex\nr2 A 0.9 0.4 x\n", "ctm"),
    ],
)
def test_one_reading_is_taken(tmp_path: Path, content: str, form: Format) -> None:
    path = written(tmp_path, "x", content)
    assert Reading().file(path, "ref").content == Reading(forms={"ref": form}).file(path, "ref").content


def test_two_fields_that_could_be_it_are_refused_and_one_is_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, "x.jsonl", '{"id": "u", "hyp": "a", "pred_text": "b", "score": 1}\n')
    with pytest.raises(ScoringError, match="the hypothesis may be 'hyp' or 'pred_text'; say which by --hyp-field hyp"):
        read(path, "hyp")
    told: list[str] = []
    assert read(path, "hyp", told, fields={"hyp": "pred_text"}) == {"u": Line("b")}
    assert told == [f"note: {path}: passed over: hyp (1), score (1)"]
    with pytest.raises(ScoringError, match="has no 'nbest', which --hyp-field names: there are hyp, pred_text, score"):
        read(path, "hyp", fields={"hyp": "nbest"})
    with pytest.raises(ScoringError, match=r"has no 'text', and no other .* there are hyp, pred_text.*--ref-field"):
        read(path, "ref")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "u1,one\nu2,two\n", ":1: does not name a column of ids and one of texts, but u1, one; .* kaldi"),
        ("x.csv", "id,text\nu1,one,two\n", ":2: has 3 columns, the first line has 2; put texts in quotes"),
        ("x.csv", 'id,text\nu1,"one\n', ":2: is not a row of a table: unexpected end of data"),
        ("x.csv", "id,text,text\nu1,one,two\n", ":1: two columns have the same name"),
        ("x.csv", "id,text\n", ":1: has no row below the names of its columns"),
        ("x.json", "[]", ":1: is a JSON list without an object"),
        ("x.json", '[{"id": "a", "text": "b"}', ":1: is not JSON: Expecting"),
        ("x.trn", "one (u1)\ntwo { a (u2)\n", ":2: '{' is not closed; add '}' .*, or give --markup none"),
        ("x.trn", "one\n", r":1: does not end in '\(id\)', as lines of trn do; add it, or give --hyp-format"),
        ("x.trn", ";; nothing\n", ": has comments only"),
        ("x.stm", "r A s 0 1 <o> a\nr A s one 2 b\n", ":2: is not 'file channel speaker begin end words'"),
        ("x.stm", "r A s 2 1 a\n", ":1: the segment ends at 1 s, before it begins at 2 s"),
        ("x.stm", "r A s 0 1 ignore_time_segment_in_scoring\n", ":1: no segment is to be scored"),
        ("x.stm", "r A s 0 1 { a\n", ":1: '{' is not closed"),
        ("x.stm", "r A s 0 1 a\nr A t 0 1 b\n", ":2: utterance 'r-A-0-1' occurs a second time"),
        ("x.ctm", "r A 0 1 a\nr A 0 1 b\nr A 0 1 a 0.9\n", ":3: 'a' occurs a second time at this time"),
        ("x.ctm", "r A 0 inf a\n", ":1: is not 'file channel start duration word'"),
        ("x.ctm", "r A 0 1 a b c\n", ":1: is not 'file channel start duration word'"),
        ("x.ctm", "r A * * <ALT>\n", ":1: '<ALT>' stands outside of alternatives"),
        ("x.ctm", "r A * * <ALT_BEGIN>\nq A 0 1 a\n", ":2: 'a' stands outside of alternatives, or in those of another"),
        ("x.ctm", "r A 0 1 a\nr A * * <ALT_BEGIN>\nr A 0 1 a\n", ":2: <ALT_BEGIN> has no <ALT_END>"),
        ("x", "u:\tref=['a']\nu:\thyp=['a', 1]\n", r":2: \['a', 1\] is not a list of words in quotes"),
        ("x", "u:\tref=['a']\nv hyp\n", r":2: is neither 'id: ref=\[...\]' nor"),
        ("wer.txt", "%WER 5.40 [ 54 / 1000, 4 ins ]\n", ":1: is a report of errors, as Kaldi and SpeechBrain write it"),
        ("x", "u:\tref=['a']\n", "no line has 'hyp='"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_refused_by_name_and_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        Reading(tell=[].append).file(written(tmp_path, name, content), "hyp")


def scores_of(ref: Path, hyp: Path, told: list[str], **options) -> ErrorReport:
    scores = score_files(ref, hyp, reading=Reading(tell=told.append, **options))
    assert isinstance(scores, ErrorReport)
    return scores


STM = "r1 A ann 0.0 2.0 <o> hello { there / dear }\nr1 A bob 2.0 4.0 <o> (um) good morning\nr2 A ann 0 1 yes\n"


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        (
            "h.ctm",
            "r1 A 0.1 0.2 hello\nr1 A 1.1 0.2 dear\nr1 A 2.5 0.2 good\nr1 A 3.5 0.2 evening\nr2 A 0.5 0.1 yes\n",
            {"r1-A-0.0-2.0": (2, 0), "r1-A-2.0-4.0": (3, 1), "r2-A-0-1": (1, 0)},
        ),
        ("h.txt", "r1 hello dear good evening\nr2 yes\n", {"r1": (5, 1), "r2": (1, 0)}),
        (
            "h.trn",
            "hello dear (r1-A-0.0-2.0)\ngood evening (r1-A-2.0-4.0)\nyes (r2-A-0-1)\n",
            {"r1-A-0.0-2.0": (2, 0), "r1-A-2.0-4.0": (3, 1), "r2-A-0-1": (1, 0)},
        ),
        ("h.stm", STM, {"r1-A-0.0-2.0": (2, 0), "r1-A-2.0-4.0": (3, 0), "r2-A-0-1": (1, 0)}),
    ],
)
def test_references_of_recordings_beside_every_kind_of_hypotheses(tmp_path: Path, name, content, rows) -> None:
    scores = scores_of(written(tmp_path, "r.stm", STM), written(tmp_path, name, content), [])
    assert {row.id: (row.words.reference, row.words.errors) for row in scores.rows} == rows


def test_words_fall_into_segments_by_their_middle(tmp_path: Path) -> None:
    ref = written(tmp_path, "r.stm", "r A s 1 2 a\nr A s 3 4 b c\nr A s 5 6 d\n")
    words = ((0.2, 0.1, "a"), (1.9, 0.3, "b"), (3.9, 0.1, "c"), (3.9, 0.4, "d"), (9.0, 0.1, "late"))
    hyp = written(tmp_path, "h.ctm", "".join(f"r A {start} {length} {word}\n" for start, length, word in words))
    scores = scores_of(ref, hyp, [])
    assert [row.hypothesis for row in scores.rows] == ["a", "b c", "d late"], "gaps belong to what follows"


def test_words_with_times_beside_references_without(tmp_path: Path) -> None:
    ctm = "r1 A 1.0 0.1 b\nr1 A 0.0 0.1 a\nr2 A 0 0.1 c\nr2 B 0 0.1 d\n"
    hyp = written(tmp_path, "h.ctm", ctm)
    scores = scores_of(written(tmp_path, "r", "r1 a b\nr2-A c\nr2-B d\n"), hyp, [])
    assert scores.words.errors == 0 and scores.utterances == 3
    ref = (
        "r1 A 0 1 a\nr1 A * * <ALT_BEGIN>\nr1 A 1 1 e\nr1 A * * <ALT>\nr1 A 1 1 b\nr1 A * * <ALT>\nr1 A * * <ALT_END>\n"
    )
    pair = scores_of(
        written(tmp_path, "r.ctm", ref), written(tmp_path, "h2.ctm", "".join(ctm.splitlines(True)[:2])), []
    )
    assert pair.rows[0].written == "a { e / b / @ }" and pair.words.errors == 0


def test_what_is_not_scored_is_counted_and_silent_recordings_are_told(tmp_path: Path) -> None:
    ref = written(tmp_path, "r.stm", STM + "r2 A x 1 2 IGNORE_TIME_SEGMENT_IN_SCORING\n")
    told: list[str] = []
    scores = scores_of(ref, written(tmp_path, "h.ctm", "r2 A 0.2 0.1 yes\nr2 A 1.2 0.1 noise\n"), told)
    assert (scores.words.deletions, scores.words.insertions, scores.utterances) == (4, 0, 3)
    assert "1 of 2 recordings of" in told[1] and "r1 A; all their words count as deletions" in told[1]
    assert "1 of 4 segments" in told[2] and "; 1 word of" in told[2]
    keyed = "hello dear (r1-A-0.0-2.0)\ngood (r1-A-2.0-4.0)\nyes (r2-A-0-1)\nnoise (r2-A-1-2)\n"
    by_segment = scores_of(ref, written(tmp_path, "h.trn", keyed), told)
    assert (by_segment.words.errors, by_segment.utterances) == (1, 3)
    assert "1 of 4 hypotheses of" in told[-1] and "of segments that are not scored" in told[-1]
    with pytest.raises(ScoringError, match=r"'r2' has segments that are not to be scored, .* give a ctm file"):
        scores_of(ref, written(tmp_path, "h.txt", "r1 a\nr2 yes noise\n"), [])
    with pytest.raises(ScoringError, match=r"1 of 1 recording .*: r2 1; file and channel .* \(there are r1 A, r2 A\)"):
        scores_of(ref, written(tmp_path, "h.ctm", "r2 1 0.2 0.1 yes\n"), [])


def test_alternatives_in_a_format_that_has_none_are_told(tmp_path: Path) -> None:
    path, told = written(tmp_path, "text", "u1 { a / b } c\nu2 {a} a/b\n"), []
    assert read(path, "ref", told)["u1"] == Line("{ a / b } c")
    assert len(told) == 1 and "warning: " in told[0] and "1 texts hold alternatives" in told[0] and "'u1'" in told[0]


def test_markup_none_makes_them_words(tmp_path: Path) -> None:
    ref, hyp = written(tmp_path, "r.trn", "{ a / b } (c) (u)\n"), written(tmp_path, "h.trn", "a (u)\n")
    assert scores_of(ref, hyp, []).words.errors == 0
    literal = scores_of(ref, hyp, [], marks=False)
    assert (literal.words.reference, literal.words.errors) == (6, 5)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (("a/u1.wav", "a/u2.wav"), "some differ in folder or ending alone: give --ids stem"),
        (("U1", "U2"), "some differ in case alone"),
        (("spk-u01", "spk-u02"), "the other file has spk-u01, spk-u02"),
    ],
)
def test_ids_that_do_not_match_are_shown_with_the_likely_cause(tmp_path: Path, ids, message) -> None:
    ref = written(tmp_path, "r", "u1 one\nu2 two\n")
    hyp = written(tmp_path, "h", "".join(f"{key} one\n" for key in ids))
    with pytest.raises(ScoringError, match=f"2 of 2 utterances of .*: u1, u2; .*{message}"):
        scores_of(ref, hyp, [])
    longer = written(tmp_path, "longer", "ann_u1 one\nann_u2 two\n")
    with pytest.raises(ScoringError, match="'ann_u1' is 'u1' behind 'ann_': write both files' ids alike"):
        scores_of(ref, longer, [])


def test_ids_by_their_stems(tmp_path: Path) -> None:
    ref, hyp = written(tmp_path, "r", "u1.5 one\nu2 two\n"), written(tmp_path, "h", "C:\\a\\u1.5 one\nb/u2.wav two\n")
    assert scores_of(ref, hyp, [], ids="stem").words.errors == 0
    with pytest.raises(ScoringError, match="without folder and ending two utterances are 'u'; give --ids exact"):
        scores_of(ref, written(tmp_path, "h2", "a/u one\nb/u two\n"), [], ids="stem")
