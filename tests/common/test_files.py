"""Files that are whole or not there."""

import json
import os
import subprocess
import sys

import pytest

from hybrid_asr.common.files import (
    MISSING,
    RepeatedKey,
    atomic_path,
    expand_home,
    read_problem,
    remove_unfinished,
    unique_keys,
    why_missing,
    write_text,
)
from hybrid_asr.common.lock_holder import name_of_process


def test_what_was_written_takes_its_place_and_nothing_else_remains(tmp_path):
    path = tmp_path / "new" / "folder" / "file.bin"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_behind(tmp_path, error):
    with pytest.raises(error), atomic_path(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise error
    assert not list(tmp_path.iterdir())


def test_an_exception_leaves_the_old_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(ValueError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_temporary_file_lies_beside_its_place_so_that_the_rename_is_atomic(tmp_path):
    with atomic_path(tmp_path / "file") as temporary:
        assert temporary.parent == tmp_path
        temporary.touch()


def test_text_is_written_as_utf_8(tmp_path):
    write_text(tmp_path / "text", "né 你好\n")
    write_text(str(tmp_path / "text"), "ключ 你好\n")
    assert (tmp_path / "text").read_bytes() == "ключ 你好\n".encode()


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "model.pt"
    write_text(path, "whole")
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    here = name_of_process().rpartition("~")[0]
    gone = (f".model.pt.{here}~{dead.pid}.tmp", ".model.pt.elsewhere~7.tmp", ".other.999999999.tmp")
    alive = {f".model.pt.{here}~{os.getppid()}.tmp", ".model.pt.n1~7.tmp", f".model.pt.{os.getppid()}.tmp"}
    for name in (*gone, *alive):
        (tmp_path / name).write_text("half")
    os.utime(tmp_path / gone[1], (0, 0))
    (tmp_path / "notes.tmp").write_text("of the user")
    remove_unfinished(tmp_path)
    assert {left.name for left in tmp_path.iterdir()} == {"model.pt", "notes.tmp", *alive}


def test_what_was_there_before_is_kept_where_that_is_asked_for(tmp_path):
    path, former = tmp_path / "last", tmp_path / "previous"
    for content in ("first", "second", "third"):
        with atomic_path(path, former=former) as temporary:
            temporary.write_text(content)
    assert (former.read_text(), path.read_text()) == ("second", "third")
    with pytest.raises(ValueError), atomic_path(path, former=former) as temporary:
        temporary.write_text("half")
        raise ValueError
    assert (former.read_text(), path.read_text()) == ("second", "third")
    assert sorted(tmp_path.iterdir()) == [path, former]


def test_the_message_names_the_file_and_not_the_temporary_one(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError) as raised, atomic_path(tmp_path / "file" / "below"):
        pass
    assert raised.value.filename in (str(tmp_path / "file" / "below"), str(tmp_path / "file"))
    with pytest.raises(OSError) as raised, atomic_path(tmp_path / "new") as temporary:
        temporary.open("rb")
    assert raised.value.filename == str(tmp_path / "new")
    assert ".tmp" not in str(raised.value)


def test_the_temporary_files_are_those_that_are_removed_later(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "model.pt") as temporary:
        temporary.write_text("half")
        remove_unfinished(tmp_path)
        assert not temporary.exists()


def test_an_expected_folder_that_has_vanished_is_not_made_again(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        write_text(tmp_path / "gone" / "file", "text", folder="expect")
    assert raised.value.filename == str(tmp_path / "gone" / "file")
    assert not (tmp_path / "gone").exists()


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path):
    (tmp_path / "file").write_text("1234")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "lost").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    expected = {
        "file": None,
        "none": MISSING,
        "loop": "is a symbolic link that leads in a circle",
        "lost": "is a symbolic link to a file that is not there",
        "pipe": "is a named pipe, not a file",
        "": "is a folder, not a file",
        "file/below": "cannot be read: Not a directory",
        "x" * 300: "cannot be read: File name too long",
        "a\0b": "no file has such a name: there is a zero byte in it",
    }
    for name, problem in expected.items():
        assert read_problem(f"{tmp_path}/{name}") == problem
    assert read_problem("/dev/zero") == "is a device, not a file"
    assert read_problem(tmp_path / "pipe", pipes=True) is None
    assert read_problem(tmp_path / "file", largest=3) == "has 4 bytes, more than the 3 that such a file may have"


def test_a_key_of_json_stands_once():
    assert json.loads('{"a": {"b": 1}, "b": 2}', object_pairs_hook=unique_keys) == {"a": {"b": 1}, "b": 2}
    with pytest.raises(RepeatedKey, match=r"^b$"):
        json.loads('{"a": {"b": 1, "c": 0, "b": 1}}', object_pairs_hook=unique_keys)


def test_the_home_folder_is_found_where_no_shell_has_put_it_in(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert expand_home("~/a.wav") == tmp_path / "a.wav"
    assert [str(expand_home(path)) for path in ("a~/b", "~nobody-here/x", "")] == ["a~/b", "~nobody-here/x", "."]
    (tmp_path / "~backup").touch()
    assert str(expand_home("~backup")) == "~backup", "a file may be called so"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (r"C:\rec\x.wav", "a path of Windows"),
        ("D:/x.wav", "a path of Windows"),
        (r"rec\x.wav", "a path of Windows"),
        ("~nobody/x.wav", "no home folder of this name"),
        ("in/*.wav", "no file matches this pattern"),
        ("in/x.wav", "check the path"),
    ],
)
def test_why_a_path_is_not_there(path, reason):
    assert reason in why_missing(path)
