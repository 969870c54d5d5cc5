"""The user's tables and Kaldi folders: what is read, and how every mistake is named."""

import re
from collections import Counter

import numpy as np
import pytest
import soundfile

from hybrid_asr.data.manifest import Manifest, write_manifest
from hybrid_asr.data.table_checks import TableError
from hybrid_asr.data.tables import read_table


@pytest.fixture
def table(tmp_path, make_wav):
    """Write a table beside a.wav (1 s), b.wav (2 s) and c.wav (3 s)."""
    for seconds, name in enumerate(("a.wav", "b.wav", "c.wav"), 1):
        make_wav(name, seconds)

    def write(text: str, *, encoding: str = "utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(("encoding", "newline"), [("utf-8", "\n"), ("utf-8-sig", "\r\n")])
def test_a_table_with_all_columns(table, tmp_path, separator, encoding, newline) -> None:
    lines = ["Audio,text,speaker,start,duration,set,language,id,remark"]
    lines += [
        "a.wav,grüß gott,anna,,,train,de,x1,r",
        "b.wav,two,bob,0.5,1.25,dev,,x2,",
        f"{tmp_path}/c.wav,three,,1,,TEST,,x3,",
    ]
    path = table(newline.join(line.replace(",", separator) for line in lines) + newline, encoding=encoding)
    sets = read_table(path).sets
    assert [(name, [utterance.id for utterance in found]) for name, found in sets.items()] == [
        ("train", ["x1"]),
        ("valid", ["x2"]),
        ("test", ["x3"]),
    ]
    one, two, three = (sets[name][0] for name in ("train", "valid", "test"))
    assert (one.text, one.speaker, one.language, one.start_s, one.duration_s) == ("grüß gott", "anna", "de", 0.0, 1.0)
    assert (two.start_s, two.duration_s, three.start_s, three.duration_s) == (0.5, 1.25, 1.0, 2.0)
    assert three.speaker is None and one.audio == str(tmp_path / "a.wav")
    for name, found in sets.items():
        write_manifest(tmp_path / "elsewhere" / f"{name}.jsonl", found)
        assert list(Manifest.read(tmp_path / "elsewhere" / f"{name}.jsonl")) == found


def test_quotes_and_separators_inside_fields(table) -> None:
    path = table('audio,text,set\na.wav,"yes, ""really""",train\nb.wav,"two\nlines",valid\nc.wav,x,test\n')
    sets = read_table(path).sets
    assert sets["train"][0].text == 'yes, "really"' and sets["valid"][0].text == "two\nlines"


def test_quotes_between_tabs_are_characters_unless_they_enclose_a_field(table) -> None:
    """As in Common Voice's tables and as in a spreadsheet's."""
    lines = ["audio\ttext\tset", 'a.wav\t"Yes," he said\ttrain', 'b.wav\t"a ""b"" c"\tvalid', 'c.wav\t"open\ttest']
    sets = read_table(table("\n".join(lines))).sets
    assert [found[0].text for found in sets.values()] == ['"Yes," he said', 'a "b" c', '"open']


def test_ids_are_made_of_path_and_start(table, make_wav, tmp_path) -> None:
    make_wav("far/away file.wav", 1.0)
    path = table("audio,text,start,duration,set\nfar/away file.wav,x,,,train\nb.wav,y,0,1,valid\nb.wav,z,1,1,test\n")
    assert [found[0].id for found in read_table(path).sets.values()] == ["far-away_file", "b-0000000", "b-0001000"]


def many(make_wav, count: int, speakers: int | None = None) -> str:
    make_wav("a.wav", 1.0)
    rows = [f"a.wav,x,u{index}" + (f",s{index % speakers}" if speakers else "") for index in range(count)]
    return "\n".join(["audio,text,id" + (",speaker" if speakers else ""), *rows])


def test_sets_that_are_not_named_are_held_out_by_a_hash(table, make_wav) -> None:
    sets = read_table(table(many(make_wav, 400))).sets
    assert 20 < len(sets["test"]) < 65 and 20 < len(sets["valid"]) < 65
    assert Counter(utterance.id for found in sets.values() for utterance in found) == Counter(
        f"u{i}" for i in range(400)
    )
    more = read_table(table(many(make_wav, 500))).sets
    for name, found in sets.items():
        assert {utterance.id for utterance in found} <= {utterance.id for utterance in more[name]}, (
            "rows keep their set"
        )


def test_whole_speakers_are_held_out(table, make_wav) -> None:
    for speakers in (3, 40):
        sets = read_table(table(many(make_wav, 200, speakers))).sets
        groups = [{utterance.speaker for utterance in found} for found in sets.values()]
        assert all(groups) and sum(map(len, groups)) == len(set.union(*groups)) == speakers


def test_tiny_tables_still_give_three_sets(table, make_wav) -> None:
    for count in range(3, 12):
        assert all(read_table(table(many(make_wav, count))).sets.values())
    with pytest.raises(TableError, match=r"2 utterances are too few to take test and valid out of train; add more"):
        read_table(table(many(make_wav, 2)))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("gone.wav,x,,,train", "gone.wav"),
        ("a.wav,,,,train", "there is no transcript, in a row of train; write what is said"),
        (",x,,,train", "the column 'audio' is empty"),
        ("a.wav,x,,5,train", "lasts 1.00 s, the entry ends at 5.00 s; correct its times"),
        ("a.wav,x,2,,train", "lies between 2.00 and 1.00 s; correct its times"),
        ("a.wav,x,one,,train", "the column 'start' is 'one', it must be seconds such as 1.25"),
        ("a.wav,x,,-1,train", "the column 'duration' is '-1'"),
        ("a.wav,x,,nan,train", "the column 'duration' is 'nan'"),
        ("a.wav,x,,,trian", "unknown set 'trian'; did you mean 'train'?"),
        ("a.wav,x", "2 fields, the header has 5; put quotes around"),
        ("a.wav,x,,,train,more", "6 fields, the header has 5"),
        ("b.wav,x,,,train", "the same row is at {path}:2; remove one of both"),
        ("b.wav,y,,,train", "the id 'b' is also at {path}:2; give every utterance its own id"),
    ],
)
def test_a_bad_row_is_named_with_its_remedy(table, row, message) -> None:
    path = table(f"audio,text,start,duration,set\nb.wav,x,,,train\n{row}\nc.wav,y,,,test\n")
    with pytest.raises(TableError) as caught:
        read_table(path)
    assert str(caught.value).startswith(f"{path}:3: ") and message.format(path=path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("place,text\na.wav,x\n", ":1: there is no column 'audio', only place, text; rename the right one"),
        ("audio,text,speeker\na.wav,x,s\n", ":1: unknown column 'speeker', did you mean 'speaker'?"),
        ("audio,text,text\na.wav,x,s\n", ":1: the column 'text' occurs 2 times"),
        ("", "the table is empty"),
        ("audio,text\n", "there are no utterances"),
        ('audio,text\na.wav,"x\n', "not a table"),
    ],
)
def test_a_table_that_is_none(table, text, message) -> None:
    with pytest.raises(TableError, match=re.escape(message)):
        read_table(table(text))


def test_a_table_in_another_encoding_and_a_missing_one(table, tmp_path) -> None:
    with pytest.raises(TableError, match=r"table\.csv:2: the file is not UTF-8; save it as UTF-8"):
        read_table(table("audio,text\na.wav,grün\n", encoding="latin-1"))
    with pytest.raises(TableError, match=r"no\.csv: there is no such file"):
        read_table(tmp_path / "no.csv")


def test_all_mistakes_of_a_table_are_counted(table) -> None:
    path = table("audio,text\n" + "a.wav,\n" * 9)
    with pytest.raises(TableError, match="and 4 more, 9 in all") as caught:
        read_table(path)
    assert re.findall(r"csv:(\d+):", str(caught.value)) == ["2", "3", "4", "5", "6"]


@pytest.mark.parametrize(
    ("header", "times", "start", "seconds"),
    [
        ("start,end", "0.5,1.75", 0.5, 1.25),
        ("begin,stop", "0,2", 0.0, 2.0),
        ("start_ms,end_ms", "500,1750", 0.5, 1.25),
        ("offset,duration", "1,0.5", 1.0, 0.5),
        ("start,end,duration", "0.5,1.75,1.255", 0.5, 1.25),
        ("start,end,duration[ms]", "0.5,,1250", 0.5, 1.25),
        ("start_time,end_time", "0:00:00.5,00:01.75", 0.5, 1.25),
        ("start,end", ",1.5", 0.0, 1.5),
    ],
)
def test_times_of_segments(table, header, times, start, seconds) -> None:
    """What is after the end of a segment is not trained on."""
    one = read_table(table(f"audio,text,set,{header}\nc.wav,x,train,{times}\n")).sets["train"][0]
    assert (one.start_s, one.duration_s) == pytest.approx((start, seconds)) and one.id == f"c-{round(start * 1000):07d}"


def test_a_decimal_comma_where_commas_do_not_separate(table) -> None:
    one = read_table(table("audio;text;start;end;set\nc.wav;a, b;0,5;1,75;train\n")).sets["train"][0]
    assert (one.text, one.start_s, one.duration_s) == ("a, b", 0.5, 1.25)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ("0,2,1.98", "from 0 to 2 s are 2.000 s, but the duration is 1.98 s; correct one"),
        ("2,1,", "nothing of audio .* lies between 2.00 and 1.00 s"),
        ("0,3.11,", "lasts 3.00 s, the entry ends at 3.11 s"),
    ],
)
def test_times_that_contradict_each_other_or_the_audio(table, times, message) -> None:
    with pytest.raises(TableError, match=f":2: .*{message}"):
        read_table(table(f"audio,text,set,start,end,duration\nc.wav,x,train,{times}\n"))


def test_a_segment_that_ends_a_little_late_is_cut_and_told(table) -> None:
    prepared = read_table(table("audio,text,set,start,end\nc.wav,x,train,1,3.1\nb.wav,x,train,0,2.005\n"))
    late, exact = prepared.sets["train"]
    assert (late.duration_s, exact.duration_s) == (2.0, 2.005)
    cut = [message for message in prepared.messages if "past the recording" in message]
    assert len(cut) == 1 and cut[0].startswith("warning: 1 segment ends up to 0.1 s past") and "by 0.100 s" in cut[0]


@pytest.mark.parametrize(("first", "second"), [("1", "2"), ("left", "right"), ("A", "B"), ("0", "1")])
def test_channels_are_counted_from_1(tmp_path, first, second) -> None:
    soundfile.write(tmp_path / "s.wav", np.full((16000, 2), 0.1), 16000)
    (tmp_path / "t.csv").write_text(f"path,sentence,channel,split\ns.wav,x,{first},train\ns.wav,y,{second},train\n")
    prepared = read_table(tmp_path / "t.csv")
    assert [(one.id, one.channel) for one in prepared.sets["train"]] == [("s-1", 1), ("s-2", 2)]
    assert not [message for message in prepared.messages if "one start" in message]


def test_a_channel_that_is_not_there(table) -> None:
    with pytest.raises(TableError, match="has no channel 2, only 1"):
        read_table(table("audio,text,channel,set\na.wav,x,2,train\n"))
    with pytest.raises(TableError, match="the channel is 'middle', it must be a number, left or right"):
        read_table(table("audio,text,channel,set\na.wav,x,middle,train\n"))


def test_rows_that_share_a_whole_file_are_told(table) -> None:
    for times in (",", ",1.5"):
        path = table(f"audio,text,id,set,start\nc.wav,x,1,train,\nc.wav,y,2,train{times}\nb.wav,z,3,train,\n")
        (told,) = [message for message in read_table(path).messages if "one start" in message]
        assert "1 audio file is read by more than one row from one start or to one end: " in told
        assert "c.wav" in told and "b.wav" not in told
    path = table("audio,text,set,start,end\nc.wav,x,train,0,1\nc.wav,y,train,1,3\n")
    assert not [message for message in read_table(path).messages if "one start" in message]


def test_names_that_stand_for_nobody_are_no_speaker(table) -> None:
    prepared = read_table(table("audio,text,set,speaker\na.wav,x,train,nan\nb.wav,y,train,NaN\nc.wav,z,train,Nana\n"))
    assert [one.speaker for one in prepared.sets["train"]] == [None, None, "Nana"]
    assert "note: taken for speakers that are not known: 'nan' in 1, 'NaN' in 1 rows" in prepared.messages


def test_what_is_read_and_what_is_passed_over_is_told_once(table) -> None:
    path = table("path,sentence,client_id,age,up_votes,split\na.wav,x,s,,1,train\n")
    messages = read_table(path).messages
    assert "note: passed over: columns age, up_votes" in messages
    assert "note: read: columns path as audio, sentence as text, client_id as speaker, split as set" in messages


@pytest.mark.parametrize("more", ["b.wav,y\n", ""])
def test_a_first_line_that_is_a_row(table, more) -> None:
    with pytest.raises(
        TableError, match=r"csv:1: the first line is a row rather than a header: 'a.wav' names an audio file"
    ):
        read_table(table(f"a.wav,x\n{more}"))


@pytest.fixture
def release(tmp_path, make_wav):
    """A release like Common Voice's: tables of sets, others beside them, and audio in clips/."""
    for name in "abcd":
        make_wav(f"cv/clips/{name}.wav", 0.2)
    sets = {"train": "ab", "dev": "c", "test": "d", "validated": "abcd", "invalidated": "a", "other": "b"}
    for name, files in sets.items():
        rows = [f"{'s' if file in 'ac' else 't'}\t{file}.wav\t{file}\ten" for file in files]
        (tmp_path / "cv" / f"{name}.tsv").write_text("\n".join(["client_id\tpath\tsentence\tlocale", *rows]) + "\n")
    (tmp_path / "cv" / "clip_durations.tsv").write_text("clip\tduration[ms]\na.wav\t200\n")
    return tmp_path / "cv"


def test_a_folder_of_tables_is_read_by_their_names(release) -> None:
    prepared = read_table(release)
    assert {name: [one.id for one in found] for name, found in prepared.sets.items()} == {
        "train": ["a", "b"],
        "valid": ["c"],
        "test": ["d"],
    }
    told = "\n".join(prepared.messages)
    assert "passed over: tables clip_durations.tsv, invalidated.tsv, other.tsv, validated.tsv" in told
    assert "note: 4 audio files were found in clips/ beside the table" in told
    assert "warning: 1 speaker is both in train and in valid: s; the error rate of valid will be too good" in told
    assert prepared.sets["train"][0].audio == str(release / "clips" / "a.wav")


def test_subfolders_with_metadata_are_sets(tmp_path, make_wav) -> None:
    for name in ("train", "validation"):
        make_wav(f"hf/{name}/a.wav", 0.2)
        (tmp_path / "hf" / name / "metadata.csv").write_text("file_name,transcription\na.wav,x\n")
    sets = read_table(tmp_path / "hf").sets
    assert {name: [one.id for one in found] for name, found in sets.items()} == {
        "train": ["train-a"],
        "valid": ["validation-a"],
    }


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"dev.csv": "audio,text\n"}, r"dev.csv, .*dev.tsv are all valid; name one with table:FILE"),
        ({"train.tsv": "path\tsentence\tsplit\na.wav\tx\ttest\n"}, "the table is train by its name, the row is 'test'"),
    ],
)
def test_folders_that_contradict_themselves(release, more, message) -> None:
    for name, text in more.items():
        (release / name).write_text(text)
    with pytest.raises(TableError, match=message):
        read_table(release)


def test_a_folder_without_tables_of_sets(tmp_path) -> None:
    with pytest.raises(TableError, match=r"no table is named as a set, such as train.tsv, and no .csv"):
        read_table(tmp_path)
    for name in ("one", "two"):
        (tmp_path / f"{name}.csv").write_text("audio,text\n")
    with pytest.raises(TableError, match=r"only one.csv, two.csv; name one with table:FILE"):
        read_table(tmp_path)


def test_half_a_character_is_refused_where_it_stands(tmp_path, make_wav) -> None:
    make_wav("a.wav", 0.2)
    lines = [
        '{"audio": "a.wav", "text": "x", "split": "train"}',
        '{"audio": "a.wav", "text": "\\ud83d", "split": "test"}',
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(lines))
    with pytest.raises(TableError, match=r"t\.jsonl:2: a text contains half of a surrogate pair"):
        read_table(tmp_path / "t.jsonl")


def test_a_table_of_a_folder_without_rows_is_told(release) -> None:
    """Small languages of Common Voice have such ones."""
    (release / "dev.tsv").write_text((release / "dev.tsv").read_text().splitlines()[0] + "\n")
    prepared = read_table(release)
    assert list(prepared.sets) == ["train", "test"]
    assert any(
        one.startswith(f"warning: {release / 'dev.tsv'} has no rows, so nothing is") for one in prepared.messages
    )
