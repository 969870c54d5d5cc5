"""Columns of tables: what published formats call them, what is doubted, what is told."""

import csv
import io
import re
from pathlib import Path

import pytest

from hybrid_asr.data.columns import SPELLINGS, find_columns, known_meaning
from hybrid_asr.data.prepared import ReadingOptions
from hybrid_asr.data.table_checks import BadLines, TableError
from hybrid_asr.data.table_records import Record, Table, read_records

PUBLISHED = {
    "Common Voice": (
        "client_id path sentence_id sentence sentence_domain up_votes age gender accents variant locale segment",
        "speaker audio - text - - - - - - language -",
    ),
    "Common Voice, spontaneous": (
        "client_id audio_id audio_file duration_ms prompt transcription votes language split char_per_sec quality_tags",
        "speaker id audio duration - text - language set - -",
    ),
    "DeepSpeech and Coqui": ("wav_filename wav_filesize transcript", "audio - text"),
    "SpeechBrain": ("ID duration wav spk_id wrd", "id duration audio speaker text"),
    "NeMo": ("audio_filepath offset duration text speaker lang", "audio start duration text speaker language"),
    "NeMo Canary": ("audio_filepath duration source_lang pnc timestamp text", "audio duration language - - text"),
    "WeNet": ("key wav txt", "id audio text"),
    "Hugging Face": ("file_name transcription", "audio text"),
    "fairseq": ("id audio n_frames tgt_text speaker", "id audio - text speaker"),
    "SpeechIO": ("ID AUDIO BEGIN DURATION TEXT SPEAKER", "id audio start duration text speaker"),
    "a spreadsheet": ("Audio File,Start Time,End Time,Speaker-ID,Transcript", "audio start end speaker text"),
    "milliseconds": ("path,start_ms,end_ms,text,subset", "audio start end text set"),
}


def table_of(header: str, *rows: str) -> Table:
    """A table as the reader gives it: names and fields separated by commas, or names by spaces."""
    separator = "," if "," in header else " "
    text = "\n".join([header.replace(separator, ","), *rows]) + "\n"
    names, *fields = csv.reader(io.StringIO(text))
    return Table(Path("t.csv"), names, 1, [Record(line, row) for line, row in enumerate(fields, 2)], ",")


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_columns_of_published_formats_are_obeyed(name) -> None:
    header, meanings = PUBLISHED[name]
    table = table_of(header, ",".join("no" for _ in meanings.split()))
    columns = find_columns(table, ReadingOptions())
    expected = [(meaning, column) for column, meaning in enumerate(meanings.split()) if meaning != "-"]
    assert columns.index == dict(expected)
    assert len(columns.passed_over) == meanings.split().count("-")


def test_every_spelling_has_one_meaning() -> None:
    spellings = [spelling for words in SPELLINGS.values() for spelling in words.split()]
    assert len(spellings) == len(set(spellings)) and all(map(known_meaning, spellings))
    assert find_columns(table_of("path,start_ms,end_sec,text"), ReadingOptions()).scale == {"start": 0.001, "end": 1.0}


@pytest.mark.parametrize(
    ("names", "looks_like"),
    [
        ("begin_frame", "a time"),
        ("tier time", "a time"),
        ("endOfWord", "a time"),
        ("old_split", "a set"),
        ("spk_code", "a speaker"),
        ("worker_id", "a speaker"),
        ("channel_name", "a channel"),
        ("is_test", "a set"),
        ("anfang", "a time"),
        ("début", "a time"),
        ("locuteur", "a speaker"),
    ],
)
def test_a_column_that_looks_like_something_is_refused_until_it_is_passed_over(names, looks_like) -> None:
    table = table_of(f"audio,text,{names}", "a.wav,x,1")
    with pytest.raises(TableError, match=f"'{names}' looks like {looks_like}\n.*--ignore-columns {names}"):
        find_columns(table, ReadingOptions())
    assert find_columns(table, ReadingOptions(ignore_columns=(names,))).passed_over == (names,)


@pytest.mark.parametrize(
    ("header", "rows", "looks_like"),
    [
        ("audio,text,usage", ["a,x,train", "b,y,dev", "c,z,test-clean"], "a set"),
        ("audio,start,text,until", ["a,0,x,1.5", "a,2,y,3"], "a time"),
        ("audio,start,text,clip_duration", ["a,0,x,1.5", "a,2,y,1"], "a time"),
    ],
)
def test_a_column_is_doubted_by_its_values(header, rows, looks_like) -> None:
    with pytest.raises(TableError, match=f"looks like {looks_like}"):
        find_columns(table_of(header, *rows), ReadingOptions())


HARMLESS = "age,gender,accents,up_votes,segment,variant,wav_filesize,sentence_id,sentence_domain,speaker_gender,"
HARMLESS += "channels,clip_duration,"
HARMLESS += "num_speakers,created_time,audio_duration,length,sample_rate,n_frames,topic,dialect,country,snr,asr_text,"
HARMLESS += "native_speaker,Unnamed: 0,dataset,domain,pred_text"


@pytest.mark.parametrize("name", HARMLESS.split(","))
def test_harmless_columns_raise_no_alarm_and_are_named(name) -> None:
    table = table_of(f"audio,text,{name}", "a.wav,x,tr", "b.wav,y,tt")
    assert find_columns(table, ReadingOptions()).passed_over == (name,)


def test_two_columns_of_one_meaning_are_refused_unless_they_agree_or_one_is_chosen() -> None:
    table = table_of("path,sentence,normalized_text", "a.wav,It is 5.,it is five")
    with pytest.raises(TableError, match="'sentence' and 'normalized_text' both mean text; choose one with --columns"):
        find_columns(table, ReadingOptions())
    for options in (ReadingOptions(columns={"text": "sentence"}), ReadingOptions(ignore_columns=("normalized_text",))):
        columns = find_columns(table, options)
        assert columns.index == {"audio": 0, "text": 1} and columns.passed_over == ("normalized_text",)
    alike = find_columns(table_of("path,file_name,text", "a.wav,a.wav,x"), ReadingOptions())
    assert alike.index == {"audio": 0, "text": 2} and not alike.passed_over


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ignore_columns": ("remak",)},
            "t.csv:1: --ignore-columns: there is no column 'remak'; did you mean 'remark'?",
        ),
        ({"columns": {"text": "words said"}}, "t.csv:1: --columns: there is no column 'words said'"),
        ({"columns": {"txet": "remark"}}, "--columns txet=...: unknown meaning; did you mean 'text'?"),
    ],
)
def test_options_that_name_nothing(options, message) -> None:
    with pytest.raises(TableError, match=re.escape(message)):
        find_columns(table_of("audio,text,remark", "a.wav,x,y"), ReadingOptions(**options))


JSON_FORMS = {
    "lines.jsonl": '{"wav": "a.wav", "txt": "x"}\n\n{"txt": "y", "wav": "b.wav", "n": 1.5}\n',
    "data.list": '{"wav": "a.wav", "txt": "x"}\n\n{"txt": "y", "wav": "b.wav", "n": 1.5}\n',
    "list.json": '[\n{"wav": "a.wav", "txt": "x"},\n{"txt": "y", "wav": "b.wav", "n": 1.5}]\n',
    "named.json": '{"data": [{"wav": "a.wav", "txt": "x"},\n\n{"txt": "y", "wav": "b.wav", "n": 1.5}]}\n',
}


@pytest.mark.parametrize("name", JSON_FORMS)
def test_json_is_a_table_whose_keys_are_columns(tmp_path, name) -> None:
    (tmp_path / name).write_text(JSON_FORMS[name])
    table = read_records(tmp_path / name, problems := BadLines())
    assert table.header == ["wav", "txt", "n"] and not problems.rejected
    assert [list(fields) for _, fields in table.records] == [["a.wav", "x", ""], ["b.wav", "y", "1.5"]]
    lines = {"lines.jsonl": [1, 3], "data.list": [1, 3], "list.json": [2, 3], "named.json": [1, 2]}
    assert [line for line, _ in table.records] == lines[name]


def test_json_of_objects_has_their_keys_as_ids_and_nested_values_as_columns(tmp_path) -> None:
    (tmp_path / "t.json").write_text(
        '{"u1": {"audio": {"path": "a.wav"}, "wrd": "x", "words": ["x"]}, "u2": {"wrd": "y"}}'
    )
    table = read_records(tmp_path / "t.json", BadLines())
    assert table.header == ["id", "audio.path", "wrd"] and table.nested == ["words"]
    assert [list(fields) for _, fields in table.records] == [["u1", "a.wav", "x"], ["u2", "", "y"]]
    assert [known_meaning(name) for name in table.header] == ["id", "audio", "text"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.json", '[{"a": 1}, 2]', "t.json: JSON, but no rows"),
        ("t.json", '[{"a": 1},\n {"b" 2}]', "t.json:2: not JSON"),
        ("t.json", '[{"a": 1, "a": 2}]', "the key 'a' is given twice"),
        ("t.xlsx", "PK", "t.xlsx: this is a workbook; save the sheet as CSV"),
        ("t.parquet", "PAR1", "write it as CSV or as JSON lines"),
        ("t.csv.gz", "x", "this is compressed; unpack it first"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, text, message) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TableError, match=re.escape(message)):
        read_records(tmp_path / name, BadLines())


def test_bad_lines_of_json_are_noted_one_by_one(tmp_path) -> None:
    (tmp_path / "t.jsonl").write_text('{"a": "1"}\n{"a": \n7\n{"a": "2", "a": "3"}\n{"a": "4"}\n')
    table = read_records(tmp_path / "t.jsonl", problems := BadLines())
    assert [line for line, _ in table.records] == [1, 5]
    assert [one.line for one in problems.rejected] == [2, 3, 4] and problems.rejected[0].row == '{"a": '


def test_excels_separator_line_and_other_encodings(tmp_path) -> None:
    text = 'sep=;\naudio;text\na.wav;"x; grün"\n'
    for encoding in ("utf-8-sig", "utf-16", "utf-8"):
        (tmp_path / "t.csv").write_text(text, encoding=encoding)
        table = read_records(tmp_path / "t.csv", BadLines())
        assert (table.header, table.header_line, table.separator) == (["audio", "text"], 2, ";")
        assert [(line, list(fields)) for line, fields in table.records] == [(3, ["a.wav", "x; grün"])]


def test_a_list_in_a_column_of_values_is_a_bad_line(tmp_path) -> None:
    path, problems = tmp_path / "t.jsonl", BadLines()
    path.write_text('{"audio": "a.wav", "tags": [1]}\n{"audio": ["b.wav"], "tags": null}\n')
    table = read_records(path, problems)
    assert (table.header, table.nested, [record.fields for record in table.records]) == (
        ["audio"],
        ["tags"],
        [["a.wav"]],
    )
    assert [(one.line, one.reason) for one in problems.rejected] == [
        (2, "the key 'audio' is a list here; write one value, as in other rows")
    ]


def test_a_text_on_two_lines_is_left_out_as_a_whole(tmp_path) -> None:
    """Where quotes are characters of texts, so that one may begin a text and not end it."""
    path, problems = tmp_path / "t.tsv", BadLines()
    path.write_text('audio\ttext\na.wav\t"one\ntwo"\nb.wav\t"so\n')
    assert [record.fields for record in read_records(path, problems).records] == [["b.wav", '"so']]
    assert [(one.line, one.reason.split(";")[0].split(":")[0]) for one in problems.rejected] == [
        (2, "the text ends within a quote"),
        (3, "1 field, the header has 2, and the row before ends within a quote"),
    ]
