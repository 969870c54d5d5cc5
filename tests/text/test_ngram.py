"""ARPA files are read as their format says: back-off by hand, sums of one, and errors by line."""

import gzip
import math
import re

import numpy as np
import pytest

from hybrid_asr.common.errors import UserError
from hybrid_asr.text.arpa import ArpaError, read_arpa
from hybrid_asr.text.ngram import Ngram

TRIGRAM = """a remark before

\\data\\
ngram 1=5
ngram 2=4
ngram 3=1

\\1-grams:
-99\t<s>\t-0.3
-0.5\t</s>
-0.4\tgo\t-0.2
-0.9\tstop\t-0.1
-1.5\t<unk>

\\2-grams:
-0.2\t<s> go\t-0.6
-0.1\tgo go\t-0.05
-0.7\tgo </s>
-0.3\tstop go

\\3-grams:
-0.01\t<s> go go

\\end\\
"""


@pytest.fixture
def arpa(tmp_path):
    """Write a file and read it."""

    def read(text: str | bytes) -> Ngram:
        path = tmp_path / "words.arpa"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_arpa(path)

    return read


@pytest.mark.parametrize(
    "sentence, tens",
    [
        ("go go", [-0.2, -0.01, -0.05 - 0.7]),  # <s> go; <s> go go; b(go go) go </s>
        ("go stop", [-0.2, -0.6 - 0.2 - 0.9, -0.1 - 0.5]),  # b(<s> go) b(go) stop; b(stop) </s>
        ("stop go", [-0.3 - 0.9, -0.3, -0.7]),  # b(<s>) stop; stop go, which has no back-off; go </s>
        ("hello go", [-0.3 - 1.5, -0.4, -0.7]),  # the unknown word, which has no back-off; go; go </s>
        ("", [-0.3 - 0.5]),
    ],
)
def test_back_off_is_that_of_a_calculation_by_hand(arpa, sentence, tens) -> None:
    assert arpa(TRIGRAM).score(sentence.split()) == pytest.approx(sum(tens) * math.log(10), abs=1e-12)


def test_many_words_at_once_are_each_alone(arpa) -> None:
    ngram = arpa(TRIGRAM)
    states, words = (part.ravel() for part in np.meshgrid(np.arange(len(ngram._backoffs)), np.arange(5)))
    together = ngram.advance(states, words)
    for place in range(len(states)):
        alone = ngram.advance(states[place : place + 1], words[place : place + 1])
        assert (alone[0][0], alone[1][0]) == (together[0][place], together[1][place])


def test_without_an_end_no_text_could_end(arpa) -> None:
    with pytest.raises(ArpaError, match="has no </s>, so that no text could end"):
        arpa(TRIGRAM.replace("</s>", "over"))


def test_without_unknown_a_word_that_is_not_there_has_no_probability(arpa) -> None:
    ngram = arpa(TRIGRAM.replace("-1.5\t<unk>\n", "").replace("ngram 1=5", "ngram 1=4"))
    assert ngram.score(["hello"]) == -math.inf and ngram.score(["go"]) > -math.inf


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("\\data\\", "data", r"arpa: ends before '\\data\\'.* not in ARPA's format"),
        ("\\end\\\n", "", r"ends before '\\end\\': it is cut short"),
        ("ngram 3=1", "ngram 3=1\nngram 4=2", r"words.arpa: no 4-gram is there, 2 were announced"),
        ("ngram 2=4", "ngram 3=4", r"arpa:5: expected 'ngram 2=COUNT', got"),
        ("ngram 2=4", "ngram 2=" + 5000 * "4", r"arpa:5: expected 'ngram 2=COUNT', got"),
        ("-0.4\tgo\t-0.2", "-0.4\tgo\t-0.2\t1", r"arpa:11: 4 columns, a 1-gram has"),
        ("-0.4\tgo", "x\tgo", r"arpa:11: 'x' is no logarithm"),
        ("-0.4\tgo", "0.4\tgo", r"arpa:11: '0.4' is no logarithm"),
        ("-0.4\tgo", "nan\tgo", r"arpa:11: 'nan' is no logarithm"),
        ("-0.2\t<s> go\t-0.6", "-0.2\t<s> go on", r"arpa:16: 'on' is no back-off weight; a word has no space in it"),
        (
            "-0.9\tstop",
            "-0.9\tcafe\u0301\t0\n-0.9\tcaf\u00e9",
            r"arpa:13: 'caf\u00e9' is listed twice, perhaps in two forms",
        ),
        ("a remark before", "iARPA", r"arpa:1: iARPA is a form of IRSTLM's own: compile-lm --text=yes makes"),
        ("stop go", "stop now", r"arpa:19: 'now' has no unigram"),
        ("stop go", "go go", r"arpa:19: 'go go' is listed twice"),
        ("\\3-grams:", "\\4-grams:", r"arpa:21: expected '\\3-grams:' or '\\end\\', got"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(arpa, old, new, message) -> None:
    with pytest.raises(ArpaError, match=message):
        arpa(TRIGRAM.replace(old, new, 1))


def test_all_bad_lines_are_named_in_one_run(arpa) -> None:
    bad = TRIGRAM.replace("stop go", "stop now").replace("-0.1\tgo go", "x\tgo go").replace("<s> go go", "<s> go")
    with pytest.raises(ArpaError) as caught:
        arpa(bad)
    assert [line.split(": ")[0][-3:].strip("a:") for line in str(caught.value).split("\n")] == ["17", "19", "22"]


# What other tools write in place of a line of TRIGRAM -> what is told of it, nothing where it is the format.
OF_OTHER_TOOLS = {
    "a highest order with weights of 0": ("<s> go go", "<s> go go\t0", ""),
    "a highest order with weights": (
        "<s> go go",
        "<s> go go\t-0.5",
        "weights of 3-grams, the longest, have no use: -0.5",
    ),
    "counts of lines that were removed": ("ngram 2=4", "ngram 2=5", "counts differ .* announced: 4 2-grams, not 5"),
    "an order that is empty": (
        "\\end\\",
        "\\4-grams:\n\n\\end\\",
        "counts differ .* announced: there are 4-grams, too",
    ),
    "IRSTLM's header": ("ngram 1=5\nngram 2=4", "ngram  1=      5\nngram  2=\t4", ""),
    "CMU's header": ("a remark", "Beginning of data mark: \\data\\\n\\1-grams:\np_1 wd_1 bo_wt_1\n## a remark", ""),
    "spaces for tabs": ("-0.4\tgo\t-0.2", " -0.4   go -0.2 ", ""),
    "CRLF": ("\n", "\r\n", ""),
    "blank lines everywhere": ("\n", "\n \n", ""),
    "weights of 0": ("stop go", "stop go\t0", ""),
    "fewer digits": ("-0.5\t</s>", "-5e-1\t</s>\t-0", ""),
    "minus infinity": ("-99\t<s>", "-inf\t<s>", ""),
    "CMU's minus infinity": ("-99\t<s>", "-99.9999\t<s>", ""),
    "capitals": ("<unk>", "<UNK>", "written in capitals, and read as: <unk>"),
    "more behind the end": ("\\end\\\n", "\\end\\\n\\data\\\n", r"lines behind \\end\\ are not read: 1 of them"),
}


@pytest.mark.parametrize("old, new, told", OF_OTHER_TOOLS.values(), ids=OF_OTHER_TOOLS)
def test_what_other_tools_write_gives_the_same_probabilities(tmp_path, arpa, old, new, told) -> None:
    path, notes = tmp_path / "other.arpa", list[str]()
    path.write_bytes(TRIGRAM.replace(old, new).encode())
    assert old in TRIGRAM
    other, same = read_arpa(path, tell=notes.append), arpa(TRIGRAM)
    assert other.words == same.words
    for sentence in ("go go", "go stop", "stop go", "hello go", "go go go", ""):
        assert other.score(sentence.split()) == same.score(sentence.split())
    assert (len(notes) == 1 and re.search(f"^note: .*other.arpa: .*{told}", notes[0])) if told else not notes, notes


def test_both_ends_in_capitals_are_those_of_a_sentence(arpa) -> None:
    capitals = TRIGRAM.replace("<s>", "<S>").replace("</s>", "</S>")
    assert arpa(capitals).score(["go", "go"]) == arpa(TRIGRAM).score(["go", "go"])


def test_a_logarithm_just_above_0_is_rounding_and_told(tmp_path) -> None:
    path, told = tmp_path / "it.arpa", list[str]()
    path.write_text(TRIGRAM.replace("-0.01\t<s>", "1.2e-06\t<s>"))
    ngram = read_arpa(path, tell=told.append)
    assert ngram.score(["go", "go"]) == pytest.approx((-0.2 - 0.05 - 0.7) * math.log(10), abs=1e-12)
    assert told == [f"note: {path}: logarithms just above 0 are read as 0: 1.2e-06 in line 22"]


def test_a_no_break_space_belongs_to_its_word(tmp_path) -> None:
    path, told = tmp_path / "it.arpa", list[str]()
    path.write_text(TRIGRAM.replace("stop", "go\u00a0on").replace("<unk>", "off\u3000"))
    assert {"go\u00a0on", "off\u3000"} < read_arpa(path, tell=told.append).words.keys()
    assert told == [
        f"note: {path}: a space of another kind is in words, which no text has as one: 'go\\xa0on', 'off\\u3000'"
    ]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\\data\\\n\n\xff\xfe", r"it:3: is not UTF-8 \(invalid start byte\)"),
        (b"\xff\xfe\\\0d\0", r"it: is UTF-16; save it as UTF-8"),
        (b"BZh91AY&SY", r"it: is compressed by bzip2; unpack it, or compress it by gzip"),
        (b"mmap lm http://kheafield.com/code format version 5\n\0", r"is KenLM's binary form; give the ARPA file"),
        (
            gzip.compress(b"blmt 3 1 2\n", mtime=0),
            r"is IRSTLM's binary form; compile-lm --text=yes makes an ARPA file of it",
        ),
    ],
)
def test_what_is_no_text_is_called_what_it_is(tmp_path, content, message) -> None:
    (tmp_path / "it").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_arpa(tmp_path / "it")


def test_no_file_and_no_text(arpa, tmp_path) -> None:
    with pytest.raises(ArpaError, match=r"none.arpa: there is no such file; give an n-gram"):
        read_arpa(tmp_path / "none.arpa")
    with pytest.raises(ArpaError, match="is not UTF-8"):
        arpa(b"\\data\\\n\xff\xfe")


def test_a_gzipped_file_is_the_same_and_a_torn_one_is_named(arpa, tmp_path) -> None:
    packed = gzip.compress(TRIGRAM.encode())
    (tmp_path / "lm.arpa.gz").write_bytes(packed)
    assert read_arpa(tmp_path / "lm.arpa.gz").score(["go"]) == arpa(TRIGRAM).score(["go"])
    (tmp_path / "lm.arpa.gz").write_bytes(packed[:-12])
    with pytest.raises(ArpaError, match=r"lm.arpa.gz: is compressed and damaged"):
        read_arpa(tmp_path / "lm.arpa.gz")
