"""What rows become: their own sets, or a split by a hash; bad rows are an error, or left out and named."""

from pathlib import Path

import pytest

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Utterance
from hybrid_asr.data.prepared import ReadingOptions, into_sets, reading_options
from hybrid_asr.data.splits import hash_fraction, parse_split, set_name
from hybrid_asr.data.table_checks import BadLines, Row, TableError

SOURCE = Path("t.csv")


def rows(*sets: str | None, text: str = "x", speaker: str | None = None) -> list[Row]:
    """A row of each set in turn, at lines from 2 on."""
    return [
        Row(
            Utterance(id=f"u{line}", audio=f"{line}.wav", duration_s=1.0, text=text, speaker=speaker),
            subset,
            SOURCE,
            line,
            {"text": text},
        )
        for line, subset in enumerate(sets, 2)
    ]


def members(prepared) -> dict[str, list[str]]:
    return {name: [one.id for one in utterances] for name, utterances in prepared.sets.items()}


def test_a_source_that_names_sets_gets_no_other_rows_in_them() -> None:
    prepared = into_sets(BadLines(), rows("train", "test", *["train"] * 50, "test-other"), SOURCE)
    assert list(prepared.sets) == ["train", "test", "test-other"]
    assert members(prepared)["test"] == ["u3"] and len(prepared.sets["train"]) == 51
    assert prepared.messages == (
        "note: there is no valid, and no valid.jsonl is written; to take it out of train, add --split valid=0.1",
    )


def test_a_source_without_train_can_be_decoded() -> None:
    prepared = into_sets(BadLines(), rows("test", "dev_other"), SOURCE)
    assert list(prepared.sets) == ["test", "dev_other"]
    assert any("there is no train, so nothing can be trained on this" in message for message in prepared.messages)


def test_a_split_takes_the_missing_set_out_of_train_alone() -> None:
    everything = rows(*["train"] * 40, "test")
    prepared = into_sets(BadLines(), everything, SOURCE, ReadingOptions(split={"valid": 0.25}))
    held = [name for name in members(prepared)["valid"] if name]
    assert members(prepared)["test"] == ["u42"] and len(held) + len(prepared.sets["train"]) == 40
    assert all(0.1 <= hash_fraction(name) < 0.35 for name in held) and 3 <= len(held) <= 18
    with pytest.raises(TableError, match=r"t.csv has a set test already; leave test out of --split"):
        into_sets(BadLines(), everything, SOURCE, ReadingOptions(split={"test": 0.1}))


def test_a_source_that_names_no_sets_is_split_and_told_how_to_change_that() -> None:
    prepared = into_sets(BadLines(), rows(*[None] * 40), SOURCE)
    assert list(prepared.sets) == ["train", "valid", "test"]
    (told,) = prepared.messages
    assert "t.csv names no sets; 10 % of the utterances are test" in told and "--split valid=0.1,test=0.05" in told
    together = into_sets(BadLines(), rows(*[None] * 40), SOURCE, ReadingOptions(split={}))
    assert list(together.sets) == ["train"] and len(together.messages) == 2
    only = into_sets(BadLines(), rows(*[None] * 40), SOURCE, ReadingOptions(split={"test": 0.3}))
    assert list(only.sets) == ["train", "test"]
    assert all(hash_fraction(name) < 0.3 for name in members(only)["test"])


def test_few_rows_can_be_kept_together() -> None:
    with pytest.raises(TableError, match=r"2 utterances are too few .* or keep them together with --split none"):
        into_sets(BadLines(), rows(None, None), SOURCE)


@pytest.mark.parametrize("subset", ["test", "test-other", "dev_other", "eval"])
def test_sets_that_are_only_decoded_may_have_empty_transcripts(subset) -> None:
    assert into_sets(BadLines(), rows(subset, text=" "), SOURCE).sets[subset][0].text == " "


@pytest.mark.parametrize("subset", ["train", "valid", None])
def test_other_sets_may_not(subset) -> None:
    with pytest.raises(TableError, match=r"t.csv:2: there is no transcript, in a row [^\n]*\n.*--keep-going") as caught:
        into_sets(BadLines(), rows(subset, text=""), SOURCE)
    assert "a row of a test set may be without words" in str(caught.value)


def test_all_bad_rows_are_counted_or_left_out_and_named() -> None:
    def problems() -> BadLines:
        found = BadLines()
        for line in range(100, 107):
            found.add(SOURCE, line, f"bad {line}; mend it", kind="a riddle", id=f"b{line}", row={"line": line})
        return found

    bad = [*rows("train", "test"), *rows("test"), *rows("valid", text="")]
    with pytest.raises(
        TableError, match=r"and 4 more, 9 in all: 7 with a riddle, 1 with .*\nto leave such lines out.*add --keep-going"
    ):
        into_sets(problems(), bad, SOURCE)
    prepared = into_sets(problems(), bad, SOURCE, ReadingOptions(keep_going=True))
    assert members(prepared) == {"train": ["u2"], "test": ["u3"]}
    assert len(prepared.rejected) == 9
    told = "\n".join(prepared.messages)
    assert "warning: 9 of 11 lines are left out; rejected.jsonl names all of them" in told
    assert "7 with a riddle: t.csv:100 (b100)," in told and "t.csv:104 (b104) and 2 more" in told
    assert "1 with no transcript: t.csv:2 (u2)" in told and "1 with an id that was used before: t.csv:2 (u2)" in told
    last = prepared.rejected[-1]
    assert (last.line, last.id, last.reason, last.row) == (106, "b106", "bad 106; mend it", {"line": 106})


@pytest.mark.parametrize(
    ("written", "name"),
    [
        *[(name, "train") for name in ("train", "Training", "tr", "train-clean-100", "train_other_500", "train.2")],
        *[(name, "valid") for name in ("valid", "dev", "Validation", "VAL", "cv", "devel")],
        *[(name, "test") for name in ("test", "Testing", "tt")],
        *[
            (name, name)
            for name in ("test-clean", "test_other", "dev_other", "eval", "eval92", "valid_unseen", "test2")
        ],
        ("Test Clean", "test_clean"),
    ],
)
def test_names_of_sets(written, name) -> None:
    assert set_name(written) == name


@pytest.mark.parametrize("written", ["validated", "holdout", "other", "3", "", "test/../../x", "testament", "trian"])
def test_what_is_no_set(written) -> None:
    with pytest.raises(UserError, match="unknown set"):
        set_name(written)


def test_a_split_as_it_is_written() -> None:
    assert parse_split("valid=0.1,test=.05") == {"valid": 0.1, "test": 0.05} and parse_split("none") == {}
    assert parse_split("dev=0.1") == parse_split("val=0.1") == {"valid": 0.1}, "a set has all its names here, too"
    for text in ("valid", "valid=2", "valid=0.0", "train=0.1", "valid=0.1,dev=0.2", "valid=10%", ""):
        with pytest.raises(UserError, match=r"is not SET=SHARE; write valid=0.1, valid=0.1,test=0.1, or none"):
            parse_split(text)
    with pytest.raises(UserError, match="nothing would be left for train"):
        parse_split("valid=0.5,test=0.5")


def test_options_as_they_are_written() -> None:
    options = reading_options(keep_going=True, split=None, ignore_columns="a, b", columns="text=my words,id=n")
    assert options == ReadingOptions(True, None, ("a", "b"), {"text": "my words", "id": "n"})
    with pytest.raises(UserError, match="'text' is not MEANING=NAME"):
        reading_options(keep_going=False, split=None, ignore_columns=None, columns="text")


def row(name: str, subset: str | None = "train", **fields) -> Row:
    return Row(
        Utterance(**{"id": name, "audio": f"{name}.wav", "duration_s": 1.0, "text": "x"} | fields), subset, SOURCE, 2
    )


def test_a_recording_in_train_and_in_another_set_is_told() -> None:
    """Whole or in other parts: the same voice, and the same room."""
    found = [row("a"), row("b", "test", audio="a.wav", start_s=2.0), row("c", "test"), row("d", "dev-x", audio="a.wav")]
    told = into_sets(BadLines(), found, SOURCE).messages
    for name in ("test", "dev-x"):
        told_of = f"warning: 1 audio file is both in train and in {name}: a.wav; the error rate of {name} will be"
        assert any(message.startswith(told_of) for message in told)
    assert any("read by more than one row from one start or to one end: a.wav;" in message for message in told)
    assert not any(
        "both in train" in message for message in into_sets(BadLines(), [found[0], found[2]], SOURCE).messages
    )


def test_a_row_that_is_left_out_shares_no_file() -> None:
    found = [row("a"), row("b", audio="a.wav", text=""), row("c")]
    told = into_sets(BadLines(), found, SOURCE, ReadingOptions(keep_going=True)).messages
    assert not any("more than one row" in message for message in told)


def test_speakers_who_may_be_one_are_told() -> None:
    names = ("Anna", "anna", "Jose\u0301", "Jos\u00e9", "M 01", "M01", "Bob")
    told = into_sets(BadLines(), [row(f"u{n}", speaker=name) for n, name in enumerate(names)], SOURCE).messages
    (found,) = [message for message in told if "spelled" in message]
    assert found.startswith("warning: 3 speakers seem to be spelled in several ways: 'Anna' and 'anna', 'Jose")
    assert "'M 01' and 'M01'; spell them in one" in found and "Bob" not in found


def test_where_every_row_is_bad_the_reasons_are_the_error() -> None:
    with pytest.raises(TableError, match=r"t\.csv:2: there is no transcript, in a row of train.*\nno other lines"):
        into_sets(BadLines(), [row("a", text="")], SOURCE, ReadingOptions(keep_going=True))
