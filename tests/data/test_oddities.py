"""The gate tells what is odd in transcripts: what, how often, where, and what to do about it."""

import time

import pytest

from hybrid_asr.data.oddities import Oddity, oddities
from hybrid_asr.text.normalize import TextConfig

BASIC1, BASIC2, NONE = TextConfig(rules="basic@1"), TextConfig(), TextConfig(rules="none@1")


def look(texts: list[str], spelling: TextConfig | None = None, language: str | None = None) -> list[Oddity]:
    return oddities(((text, language) for text in texts), lambda index: f"t:{index + 1}", of="train", spelling=spelling)


def told(texts: list[str], spelling: TextConfig | None = None) -> str:
    return "\n".join(oddity.text for oddity in look(texts, spelling))


@pytest.mark.parametrize("spelling", [None, BASIC1, BASIC2, NONE])
def test_ordinary_texts_have_no_oddities(spelling: TextConfig | None) -> None:
    assert look(["Yes, it's fine.", "Ça va?", "привет", "你好", "می\u200cخواهم", "no-one (at all)"], spelling) == []


def test_the_first_five_are_shown_and_all_counted() -> None:
    assert told(["nan", *["fine"] * 3, *["NULL"] * 6]) == (
        "7 of 10 transcripts of train are what programs write where a text is missing, NULL (6), nan (1): "
        "t:1: 'nan'; t:5: 'NULL'; t:6: 'NULL'; t:7: 'NULL'; t:8: 'NULL'; ...; "
        "correct or remove them, unless they are said"
    )


TAGS = ["so [noise] it is", "<unk> (laughter) [noise]", "fine"]


def test_what_becomes_of_tags() -> None:
    count = (
        "2 of 3 transcripts of train have tags, [noise] (2), <unk> (1), (laughter) (1): t:1: 'so [noise] it is'; t:2: "
    )
    assert told(TAGS, BASIC1).startswith(count) and "the rules 'basic@1' make words of them" in told(TAGS, BASIC1)
    [dropped] = look(TAGS, BASIC2)
    assert dropped.text.startswith(count) and "left out" in dropped.text and not dropped.doubtful
    [kept] = look(TAGS, TextConfig(tags="keep"))
    assert "a unit of its own" in kept.text and not kept.doubtful
    english = told(TAGS, TextConfig(rules="english@1"))
    assert "the rules 'english@1' leave out those in brackets" in english and "text.tags=keep makes" not in english
    braced = look(["so {breath} it is"], TextConfig(rules="english@1"))
    assert [oddity.doubtful for oddity in braced] == [True], "there it becomes a word"
    [refused] = look(TAGS, TextConfig(tags="refuse"))
    assert refused.refused and refused.text.startswith(count)


def test_a_language_that_is_not_known_is_told_since_its_capitals_are_read_as_in_english() -> None:
    [oddity] = look(["ILIK"], BASIC2, "Türkçe")
    assert oddity.text.startswith("1 of 1 transcripts of train name a language that is not known, Türkçe (1)")
    assert not oddity.doubtful
    for language in ("tr", "tr-TR", "az_Latn", "Turkish", "en", "cmn-Hans-CN", None, ""):
        assert look(["ILIK"], BASIC2, language) == [], language
    assert look(["ILIK"], BASIC1, "Türkçe") == [], "these rules know no language at all"
    assert look(["ILIK"], BASIC2, "English") == [], "as Lhotse names it"


def test_what_is_told_of_turkish_letters_can_be_done() -> None:
    """Rules of number 1 refuse a language; none@1 changes no case."""
    assert "; rules of number 2, such as basic@2, know languages: with text.language=tr" in told(["ılık"], BASIC1)
    assert "; with text.language=tr" in told(["ılık"], BASIC2)
    assert look(["ılık"], NONE) == []


@pytest.mark.parametrize(
    ("texts", "spelling", "message"),
    [
        (
            ["ze\u200bro", "fine"],
            NONE,
            "1 of 2 transcripts of train hold characters that nobody sees, U+200B ZERO WIDTH SPACE (1)",
        ),
        (["안\u3164녕"], BASIC1, "U+3164 HANGUL FILLER"),
        (["ﬁne"], BASIC1, "hold another form of plain characters, U+FB01 LATIN SMALL LIGATURE FI (1)"),
        (["dont", "don’t", "don't"], NONE, "have another apostrophe than ', U+2019 RIGHT SINGLE QUOTATION MARK (1)"),
        (["п'ять", "пʼять"], BASIC1, "U+02BC MODIFIER LETTER APOSTROPHE (1)"),
        (["don´t"], BASIC1, "U+00B4 ACUTE ACCENT (1)"),
        (["мoлoко"], BASIC2, "mix scripts in a word, with letters that look alike, U+006F LATIN SMALL LETTER O (2)"),
        (
            ["IŞIK", "ılık"],
            BASIC2,
            "1 of 2 transcripts of train hold letters of Turkish or Azeri, and no language is set",
        ),
        (["İZMİR"], BASIC1, "U+0307 COMBINING DOT ABOVE"),
        (["room 12"], BASIC2, "1 of 1 transcripts of train hold digits"),
        (["...", "fine"], BASIC2, "1 of 2 transcripts of train hold no word, ... (1)"),
        (["-"], None, "hold no word, - (1)"),
        ([""], BASIC2, "hold no word, nothing (1)"),
        (["IN CAPITALS", "and not"], NONE, "1 of 2 transcripts of train are all capitals, others are not"),
        (["this is a text"] * 20, BASIC2, "20 of 20 transcripts of train have the same text, that of t:1"),
    ],
)
def test_each_kind_is_told(texts: list[str], spelling: TextConfig | None, message: str) -> None:
    assert message in told(texts, spelling)


@pytest.mark.parametrize(
    ("texts", "spelling"),
    [
        (["ze\u200bro ﬁne don´t don't İ"], TextConfig(language="tr")),  # these rules repair it
        (["ılık"], TextConfig(language="tr")),
        (["don’t", "don't"], BASIC1),
        (["IN CAPITALS", "and not"], BASIC1),
        (["yes"] * 50, BASIC2),
        (
            [f"sentence number {'x' * number} is this" for number in range(30)]
            + ["a common sentence that is read"] * 19,
            BASIC2,
        ),
    ],
)
def test_what_the_rules_repair_or_corpora_do_is_not_told(texts: list[str], spelling: TextConfig) -> None:
    assert look(texts, spelling) == []


def test_an_utterance_that_names_its_language_needs_no_hint() -> None:
    assert look(["ılık"], BASIC2, language="tr") == []


def test_a_million_transcripts_take_no_minutes() -> None:
    texts = [f"rubout g m e f three {number % 977} nine" for number in range(5000)]
    start = time.process_time()
    look([text.replace("e", "é") for text in texts], BASIC2)
    assert time.process_time() - start < 2.0, "seconds for 5,000: 0.1 are usual"
