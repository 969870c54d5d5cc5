"""Errors that vanish with a difference of spelling: what nobody sees, case, punctuation."""

import pytest

from hybrid_asr.scoring.report import SetScore, report
from hybrid_asr.scoring.scores import Scored


def scores_of(*pairs: tuple[str, str], metric="wer"):
    return report([Scored(f"u{n}", *pair) for n, pair in enumerate(pairs)], metric=metric)


def test_what_nobody_sees_is_counted_and_named() -> None:
    scores = scores_of(
        ("the co\u00adop store\u200b is", "the coop store is"), ("\u200epeople don’t", "people don't"), ("one", "two")
    )
    found = scores.spelling
    assert found is not None and (scores.words.errors, found.unseen) == (5, 4)
    assert {"U+200B ZERO WIDTH SPACE", "U+00AD SOFT HYPHEN", "U+200E LEFT-TO-RIGHT MARK"} <= set(found.characters)
    text = scores.text()
    assert "Note: 4 of 5 word errors differ by characters that cannot be told apart by eye (U+" in text
    assert "score with --rules basic@2 to ignore them" in text
    again = SetScore.from_json(scores.to_json())
    assert again.spelling == found


def test_words_that_differ_to_the_eye_are_none_of_them() -> None:
    found = scores_of(("one two", "one too"), ("naïve", "naive")).spelling
    assert found is not None and (found.unseen, found.case_or_punctuation, found.characters) == (0, 0, ())


@pytest.mark.parametrize(
    ("reference", "hypothesis", "case", "punctuation", "either"),
    [
        ("Hello World", "hello world", 2, 0, 2),
        ("hello, world.", "hello world", 0, 2, 2),
        ("Hello, world", "hello world", 0, 0, 1),
        ("co-op", "co op", 0, 2, 2),
        ("i'm here", "im here", 0, 0, 0),
    ],
)
def test_case_and_punctuation_by_themselves_and_together(reference, hypothesis, case, punctuation, either) -> None:
    found = scores_of((reference, hypothesis)).spelling
    assert found is not None
    assert (found.case, found.punctuation, found.case_or_punctuation, found.unseen) == (case, punctuation, either, 0)


def test_characters_are_counted_where_they_are_the_metric() -> None:
    scores = scores_of(("ﬁne store\u200b", "fine store"), metric="cer")
    assert scores.spelling is not None and scores.spelling.unseen == scores.characters.errors == 3
    assert "3 of 3 character errors differ by" in scores.text()


def test_empty_cells_are_told() -> None:
    scores = scores_of(("one", "nan"), ("two", "NaN"), ("null", "three"), ("four", "nan five"))
    assert scores.spelling is not None and scores.spelling.empty_cells == {"nan": 2}
    assert "write for an empty cell count as words: 2 'nan'; check both files" in scores.text()


def test_errors_of_tags_are_counted_by_themselves_and_are_none_of_punctuation() -> None:
    scores = scores_of(("so [noise] it is", "so it is"), ("one", "two"))
    assert scores.spelling is not None
    assert (scores.spelling.tags, scores.spelling.case_or_punctuation) == (1, 0)
    assert "Note: 1 of 2 word errors are of tags such as [noise]; score with --rules basic@2" in scores.text()
    former = scores.to_json()
    del former["spelling"]["tags"]
    read = SetScore.from_json(former).spelling
    assert read is not None and read.tags == 0
