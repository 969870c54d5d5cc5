"""ARPA files are read as their format says: back-off by hand, sums of one, and errors by line."""

import gzip
import math

import numpy as np
import pytest

from hybrid_asr.text.ngram import ArpaError, Ngram, read_arpa

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
        ("ngram 2=4", "ngram 2=5", r"arpa:15: 4 2-grams follow, 5 were announced"),
        ("ngram 2=4", "ngram 3=4", r"arpa:5: expected 'ngram 2=COUNT', got"),
        ("ngram 2=4", "ngram 2=" + 5000 * "4", r"arpa:5: expected 'ngram 2=COUNT', got"),
        ("-0.4\tgo\t-0.2", "-0.4\tgo\t-0.2\t1", r"arpa:11: 4 columns, a 1-gram has"),
        ("-0.4\tgo", "x\tgo", r"arpa:11: 'x' is no logarithm"),
        ("-0.4\tgo", "0.4\tgo", r"arpa:11: '0.4' is no logarithm"),
        ("stop go", "stop now", r"arpa:19: 'now' has no unigram"),
        ("stop go", "go go", r"arpa:19: 'go go' is listed twice"),
        ("\\3-grams:", "\\4-grams:", r"arpa:21: expected '\\3-grams:', got"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(arpa, old, new, message) -> None:
    with pytest.raises(ArpaError, match=message):
        arpa(TRIGRAM.replace(old, new, 1))


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
