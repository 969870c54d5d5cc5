"""Kaldi data folders: what is read, and what is refused."""

import re

import pytest

from hybrid_asr.data.kaldi import read_kaldi
from hybrid_asr.data.table_checks import TableError


@pytest.fixture
def kaldi(tmp_path, make_wav):
    """Write the files of a Kaldi folder beside a.wav (1 s), b.wav (2 s) and c.wav (3 s)."""
    for seconds, name in enumerate(("a.wav", "b.wav", "c.wav"), 1):
        make_wav(f"data/{name}", seconds)

    def write(under: str = "", **files: str):
        folder = tmp_path / "data" / under
        folder.mkdir(parents=True, exist_ok=True)
        for name, lines in files.items():
            (folder / name.replace("_", ".")).write_text(lines, encoding="utf-8")
        return tmp_path / "data"

    return write


def test_a_kaldi_folder_without_segments(kaldi, tmp_path) -> None:
    folder = kaldi(
        wav_scp="u1 a.wav\nu2 b.wav\nu3 c.wav\n",
        text="u1 eins zwei\nu2  two\nu3 three\n",
        utt2spk="u1 s1\nu2 s2\nu3 s3\n",
    )
    found = sorted(
        (utterance for part in read_kaldi(folder).sets.values() for utterance in part), key=lambda one: one.id
    )
    assert [(one.id, one.text, one.speaker, one.duration_s) for one in found] == [
        ("u1", "eins zwei", "s1", 1.0),
        ("u2", "two", "s2", 2.0),
        ("u3", "three", "s3", 3.0),
    ]
    assert found[0].audio == str(tmp_path / "data" / "a.wav")


def test_kaldi_subfolders_are_sets_and_segments_are_cut(kaldi, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    kaldi("train", wav_scp="rec data/c.wav\n", segments="u1 rec 0.5 1.25\nu2 rec 2 -1\n", text="u1 one\nu2 two\n")
    kaldi("dev", wav_scp="v1 ../a.wav\n", text="v1 yes\n")
    sets = read_kaldi(kaldi("test", wav_scp=f"t1 {tmp_path}/data/b.wav\n", text="t1 no\n")).sets
    assert [(one.id, one.start_s, one.duration_s) for one in sets["train"]] == [("u1", 0.5, 0.75), ("u2", 2.0, 1.0)]
    assert [one.id for one in sets["valid"]] == ["v1"] and [one.id for one in sets["test"]] == ["t1"]
    assert {one.speaker for part in sets.values() for one in part} == {None}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wav_scp": "u1 sph2pipe -f wav a.sph |\n"}, "wav.scp:1: wav.scp has a command, which is not run: sph2pipe"),
        ({"wav_scp": "u1\n"}, "wav.scp:1: nothing follows 'u1'"),
        ({"wav_scp": "u1 a.wav\nu1 b.wav\n"}, "wav.scp:2: 'u1' is also on line 1"),
        ({"wav_scp": "u1 gone.wav\n"}, "wav.scp:1: "),
        ({"text": "u1\n"}, "text:1: nothing follows 'u1'"),
        ({"text": "u1 one\nu9 nine\n"}, "text:2: utterance 'u9' is not in wav.scp; add it, or remove the line"),
        ({"text": "u9 nine\n"}, "wav.scp:1: utterance 'u1' has no transcript in text"),
        ({"utt2spk": "u9 s\n"}, "wav.scp:1: utterance 'u1' has no speaker in utt2spk"),
        ({"segments": "u1 rec 0 1\n"}, "segments:1: recording 'rec' is not in wav.scp"),
        ({"segments": "u1 u1 0 7\n"}, "segments:1: audio"),
        ({"segments": "u1 u1 0.5 0.5\n"}, "segments:1: nothing of audio"),
        ({"segments": "u1 u1 zero one\n"}, "segments:1: 'u1 zero one' is not RECORDING START END"),
    ],
)
def test_a_mistake_in_a_kaldi_folder_is_named(kaldi, files, message) -> None:
    folder = kaldi(**{"wav_scp": "u1 a.wav\n", "text": "u1 one\n", **files})
    with pytest.raises(TableError, match=re.escape(str(folder))) as caught:
        read_kaldi(folder)
    assert message in str(caught.value)


def test_a_mistake_of_wav_scp_is_noted_once(kaldi) -> None:
    with pytest.raises(TableError) as caught:
        read_kaldi(kaldi(wav_scp="u1 a.wav\nu1 b.wav\n", text="u1 one\n"))
    assert str(caught.value).count("wav.scp:") == 1


def test_files_that_are_missing_from_a_kaldi_folder(kaldi, tmp_path) -> None:
    with pytest.raises(TableError, match=r"data/text: there is no such file; a Kaldi folder has wav.scp and text"):
        read_kaldi(kaldi(wav_scp="u1 a.wav\n"))
    with pytest.raises(TableError, match=r"nowhere: there is no such folder"):
        read_kaldi(tmp_path / "nowhere")
