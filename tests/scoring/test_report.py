"""The error report of a set, and of two systems on it."""

import json
import math
import random
import re
from statistics import NormalDist

import pytest

from hybrid_asr.scoring.align import ErrorCounts, align
from hybrid_asr.scoring.compare import compare
from hybrid_asr.scoring.intervals import Rate
from hybrid_asr.scoring.report import SetScore, report
from hybrid_asr.scoring.scores import Confusion, Scored, ScoringError
from hybrid_asr.scoring.student_t import p_of
from hybrid_asr.scoring.text_report import alignment, width
from hybrid_asr.text.normalize import normalize

ITEMS = [
    Scored("u1", "one two three", "one too three", "ann"),
    Scored("u2", "four five", "four five", "ann"),
    Scored("u3", "one two", "many one too", "bob"),
    Scored("u4", "six", "", "bob"),
    Scored("u5", "seven eight", "seven eight", "cat"),
]
BETTER = [item._replace(hypothesis=item.reference) for item in ITEMS]


def test_rates_by_hand() -> None:
    scores = report(ITEMS)
    assert scores.words == ErrorCounts(2, 1, 1, 10)
    assert scores.wer.value == scores.rate.value == 0.4
    assert scores.characters == ErrorCounts(2, 3, 5, 13 + 9 + 7 + 3 + 11)
    assert scores.cer.value == 10 / 43
    assert scores.ser.value == 0.6
    assert (scores.utterances, scores.empty) == (5, 1)
    for rate in (scores.wer, scores.cer, scores.ser):
        assert rate.ci95 is not None and rate.ci95.low <= rate.value <= rate.ci95.high
    assert scores.wer.ci95_speakers is not None and scores.wer.ci95_speakers != scores.wer.ci95


def test_sums_of_utterances_and_of_speakers_are_the_set() -> None:
    scores = report(ITEMS)
    assert sum((row.words for row in scores.rows), ErrorCounts()) == scores.words
    assert sum((item.characters for item in scores.speakers), ErrorCounts()) == scores.characters
    assert [(item.speaker, item.utterances, item.words.errors) for item in scores.speakers] == [
        ("bob", 2, 3),
        ("ann", 2, 1),
        ("cat", 1, 0),
    ]
    assert sum(item.count for item in scores.confusions) == scores.words.errors
    assert scores.confusions == (Confusion("two", "too", 2), Confusion("", "many", 1), Confusion("six", "", 1))


def test_order_of_utterances_changes_no_rate_and_reruns_are_identical() -> None:
    first = report(ITEMS).to_json()
    assert report(ITEMS).to_json() == first
    shuffled = report(random.Random(1).sample(ITEMS, len(ITEMS))).to_json()
    rows = [data.pop("per_utterance") for data in (first, shuffled)]
    assert shuffled == first
    assert sorted(rows[0], key=lambda row: row["id"]) == sorted(rows[1], key=lambda row: row["id"])


def test_json_has_the_names_that_scripts_rely_on() -> None:
    data = json.loads(json.dumps(report(ITEMS).to_json(), allow_nan=False))
    assert data["wer"] == 0.4 and data["ser"] == 0.6
    assert data["wer_ci95"][0] <= data["wer"] <= data["wer_ci95"][1]
    assert (data["substitutions"], data["deletions"], data["insertions"], data["reference_words"]) == (2, 1, 1, 10)
    assert (data["utterances"], data["empty"], data["metric"]) == (5, 1, "wer")
    assert data["per_utterance"][2]["insertions"] == 1
    assert data["per_speaker"][0]["wer"] == 1.0


@pytest.mark.parametrize("metric", ["wer", "cer"])
def test_the_score_of_a_set_reads_itself_and_its_intervals_are_computed_where_they_are_missing(metric) -> None:
    scores = report(ITEMS, metric=metric)
    data = json.loads(json.dumps(scores.to_json()))
    again = SetScore.from_json(data)
    assert again.to_json() == data and again.rate == scores.rate and again.utterances == 5
    assert SetScore.from_json({key: value for key, value in data.items() if "ci95" not in key}) == again
    assert SetScore.from_json(data | {"spelling": None}).spelling is None
    for key in data.keys() - {"utterances", "speakers", "spelling", "cer_ci95"}:
        with pytest.raises(LookupError):
            SetScore.from_json({name: value for name, value in data.items() if name != key})
    for damage in ({"wer": None}, {"wer_ci95": 1}, {"confusions": [1]}, {"per_speaker": 3}, {"per_utterance": []}):
        with pytest.raises((LookupError, TypeError, ValueError)):
            SetScore.from_json(data | damage)


def test_cer_as_the_metric_of_a_language_without_spaces() -> None:
    items = [Scored("a", "今天天气", "今天 天汽"), Scored("b", "你好", "你 好")]
    scores = report(items, metric="cer")
    assert scores.rate.value == scores.cer.value == 1 / 6
    assert scores.ser.value == 0.5  # the second differs in a space only, which is no character here
    assert scores.confusions == (Confusion("气", "汽", 1),)
    assert "6 characters: 1 substitution," in scores.text()


@pytest.mark.parametrize("speakers", [2, 3])
def test_the_interval_over_speakers_leads_and_where_there_is_none_this_is_told(speakers) -> None:
    items = [Scored(f"u{n}", "one two", "one too" if n % 3 else "one two", f"s{n % speakers}") for n in range(9)]
    scores = report(items)
    text = scores.text()
    assert ("Note: not over speakers, who are unknown or fewer than three" in text) == (speakers < 3)
    assert (re.match(r"WER  33.33 %  95 % interval over 3 speakers \[.*\], over 9 utterances \[", text) is None) == (
        speakers < 3
    )
    assert scores.wer.leading == (scores.wer.ci95_speakers if speakers == 3 else scores.wer.ci95)


def test_one_utterance_has_a_rate_but_no_interval() -> None:
    scores = report([Scored("a", "one two", "one", "ann")])
    assert scores.wer == Rate(0.5, None, None)
    assert scores.to_json()["wer_ci95"] is None
    assert "too few utterances for an interval" in scores.text()


def test_unknown_speakers_mean_no_interval_over_speakers() -> None:
    items = [*ITEMS, Scored("u6", "nine", "nine")]
    scores = report(items)
    assert scores.wer.ci95 is not None and scores.wer.ci95_speakers is None
    assert len(scores.speakers) == 3


def test_an_empty_reference_counts_its_insertions() -> None:
    scores = report([Scored("a", "", "noise"), Scored("b", "one two", "one two")])
    assert scores.wer.value == 0.5
    json.dumps(scores.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "no utterance"),
        ([ITEMS[0], ITEMS[0]], "'u1' occurs more than once"),
        (
            [Scored("a", " ", "x"), Scored("b", "", "")],
            "none of the 2 references has a word, .* the hypotheses have 1 word, all of them insertions",
        ),
    ],
)
def test_what_cannot_be_scored_is_refused(items: list[Scored], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        report(items)


def test_text_shows_rates_speakers_confusions_and_alignments() -> None:
    text = report(ITEMS).text()
    assert "WER  40.00 %  95 % interval over 3 speakers [" in text and ", over 5 utterances [" in text
    assert "10 words: 2 substitutions, 1 deletion, 1 insertion; 5 utterances, 1 with an empty hypothesis" in text
    assert re.search(r"^two +too +2$", text, re.MULTILINE)
    assert "u3, speaker bob: 2 errors in 2 words\nREF: **** one two\nHYP: many one too\n     I        S" in text
    assert "Utterances with errors (1 of 3)" in report(ITEMS).text(aligned=1)
    assert "Utterances with errors" not in report(ITEMS).text(aligned=0)
    assert "Most frequent errors" not in report(BETTER).text()


def test_a_difference_of_spelling_only_is_pointed_out() -> None:
    items = [Scored(str(i), "Hello, World!", normalize("Hello, World!", "upper@1")) for i in range(3)]
    assert (
        "Note: 6 of 6 word errors are of case or punctuation (0 of case alone, 0 of punctuation" in report(items).text()
    )
    assert "Note:" not in report([Scored("a", "one two", "three four")]).text()


def test_alignments_line_up_in_wide_scripts() -> None:
    lines = alignment(align("天气 很好 ok", "天汽 ok no", "word"), "word").split("\n")
    assert lines[0].startswith("REF: 天气 ") and lines[1].startswith("HYP: 天汽 ")
    assert width("天e\u0301a\u200d") == 4
    steps = align("天气很好", "天汽很", "character")
    assert alignment(steps, "character") == "REF: 天气很好\nHYP: 天汽很**\n       S   D"


def test_comparison_of_two_systems() -> None:
    scores, better = report(ITEMS), report(BETTER)
    pair = compare(scores, better)
    assert pair.over_utterances.difference == 0.4
    assert (pair.better, pair.worse) == (0, 3)
    data = json.loads(json.dumps(pair.to_json(), allow_nan=False))
    assert data["difference"] == 0.4 and data["wer"] == 0.4 and data["against"]["wer"] == 0.0
    assert data["ci95"][0] <= 0.4 <= data["ci95"][1] and 0 < data["p_bootstrap"] <= 1
    assert data["ci95_speakers"] is not None
    assert "WER 40.00 % against 0.00 %\ndifference 40.00 % absolute" in pair.text()
    assert (data["test"], data["p_bootstrap"]) == ("sign flips", 0.25), "three of five utterances differ"
    assert "p = 0.25 (exact sign flips of 5 utterances, at most 2^5 choices: never below 0.0625)" in pair.text()
    assert (data["units"], data["units_speakers"], data["p_is_bound"], data["p_smallest"]) == (5, 3, False, 2 / 2**5)
    assert data["speakers"] == 3
    assert compare(better, scores).over_utterances.difference == -0.4


def test_two_utterances_that_differ_alike_say_little() -> None:
    items = [Scored("u1", "one two three", "one two"), Scored("u2", "four five six seven", "four five six")]
    pair = compare(report(items), report([item._replace(hypothesis=item.reference) for item in items]))
    text = pair.text()
    assert "28.57 % absolute, no interval over 2 utterances: all differ by the same amount, p = 0.5 (exact" in text
    data = pair.to_json()
    assert (data["ci95"], data["p_bootstrap"], data["test"], data["test_speakers"]) == (None, 0.5, "sign flips", None)


def test_twenty_utterances_are_compared_by_the_bootstrap() -> None:
    """Of 20 alike pairs 7 differ by 0 and 13 by 1 error in 3 words: the interval is that of a t test."""
    items = [Scored(f"u{n}", "one two three", "one two" if n % 3 else "one two three") for n in range(20)]
    pair = compare(report(items), report([item._replace(hypothesis=item.reference) for item in items]))
    data = pair.to_json()
    half = 2.093024 * math.sqrt(0.65 * 0.35 / 19) / 3
    assert data["test"] == "bootstrap" and data["ci95"] == pytest.approx([0.65 / 3 - half, 0.65 / 3 + half])
    assert data["p_bootstrap"] == pytest.approx(p_of(NormalDist().inv_cdf(1 / 10_001) * math.sqrt(0.95), 19.0))
    assert data["p_is_bound"] and "p ≤ 0.002 (the least that 10,000 resamples can tell)" in pair.text()


def test_comparison_with_itself_and_in_another_order() -> None:
    scores = report(ITEMS)
    same = compare(scores, report(ITEMS[::-1]))
    assert same.over_utterances == (0.0, None, 1.0, "sign flips", 5, 2 / 2**5)
    assert same.over_speakers == (0.0, None, 1.0, "sign flips", 3, 2 / 2**3)
    assert (same.better, same.worse) == (0, 0)


def test_comparison_follows_the_metric_and_needs_equal_references() -> None:
    scores, better = report(ITEMS, metric="cer"), report(BETTER, metric="cer")
    assert compare(scores, better).over_utterances.difference == pytest.approx(10 / 43)
    with pytest.raises(
        ScoringError, match=r"not scored on the same utterances \(1 utterance only of the first system: u5\)"
    ):
        compare(scores, report(ITEMS[:4]))
    with pytest.raises(ScoringError, match="different references of 1 utterance: u1; score"):
        compare(scores, report([ITEMS[0]._replace(reference="other"), *ITEMS[1:]]))


def test_comparison_without_speakers_says_nothing_of_them() -> None:
    items = [item._replace(speaker=None) for item in ITEMS]
    pair = compare(report(items), report(items))
    assert pair.over_speakers is None
    assert pair.to_json()["p_bootstrap_speakers"] is None
    assert pair.to_json()["ci95_speakers"] is None and " speakers [" not in pair.text()
