"""Pronunciation lexica are read as CMU and Kaldi write them, and what is wrong is named with its line."""

import re

import pytest

from hybrid_asr.text.lexicon import LexiconError, parse_lexicon, read_lexicon, read_words
from hybrid_asr.text.normalize import TextConfig

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
        ("GO 0.7 0.2 G OW\n", r"lexicon.txt:1: 'GO' has 2 numbers before its phonemes, a lexicon has none, 1 .* or 4"),
        ("GO G\u00a0OW\n", r"lexicon.txt:1: 'G\\xa0OW' holds a space that is none of ' ' and tab; put plain spaces"),
        (";;; nothing\n\n", r"lexicon.txt: holds no word; a line is a word and its phonemes"),
        (b"GO G OW\nCAF\xe9 K\n", r"lexicon.txt:2: is not UTF-8; convert it"),
        (b"GO G OW\n\0\0\n", r"lexicon.txt:2: holds a zero byte"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_remedy(written, content, message) -> None:
    with pytest.raises(LexiconError, match=message):
        read_lexicon(written(content))


def test_all_bad_lines_are_told_in_one_run_the_first_five_shown(written) -> None:
    bad = "".join(f"WORD{number}\nGOOD{number} G UH D\n" for number in range(7))
    with pytest.raises(LexiconError) as caught:
        read_lexicon(written(bad))
    shown = str(caught.value).split("\n")
    assert [line.partition(": '")[2][:5] for line in shown[:5]] == [f"WORD{number}" for number in range(5)]
    assert shown[4].partition(": ")[0].endswith("lexicon.txt:9") and shown[5:] == ["... and 2 more, 7 in all"]


# What other tools write -> the entries, and the note of what is passed over.
OF_OTHER_TOOLS = {
    "twice": ("GO G OW\nNO N OW\nGO(2) G OW\n", "GO G OW|NO N OW", ["1 .* given twice, .*once: 'GO' in lines 1 and 3"]),
    "Kaldi": (
        "!SIL SIL\n<SPOKEN_NOISE> SPN\n<UNK> SPN\nGO G OW\n",
        "GO G OW",
        ["3 entries that no one speaks are left out: !SIL, <SPOKEN_NOISE>, <UNK>"],
    ),
    "lexiconp": ("GO 1.0\tG OW\nGO 1e-05 G AO\n", "GO G OW|GO G AO", ["probabilities .* not used; 2 lines have"]),
    "MFA": (
        "go\t0.99\t0.14\t1.32\t0.87\tɡ ow\nno\tn ow\n",
        "go ɡ ow|no n ow",
        ["probabilities of pronunciations are not used; 1 lines have some"],
    ),
    "Sphinx fillers": ("<s> SIL\n++BREATH++ +BREATH+\ngo(2) G OW1\n", "go G OW1", ["2 entries that no one speaks"]),
    "CMU signs": (";SEMI-COLON S EH\n#HASH-MARK HH\n'S Z # it\n", ";SEMI-COLON S EH|#HASH-MARK HH|'S Z", []),
    "a space within a word": ("10\u00a0000 D IY\ngo G OW\n", "10\u00a0000 D IY|go G OW", []),
    "lines end in CR": ("GO G OW\rNO N OW\r", "GO G OW|NO N OW", []),
    "tabs and empty lines": ("\tGO\t\tG  OW \r\n\r\n  \n NO N OW", "GO G OW|NO N OW", []),
    "tones": ("\u4f60 n i3\n\u4e00 1 2\n", "\u4f60 n i3|\u4e00 1 2", []),
}


@pytest.mark.parametrize("content, entries, notes", OF_OTHER_TOOLS.values(), ids=OF_OTHER_TOOLS)
def test_lexica_of_other_tools_are_read_and_what_is_passed_over_is_told(written, content, entries, notes) -> None:
    told: list[str] = []
    path = written(content)
    lexicon = read_lexicon(path, tell=told.append)
    assert lexicon.text() == entries.replace("|", "\n") + "\n"
    assert len(told) == len(notes)
    for line, note in zip(told, notes, strict=True):
        assert re.search(f"^note: {re.escape(str(path))}: {note}", line), line


def test_entries_that_the_rules_make_no_single_word_are_counted(written) -> None:
    told: list[str] = []
    lexicon = parse_lexicon("go G OW\nheads-up H\n10\u00a0000 D\n[noise] NSN\n... D\n", "it")
    assert [*lexicon.spelled_by(TextConfig(rules="basic@1"), where="it", tell=told.append).entries] == ["go"]
    assert told == [
        "note: it: 4 of 5 entries are left out, no single word by 'basic@1': 'heads-up', '10\\xa0000', '[noise]', '...'"
    ]
    assert "[noise]" in lexicon.spelled_by(TextConfig(rules="none@1")).entries, "texts keep it, too"


def test_no_such_file_and_a_folder_are_told(tmp_path) -> None:
    with pytest.raises(LexiconError, match=r"none.txt: there is no such file; give"):
        read_lexicon(tmp_path / "none.txt")
    with pytest.raises(LexiconError, match=r"is a folder, not a file"):
        read_lexicon(tmp_path)


def test_words_are_spelled_by_the_rules_of_the_transcripts() -> None:
    lexicon = parse_lexicon("Polish P OW\npolish P AA\nPOLISH P OW\nHEADS-UP H\n'til T\n... D\n'm AH M\nm EH M\n", "it")
    assert lexicon.spelled_by(TextConfig(rules="upper@1")).entries == {
        "POLISH": (("P", "OW"), ("P", "AA")),
        "M": (("EH", "M"),),
        "TIL": (("T",),),
    }
    assert "HEADS-UP" in lexicon.spelled_by(TextConfig(rules="none@1")).entries


WORD_LISTS = {
    "plain": ("A\nb\n\nHEADS-UP\n", ["1 of 3 entries are left out, no single word by 'basic@1': 'HEADS-UP'"]),
    "a lexicon": ("A(1) x y\nA(2) z\nb\n", ["the first column is read; 2 lines have more, such as 'A x y'"]),
    "Kaldi's words.txt": (
        "<eps> 0\nA 1\nb 2\n#0 3\n<s> 4\n",
        [
            "3 entries that no one speaks .* <eps>, #0, <s>",
            "the first column is read; 2 lines have more, such as 'A 1'",
        ],
    ),
    "phrases": ("a\nb c\n", ["the first column is read; 1 lines have more, such as 'b c'"]),
}


@pytest.mark.parametrize("content, notes", WORD_LISTS.values(), ids=WORD_LISTS)
def test_of_a_word_list_or_a_lexicon_the_first_column_counts_and_the_rest_is_told(written, content, notes) -> None:
    told: list[str] = []
    assert read_words(written(content), TextConfig(rules="basic@1"), tell=told.append) == ("a", "b")
    assert len(told) == len(notes)
    assert all(re.search(note, line) for note, line in zip(notes, told, strict=True)), told


def test_a_list_without_words_in_its_first_column_is_refused(written) -> None:
    with pytest.raises(LexiconError, match=r"holds no word that the rules 'basic@1' leave"):
        read_words(written("- x\n"), TextConfig(rules="basic@1"))
    with pytest.raises(LexiconError, match=r"the first column holds only numbers, such as '12' before 'the'; put the"):
        read_words(written("  12 the\n   7 of\n"), TextConfig(rules="basic@1"))
    assert read_words(written("12\n7\n"), TextConfig(rules="basic@1")) == ("12", "7")
