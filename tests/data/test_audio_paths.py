"""Audio of tables as other systems write it: found where that is certain, else refused with the cause; and its ids."""

import os
from pathlib import Path

import pytest

from hybrid_asr.data.audio_paths import AudioPaths
from hybrid_asr.data.table_checks import LineError
from hybrid_asr.data.tables import read_table


@pytest.fixture
def files(tmp_path):
    """Make empty files below a folder; gives the path of a table in it."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return tmp_path / "data" / "table.csv"

    return make


@pytest.mark.parametrize(
    ("written", "file"),
    [
        ("a/b.wav", "a/b.wav"),
        (r"a\b.wav", "a/b.wav"),
        ("file://{folder}/a%20c.wav", "a c.wav"),
        ("{folder}/./a/../a/b.wav", "a/b.wav"),
        ("common_voice_1.mp3", "clips/common_voice_1.mp3"),
        ("LJ001-0001", "wavs/LJ001-0001.wav"),
        ("x.1", "x.1.flac"),
        (r"odd\name.wav", r"odd\name.wav"),
    ],
)
def test_a_file_is_found_where_that_is_certain(files, tmp_path, written, file) -> None:
    names = ["a/b.wav", "a c.wav", "clips/common_voice_1.mp3", "wavs/LJ001-0001.wav", "x.1.flac", r"odd\name.wav"]
    paths = AudioPaths(files(*names))
    assert paths.find(written.format(folder=tmp_path / "data")) == tmp_path / "data" / file
    elsewhere = {"clips": "in clips/ beside the table", "wavs": "in wavs/ beside the table, with the ending .wav"}
    told = elsewhere.get(file.split("/")[0], "beside the table, with the ending .flac" if written == "x.1" else None)
    assert dict(paths.elsewhere) == ({told: 1} if told else {})


E_ACUTE, E_AND_ACUTE = "\u00e9", "e\u0301"


@pytest.mark.parametrize(
    ("written", "file", "place"),
    [
        (f"{E_ACUTE}.wav", f"{E_AND_ACUTE}.wav", "beside the table, by a name whose accents are other characters"),
        (f"x/{E_AND_ACUTE}.wav", f"X/{E_ACUTE}.wav", "beside the table, by a name in other capitals"),
        ("clip.wav", "Clip.WAV", "beside the table, by a name in other capitals"),
        ("WAV/sub/a.wav", "wav/Sub/a.wav", "beside the table, by a name in other capitals"),
        ("a", "clips/a.MP3", "in clips/ beside the table, with the ending .mp3, by a name in other capitals"),
        ("a%20b%23.wav", "a b#.wav", "beside the table, with %20 for a space"),
        ("file:a.wav", "a.wav", None),
        ("file://./a.wav", "a.wav", None),
        ("file://localhost{folder}/a#1?.wav", "a#1?.wav", None),
    ],
)
def test_a_file_is_found_by_a_name_that_is_spelled_otherwise(files, tmp_path, written, file, place) -> None:
    """As other systems would find it; which names these are is told."""
    paths = AudioPaths(files(file, "other.wav"))
    assert paths.find(written.format(folder=tmp_path / "data")) == tmp_path / "data" / file
    assert bool(paths.elsewhere) == bool(place)
    assert not place or next(iter(paths.elsewhere)).startswith(place)


def test_two_files_that_differ_in_capitals_are_not_guessed_at(files) -> None:
    table = files("Clip.wav", "CLIP.wav")
    assert AudioPaths(table).find("clip.wav") == table.parent / "clip.wav"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("https://example.org/a.wav", "is an address, not a file; download it"),
        ("s3://bucket/a.wav", "is an address"),
        ("sox a.wav -t wav - |", "is a command, which is not run"),
        ("$data_root/a.wav", "begins with a placeholder; replace it"),
        ("{data_root}/a.wav", "begins with a placeholder"),
        (r"D:\data\a.wav", "is a path of Windows on a drive that is not here; write the path from the table's folder"),
        ("twice.wav", r"may be any of .*(clips|wav)/twice.wav, .*(clips|wav)/twice.wav; write the path from"),
        ("two", r"may be any of .*two.wav, .*two.mp3"),
    ],
)
def test_a_file_that_is_not_here_or_not_certain_is_named_with_the_cause(files, written, message) -> None:
    paths = AudioPaths(files("clips/twice.wav", "wav/twice.wav", "two.wav", "two.mp3"))
    with pytest.raises(LineError, match=message) as caught:
        paths.find(written)
    assert written in str(caught.value)


def test_a_missing_file_keeps_the_path_that_is_written(files, tmp_path) -> None:
    assert AudioPaths(files()).find("gone/a.wav") == tmp_path / "data" / "gone" / "a.wav"


def test_home_is_resolved(files, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert AudioPaths(files("a.wav")).find("~/data/a.wav") == tmp_path / "data" / "a.wav"


@pytest.mark.parametrize(
    "written",
    [
        "a/b.wav",
        "./a//b.wav",
        "a/../a/b.wav",
        r"a\b.wav",
        "{folder}/a/b.wav",
        "{link}/a/b.wav",
        "file://{folder}/a/b.wav",
    ],
)
@pytest.mark.parametrize("table", ["{folder}/t.csv", "{link}/t.csv", "data/t.csv", "./data/../data/t.csv"])
def test_ids_depend_neither_on_how_a_path_is_written_nor_on_where_the_table_is_read_from(
    files, tmp_path, monkeypatch, written, table
) -> None:
    monkeypatch.chdir(tmp_path)
    files("a/b.wav")
    os.symlink(tmp_path / "data", tmp_path / "link")
    places = {"folder": tmp_path / "data", "link": tmp_path / "link"}
    assert AudioPaths(Path(table.format(**places))).id_of(written.format(**places)) == "a-b"


@pytest.mark.parametrize(
    ("written", "id"),
    [("../far/a.b.wav", "far-a.b"), ("/else/where/x.flac", "else-where-x"), ("speaker.007", "speaker.007")],
)
def test_ids_of_other_paths(files, written, id) -> None:
    assert AudioPaths(files()).id_of(written) == id


def test_a_table_with_full_paths_or_read_through_a_link_gives_the_same_ids(tmp_path, make_wav) -> None:
    make_wav("one/wav/a.wav", 0.2)
    for table, audio in (("one/t.csv", "wav/a.wav"), ("one/full.csv", f"{tmp_path}/one/wav/a.wav")):
        (tmp_path / table).write_text(f"audio,text,set\n{audio},x,train\n")
    os.symlink(tmp_path / "one" / "t.csv", tmp_path / "link.csv")
    tables = [tmp_path / "one" / "t.csv", tmp_path / "one" / "full.csv", tmp_path / "link.csv"]
    found = [read_table(table).sets["train"][0] for table in tables]
    assert {(one.id, one.audio) for one in found} == {("wav-a", str(tmp_path / "one" / "wav" / "a.wav"))}
