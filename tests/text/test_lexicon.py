"""Pronunciation lexica are read as CMU and Kaldi write them, and what is wrong is named with its line."""

import pytest

from hybrid_asr.text.lexicon import LexiconError, parse_lexicon, read_lexicon, read_words

CMU = """;;; a remark
A                    AH
A(2)                 EY
 READ  R EH D   # the past
READ(2)\tR IY D

# another remark
<sil> SIL
"""


@pytest.fixture
def written(tmp_path):
    """Write a file; gives its path."""

    def write(content: str | bytes):
        path = tmp_path / "lexicon.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_both_notations_are_read(written) -> None:
    cmu, kaldi = read_lexicon(written(CMU)), read_lexicon(written("A AH\nA EY\nREAD R EH D\r\nREAD R IY D\n"))
    assert cmu == kaldi
    assert cmu.entries["READ"] == (("R", "EH", "D"), ("R", "IY", "D"))
    assert cmu.phonemes() == ["AH", "D", "EH", "EY", "IY", "R"]
    assert parse_lexicon(cmu.text(), "it") == cmu


def test_utf8_is_composed_and_a_mark_at_the_start_is_no_letter(written) -> None:
    lexicon = read_lexicon(written("\ufeffcafe\u0301 k a f e\n".encode()))
    assert lexicon.entries == {"caf\u00e9": (("k", "a", "f", "e"),)}


@pytest.mark.parametrize(
    "content, message",
    [
        ("GO G OW\nSTOP\n", r"lexicon.txt:2: 'STOP' has no pronunciation; .*remove the line"),
        ("GO G OW\nNO N OW\nGO(2) G OW\n", r"lexicon.txt:3: 'GO' has the pronunciation 'G OW' in line 1 already"),
        ("GO 0.7 G OW\n", r"lexicon.txt:1: '0.7' is no phoneme but a probability.*take lexicon.txt"),
        (";;; nothing\n\n", r"lexicon.txt: holds no word; a line is a word and its phonemes"),
        (b"GO G OW\nCAF\xe9 K\n", r"lexicon.txt:2: is not UTF-8; convert it"),
        (b"GO G OW\n\0\0\n", r"lexicon.txt:2: holds a zero byte"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_remedy(written, content, message) -> None:
    with pytest.raises(LexiconError, match=message):
        read_lexicon(written(content))


def test_what_stands_twice_may_be_left_out(written) -> None:
    twice = written("GO G OW\nGO(2) G OW\nGO(3) G AO\n")
    assert read_lexicon(twice, repeats="leave out").entries == {"GO": (("G", "OW"), ("G", "AO"))}


def test_no_such_file_and_a_folder_are_told(tmp_path) -> None:
    with pytest.raises(LexiconError, match=r"none.txt: there is no such file; give"):
        read_lexicon(tmp_path / "none.txt")
    with pytest.raises(LexiconError, match=r"is a folder, not a file"):
        read_lexicon(tmp_path)


def test_words_are_spelled_by_the_rules_of_the_transcripts() -> None:
    lexicon = parse_lexicon("Polish P OW\npolish P AA\nPOLISH P OW\nHEADS-UP H\n'til T\n... D\n'm AH M\nm EH M\n", "it")
    assert lexicon.spelled_by("upper@1").entries == {
        "POLISH": (("P", "OW"), ("P", "AA")),
        "M": (("EH", "M"),),
        "TIL": (("T",),),
    }
    assert "HEADS-UP" in lexicon.spelled_by("none@1").entries


def test_of_a_word_list_or_a_lexicon_the_first_column_counts(written) -> None:
    assert read_words(written("A(1) x y\nA(2) z\nb\n\nHEADS-UP\n"), "basic@1") == ("a", "b")
    with pytest.raises(LexiconError, match=r"holds no word that the rules 'basic@1' leave"):
        read_words(written("- x\n"), "basic@1")
