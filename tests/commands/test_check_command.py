"""`hybrid-asr check` names every planted fault, passes a sound corpus, and reads only what has changed."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.cli import main
from hybrid_asr.data import audio_set
from hybrid_asr.data.audio_check import Measured, measure_utterance
from hybrid_asr.data.audio_set import measure_set
from hybrid_asr.data.manifest import Manifest, Utterance, write_manifest
from hybrid_asr.data.strange import strangest
from tests.tones import RATE


def check(folder: Path, to: Path, *settings: str) -> int:
    return main(["check", str(folder / "tiny.yaml"), f"data.root={folder}", *settings, "--jobs", "1", "--to", str(to)])


def edit(manifest: Path, number: int, **fields) -> None:
    """Change fields of one line."""
    lines = manifest.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | fields)
    manifest.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def faulty(tones, tmp_path_factory) -> Path:
    """The corpus of tones with twelve faults."""
    folder = shutil.copytree(tones, tmp_path_factory.mktemp("faulty") / "tones")
    train, valid, test = (folder / f"{name}.jsonl" for name in ("train", "valid", "test"))
    (folder / "train/00.wav").write_bytes(b"no sound at all, but text " * 40)
    os.truncate(folder / "train/01.wav", (folder / "train/01.wav").stat().st_size // 2)
    edit(train, 2, duration_s=6.0)
    edit(valid, 0, id="train-03")
    samples = soundfile.read(folder / "train/04.wav", dtype="int16")[0]
    soundfile.write(folder / "test/copy.flac", samples, RATE)
    edit(test, 0, audio="test/copy.flac", duration_s=len(samples) / RATE)
    edit(test, 1, text="abж")
    seconds = json.loads(train.read_text().splitlines()[5])["duration_s"]
    edit(train, 5, text=("abcdef" * 99)[: round(30 * seconds)])
    soundfile.write(folder / "train/06.wav", np.zeros(RATE, np.int16), RATE)
    edit(train, 6, duration_s=1.0)
    loud = np.clip(30 * soundfile.read(folder / "train/07.wav")[0], -0.5, 0.5)
    soundfile.write(folder / "train/07.wav", loud, RATE)
    seconds = json.loads(train.read_text().splitlines()[8])["duration_s"]
    edit(train, 8, text=("abcdef" * 99)[: round(60 * seconds)])
    edit(valid, 1, speaker="train1")
    edit(train, 9, duration_s=0.2)
    return folder


@pytest.fixture(scope="module")
def found(faulty, tmp_path_factory) -> Iterator[tuple[int, str, Path]]:
    """The exit status, all that was said, and the folder of the page."""
    to, said = tmp_path_factory.mktemp("found"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr.write", said.append)
        status = check(faulty, to, "data.check.speakers=refuse", "optim.warmup=2000")
    yield status, "".join(said), to


FAULTS = {
    "unreadable": "train-00': ",
    "truncated": "train-01': ",
    "duration": "train-02': ",
    "id": "ids are both in train and in valid: 'train-03'",
    "same audio": "1 utterances of train have the audio of one of test (1 of them with another transcript): ",
    "character": "the tokenizer lacks 'ж' (U+0436), in 1 transcripts of test: ",
    "ctc": "training utterances (6.2%) are too short for CTC at speed 1: ",
    "speaker": "1 speakers are both in train and in valid: train1",
    "silence": "utterances of train hold no sound: ",
    "warm-up": "the learning rate rises for optim.warmup=2000",
    "clipping": "1 of 48 utterances of train are clipped: ",
    "rate": "60 characters a second: ",
    "cut": "train-09' lasts 0.20 s, its file ",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_named_at_once(found, fault):
    status, said, _ = found
    assert status == 2
    assert FAULTS[fault] in said


def test_rejects_name_each_utterance_that_is_better_left_out_with_its_reasons(found, faulty):
    _, _, to = found
    rows = [json.loads(line) for line in (to / "rejected.jsonl").read_text().splitlines()]
    train = [row for row in rows if row["set"] == "train"]
    assert len(rows) == len({(row["set"], row["id"]) for row in rows})
    kinds = {row["id"]: {kind for kind in row["kinds"] if kind != "speaker"} for row in train}
    assert {name: kind for name, kind in kinds.items() if kind} == {
        "train-00": {"unreadable"},
        "train-01": {"unreadable"},
        "train-02": {"duration"},
        "train-03": {"id"},
        "train-04": {"same audio"},
        "train-05": {"ctc"},
        "train-06": {"silence"},
        "train-08": {"ctc", "rate"},
        "train-09": {"ctc"},
    }
    speakers = {row["id"] for row in train if "speaker" in row["kinds"]}
    assert speakers == {f"train-{number:02d}" for number in range(48) if number % 3 == 1}
    lines = (faulty / "train.jsonl").read_text().splitlines()
    assert all(json.loads(lines[row["line"] - 1])["id"] == row["id"] for row in train)
    page = (to / "check.html").read_text()
    assert "refused" in page and "better left out" in page.lower() and "train-06" in page


def test_a_sound_corpus_passes_and_is_read_once_and_again_only_where_it_has_changed(tones, tmp_path, capsys):
    folder = shutil.copytree(tones, tmp_path / "tones")
    assert check(folder, tmp_path / "to", "data.test=[test.jsonl,valid.jsonl]") == 0
    first = capsys.readouterr()
    assert "warning" not in first.err and "64 utterances, audio of 64 read now" in first.out
    assert not (tmp_path / "to/rejected.jsonl").exists()
    for path in (*folder.glob("train/*.wav"), *folder.glob("test/*.wav")):
        status = path.stat()
        path.write_bytes(b"?" * status.st_size)  # nobody opens it: its size and time are those that are known
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert check(folder, tmp_path / "to") == 0
    assert "64 utterances, audio of 0 read now" in capsys.readouterr().out
    os.utime(folder / "test/03.wav")
    assert check(folder, tmp_path / "to") == 2
    told = capsys.readouterr()
    assert "1 of 8 audio files of test cannot be read: " in told.err and "test-03" in told.err
    assert "audio of 1 read now" in told.out


def test_what_was_read_before_an_interruption_is_not_read_again(tones, tmp_path, monkeypatch):
    manifest = Manifest.read(tones / "train.jsonl", audio="unchecked")

    def until(one: Manifest, index: int) -> Measured:
        if index == 40:
            raise KeyboardInterrupt
        return measure_utterance(one, index)

    monkeypatch.setattr(audio_set, "measure_utterance", until)
    with pytest.raises(KeyboardInterrupt):
        measure_set(manifest, tmp_path / "kept.npz", jobs=1)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["kept.npz"]
    assert measure_set(manifest, tmp_path / "kept.npz", jobs=1).decoded == 48 - 32


def test_a_place_for_the_page_that_is_none_is_refused_before_anything_is_read(tones, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert check(tones, tmp_path / "file") == 2
    assert "file: is a file, not a folder; name another place" in capsys.readouterr().err
    assert main(["check", str(tones / "tiny.yaml"), f"data.root={tones}", "--jobs", "0", "--to", str(tmp_path)]) == 2
    assert "--jobs 0: at least one process is needed" in capsys.readouterr().err


@pytest.mark.slow  # processes take seconds to start
def test_several_processes_find_what_one_finds(faulty, found, tmp_path):
    manifest = Manifest.read(faulty / "train.jsonl", audio="unchecked")
    one, several = (measure_set(manifest, tmp_path / f"{jobs}.npz", jobs=jobs) for jobs in (1, 2))
    assert one.rows.tobytes() == several.rows.tobytes() and one.bad == several.bad and set(one.bad) == {0, 1, 2}


def test_a_manifest_with_bad_lines_is_named_beside_the_others(tones, tmp_path, capsys):
    folder = shutil.copytree(tones, tmp_path / "tones")
    edit(folder / "valid.jsonl", 0, duration_s=-1)
    edit(folder / "test.jsonl", 1, text=7)
    assert check(folder, tmp_path / "to") == 2
    told = capsys.readouterr().err
    assert "valid.jsonl:1: " in told and "test.jsonl:2: " in told and not (tmp_path / "to/check.html").exists()


def test_one_recording_has_one_content_whatever_holds_it(tmp_path):
    samples = np.random.default_rng(3).integers(-9000, 9000, RATE).astype(np.int16)
    for name in ("a.wav", "b.flac", "c.aiff"):
        soundfile.write(tmp_path / name, samples, RATE)
    soundfile.write(tmp_path / "d.wav", samples / np.float32(32768), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "e.wav", samples[:-1], RATE)
    rows = [
        Utterance(id=path.stem, audio=path.name, duration_s=1 - (path.stem == "e") / RATE, text="a")
        for path in sorted(tmp_path.iterdir())
    ]
    write_manifest(tmp_path / "all.jsonl", rows)
    manifest = Manifest.read(tmp_path / "all.jsonl")
    measured = [measure_utterance(manifest, index).row for index in range(len(rows))]
    contents = [row[0] for row in measured if row is not None]
    assert len(contents) == 5 and len(set(contents[:4])) == 1 and contents[4] != contents[0]


def test_silent_files_are_compared_with_none(tones, tmp_path, capsys):
    folder = shutil.copytree(tones, tmp_path / "tones")
    for name in ("train", "test"):
        soundfile.write(folder / f"{name}/00.wav", np.zeros(RATE, np.int16), RATE)
        edit(folder / f"{name}.jsonl", 0, duration_s=1.0)
    assert check(folder, tmp_path / "to", "data.check.useless_share=0.1") == 0
    told = capsys.readouterr().err
    assert "1 of 48 utterances of train hold no sound" in told and "have the audio of" not in told


def test_the_strangest_are_those_far_from_the_others_with_what_is_strange():
    rng = np.random.default_rng(5)
    columns = {
        "rate": rng.normal(12, 1.5, 300),
        "level": rng.normal(-25, 3, 300),
        "silence": rng.uniform(0.1, 0.3, 300),
        "clipping": np.zeros(300),
        "length": rng.uniform(2, 12, 300),
    }
    columns["rate"][7], columns["clipping"][9], columns["level"][11] = 70.0, 0.2, -70.0
    columns["level"][12] = np.nan
    found = strangest(columns, 3)
    assert [one.index for one in found] == [9, 11, 7]
    assert [one.reasons[0].partition(" (")[0] for one in found] == [
        "20.00% of the samples clipped",
        "-70 dBFS",
        "70 characters a second",
    ]
    assert 12 not in [one.index for one in strangest(columns, 300)]
