"""What a folder holds: all its recordings in their order, and what is passed over, counted."""

import os
import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from hybrid_asr.audio import io
from hybrid_asr.audio.folders import AUDIO_SUFFIXES, find_recordings, recordings_in

TONE = 0.3 * np.sin(np.arange(4000, dtype=np.float32))
WRITTEN = {  # by libsndfile: suffix -> (format, subtype)
    **{"oga": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "caf": ("CAF", "PCM_16"), "w64": ("W64", "PCM_16")},
    **{"aifc": ("AIFF", "PCM_16"), "snd": ("AU", "PCM_16"), "voc": ("VOC", "PCM_16"), "AU": ("AU", "ULAW")},
    **{
        "nist": ("NIST", "PCM_16"),
        "rf64": ("RF64", "PCM_16"),
        "mp3": ("MP3", "MPEG_LAYER_III"),
        "avr": ("AVR", "PCM_16"),
    },
}


@pytest.fixture
def wav(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "tone.wav"
    soundfile.write(path, TONE, 8000)
    return path


def names(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_what_libsndfile_reads_is_a_recording_and_is_read(tmp_path):
    for suffix, (container, subtype) in WRITTEN.items():
        soundfile.write(os.fspath(tmp_path / f"x.{suffix}"), TONE, 8000, format=container, subtype=subtype)
    found = recordings_in(tmp_path)
    assert sorted(path.suffix[1:] for path in found.recordings) == sorted(WRITTEN)
    assert all(io.info(path).duration_s >= 0.5 for path in found.recordings)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
def test_what_ffmpeg_reads_is_a_recording_and_is_read(tmp_path, wav):
    """One process writes them all, by codecs that every build has."""
    suffixes = ("wma", "asf", "mka", "m4a", "3gp", "mov", "aac", "wv", "tta", "avi", "mp4", "ac3", "mp2", "m4b")
    outputs = []
    for suffix in suffixes:
        codec = ["-c:a", "aac"] if suffix == "3gp" else ["-c:a", "pcm_s16le"] if suffix in ("mka", "avi", "mov") else []
        outputs += [*codec, "-ar", "48000" if suffix == "ac3" else "16000", str(tmp_path / f"x.{suffix}")]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-i", str(wav), *outputs], check=True)
    found = recordings_in(tmp_path)
    assert sorted(path.suffix[1:] for path in found.recordings) == sorted(suffixes)
    assert all(io.info(path).duration_s >= 0.45 for path in found.recordings[::4])


def test_hidden_files_and_what_systems_leave_are_no_content(tmp_path, wav):
    for name in ("a.wav", "._a.wav", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/._a.wav", ".git/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(wav, tmp_path / name)
    found = recordings_in(tmp_path)
    assert (names(tmp_path, found.recordings), found.others, found.unreadable) == (["a.wav"], {}, [])


def test_other_files_are_counted_by_their_suffix(tmp_path, wav):
    for name in ("a.wav", "notes.txt", "b.TXT", "a.json", "README", "a.wav.part"):
        shutil.copy(wav, tmp_path / name) if name == "a.wav" else (tmp_path / name).write_text("no audio")
    found = recordings_in(tmp_path)
    assert found.others == {".txt": 2, ".json": 1, "without a suffix": 1, ".part": 1}
    assert found.passed_over().startswith("5 files that are no audio by their name (.txt 2, ")


def test_a_name_without_suffix_is_judged_by_its_first_bytes(tmp_path, wav):
    shutil.copy(wav, tmp_path / "sound")
    soundfile.write(tmp_path / "voice", TONE, 8000, format="OGG")
    soundfile.write(tmp_path / "song", TONE, 8000, format="MP3")
    (tmp_path / "text").write_text("RIFFRAFF is no sound")
    (tmp_path / "nothing").touch()
    os.mkfifo(tmp_path / "pipe")
    found = recordings_in(tmp_path)
    assert names(tmp_path, found.recordings) == ["song", "sound", "voice"]
    assert found.others == {"without a suffix": 3}


def test_links_are_followed_and_a_circle_ends(tmp_path, wav):
    (tmp_path / "in/deep").mkdir(parents=True)
    shutil.copytree(wav.parent, tmp_path / "elsewhere")
    (tmp_path / "in/other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/deep/up").symlink_to(tmp_path / "in")
    (tmp_path / "in/linked.wav").symlink_to(wav)
    (tmp_path / "in/gone.wav").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in/round").symlink_to("round")
    found = recordings_in(tmp_path / "in")
    assert names(tmp_path / "in", found.recordings) == ["gone.wav", "linked.wav", "other/tone.wav"]


def test_each_bad_path_is_refused_with_its_cause_and_the_others_stay_in_their_order(tmp_path, wav, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").touch()
    (tmp_path / "full").mkdir()
    for name in ("b.wav", "A.WAV", "c.txt"):
        shutil.copy(wav, tmp_path / "full" / name)
    monkeypatch.setenv("HOME", str(wav.parent))
    monkeypatch.chdir(tmp_path)
    refused, told = [], []
    given = [wav, "gone.wav", "full", "empty", "texts", "in/*.wav", "C:\\x.wav", "", "a" * 300, "~/tone.wav", wav]
    found = find_recordings(given, refuse=lambda path, error: refused.append(str(error)), tell=told.append)
    assert [*map(str, found)] == [str(wav), "full/A.WAV", "full/b.wav", str(wav), str(wav)]
    assert told == ["passed over in full: 1 file that is no audio by its name (.txt 1)"]
    causes = (
        *("gone.wav: no such file or folder; check the path", "empty: no audio files in this folder: it is empty"),
        *("it holds 1 file that is no audio by its name (.txt 1)", "no file matches this pattern"),
        *("this looks like a path of Windows", "an empty name", "File name too long"),
    )
    assert len(refused) == len(causes)
    assert all(cause in text for cause, text in zip(causes, refused, strict=True)), refused


def test_a_folder_that_cannot_be_entered_is_named(tmp_path, wav):
    shutil.copy(wav, tmp_path / "a.wav")
    (tmp_path / "closed").mkdir(mode=0)
    if os.access(tmp_path / "closed", os.R_OK):
        pytest.skip("this user may read every folder")
    found = recordings_in(tmp_path)
    assert names(tmp_path, found.recordings) == ["a.wav"]
    assert "closed: cannot be read: Permission denied" in str(found.unreadable[0])


def test_suffixes_are_lower_case_with_their_dot():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in AUDIO_SUFFIXES)
