"""Lhotse's manifests, written by hand as its documentation describes them: what is read, refused and passed over."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from hybrid_asr.audio import io
from hybrid_asr.data.lhotse import read_lhotse
from hybrid_asr.data.manifest import Utterance
from hybrid_asr.data.prepared import Prepared, ReadingOptions
from hybrid_asr.data.table_checks import TableError

UNSPLIT = ReadingOptions(split={})
KEEP_GOING = ReadingOptions(split={}, keep_going=True)
RATE = 16000


@pytest.fixture
def stereo(tmp_path) -> np.ndarray:
    """Two channels of two seconds, the second half as loud, in `stereo.wav`, and each alone in `c0.wav`, `c1.wav`."""
    time = np.arange(2 * RATE) / RATE
    samples = (np.sin(2 * np.pi * np.outer(time, [300, 700])) * [0.4, 0.2]).astype(np.float32)
    for name, part in {"stereo": samples, "c0": samples[:, 0], "c1": samples[:, 1]}.items():
        soundfile.write(tmp_path / f"{name}.wav", part, RATE, subtype="FLOAT")
    return samples


def source(name: str = "stereo.wav", channels: tuple[int, ...] = (0, 1), kind: str = "file") -> dict[str, Any]:
    return {"type": kind, "channels": list(channels), "source": name}


def recording(*sources: dict[str, Any], **fields: Any) -> dict[str, Any]:
    record = {"id": "r", "sources": list(sources or [source()]), "sampling_rate": RATE, "num_samples": 2 * RATE}
    return record | {"duration": 2.0, "channel_ids": [0, 1]} | fields


def supervision(id: str = "s", start: float = 0.0, channel: Any = 0, **fields: Any) -> dict[str, Any]:
    record = {"id": id, "recording_id": "r", "start": start, "duration": 0.5, "channel": channel, "text": f"say {id}"}
    return record | fields


def cut(*supervisions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    record = {"id": "c", "start": 0.5, "duration": 1.5, "channel": 0, "supervisions": list(supervisions)}
    return record | {"recording": recording(), "type": "MonoCut"} | fields


def write(path: Path, *records: Any) -> Path:
    """As JSON lines, or as a list where the name ends so; packed where it says so."""
    lines = [json.dumps(record) for record in records]
    text = f"[{','.join(lines)}]" if ".jsonl" not in path.name else "".join(f"{line}\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def utterances(prepared: Prepared) -> list[Utterance]:
    return [one for part in prepared.sets.values() for one in part]


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz", "cuts.json", "mine.json.gz"])
def test_each_supervision_of_a_cut_is_an_utterance(tmp_path, stereo, name) -> None:
    supervisions = [supervision("a", 0.25, speaker="anna", language="de"), supervision("b", -0.1)]
    path = write(tmp_path / name, cut(*supervisions), cut(supervision("c"), id="d", start=1.0, channel=1))
    found = utterances(read_lhotse(path, UNSPLIT))
    assert [(one.id, one.start_s, one.duration_s, one.channel, one.text) for one in found] == [
        ("a", 0.75, 0.5, 1, "say a"),
        ("b", 0.4, 0.5, 1, "say b"),
        ("c", 1.0, 0.5, 2, "say c"),
    ]
    assert (found[0].speaker, found[0].language, found[1].speaker) == ("anna", "de", None)
    assert {one.audio for one in found} == {str(tmp_path / "stereo.wav")}


@pytest.mark.parametrize(
    ("sources", "channel", "file", "expected"),
    [
        ([source()], 1, "stereo", 2),
        ([source()], [0, 1], "stereo", None),
        ([source()], [1], "stereo", 2),
        ([source(channels=(3, 5))], 5, "stereo", 2),
        ([source("c0.wav", (0,)), source("c1.wav", (1,))], 1, "c1", None),
        ([source("cat c1.wav", (0,), "command")], 0, "c1", None),
        ([source("sox stereo.wav -t wav - remix 2 |", (0,), "command")], 0, "stereo", 2),
    ],
)
def test_the_channel_of_a_supervision_is_read(tmp_path, stereo, sources, channel, file, expected) -> None:
    write(tmp_path / "corp_recordings_train.jsonl.gz", recording(*sources))
    path = write(tmp_path / "corp_supervisions_train.jsonl.gz", supervision(start=0.5, channel=channel))
    (found,) = utterances(read_lhotse(path, UNSPLIT))
    assert (found.audio, found.channel) == (str(tmp_path / f"{file}.wav"), expected)
    samples = io.read(found.audio, start_s=0.5, duration_s=0.5, channel=found.channel)
    whole = stereo.mean(1) if channel == [0, 1] else stereo[:, 0 if file == "c0" else 1]
    assert np.abs(samples - whole[8000:16000]).max() < 1e-6


def test_the_files_of_a_folder_are_sets_by_their_names(tmp_path, stereo) -> None:
    for part in ("train-clean-100", "train_other"):
        write(tmp_path / f"libri_recordings_{part}.jsonl.gz", recording())
        write(tmp_path / f"libri_supervisions_{part}.jsonl.gz", supervision(part))
    write(tmp_path / "libri_cuts_dev-clean.jsonl", cut(supervision("d")))
    write(tmp_path / "test_cuts.json", cut(supervision("t")))
    write(tmp_path / "libri_supervisions_dev-clean.jsonl", supervision("d"))
    write(tmp_path / "musan_cuts.jsonl.gz", cut(supervision("m")))
    (tmp_path / "fbank.llc").write_bytes(b"")
    prepared = read_lhotse(tmp_path)
    assert {name: [one.id for one in part] for name, part in prepared.sets.items()} == {
        "train": ["train-clean-100", "train_other"],
        "test": ["t"],
        "dev-clean": ["d"],
    }
    told = "\n".join(prepared.messages)
    assert "passed over: c0.wav, c1.wav, fbank.llc, libri_supervisions_dev-clean.jsonl" in told
    assert (
        "1 of 5 manifests passed over, for want of a set's name, such as train, dev or test-other: musan_cuts" in told
    )


def test_one_nameless_pair_is_split(tmp_path, stereo) -> None:
    write(tmp_path / "recordings.jsonl", recording())
    write(tmp_path / "supervisions.jsonl", *(supervision(f"s{n}", 0.1 * n) for n in range(12)))
    assert {name: bool(part) for name, part in read_lhotse(tmp_path).sets.items()} == {
        "train": True,
        "valid": True,
        "test": True,
    }


def test_fields_that_are_not_used_are_counted(tmp_path, stereo) -> None:
    alignment = {"word": [["say", 0.0, 0.2]]}
    cuts = [cut(supervision(n, custom={"snr": 1}, alignment=alignment, gender="F"), id=n) for n in "ab"]
    resampled = recording(sampling_rate=8000, transforms=[{"name": "Resample", "kwargs": {}}])
    cuts[0] |= {"features": {"type": "fbank"}, "custom": None, "recording": resampled}
    path = write(tmp_path / "cuts_train.jsonl", *cuts)
    assert (
        f"note: {path}: passed over: cut.features (1), resampling to 8000 Hz (1), supervision.alignment (2), "
        "supervision.custom (2), supervision.gender (2)"
    ) in read_lhotse(path).messages


SPEED = [{"name": "Speed", "kwargs": {"factor": 0.9}}]
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (cut(type="MixedCut", tracks=[]), "audio that is changed on reading", "cut 'c' is a MixedCut; write its audio"),
    (cut(type="PaddingCut"), "audio that is changed on reading", "cut 'c' is a PaddingCut"),
    (cut(supervision(), recording=None), "features without audio", "cut 'c' has no recording"),
    (cut(), "no transcript", "cut 'c' has no supervision"),
    (cut(supervision(text=None)), "no transcript", "supervision 's' has no text"),
    (cut(supervision(text="")), "no transcript", "there is no transcript"),
    (cut(supervision(), recording=recording(transforms=SPEED)), "audio that is changed on reading", "(Speed)"),
    (
        cut(supervision(), recording=recording(source("a.io/x", kind="url"))),
        "audio that is not on this machine",
        "load",
    ),
    (cut(supervision(), recording=recording(source("x", kind="memory"))), "audio that cannot be read", "'memory'"),
    (cut(supervision(), recording=recording(source("", kind="shar"))), "audio that cannot be read", "Lhotse Shar"),
    (cut(supervision(), recording=recording(source("gone.wav"))), "audio that cannot be read", "there is no such file"),
    (
        cut(supervision(), recording=recording(source("rm -r x", kind="command"))),
        "a command that is not run (rm)",
        "the command 'rm -r x |' is not run",
    ),
    (cut(supervision(), channel=7), "audio that cannot be read", "the channels [7] of 'r' are in no file"),
    (
        cut(supervision(channel=[0, 1]), recording=recording(source("c0.wav", (0,)), source("c1.wav", (1,))))
        | {"type": "MultiCut"},
        "audio that cannot be read",
        "the channels [0, 1] of 'r' are in 2 files; name one of them",
    ),
    (cut(supervision(duration=9.0)), "times that do not fit", "lasts 2.00 s, the entry ends at 9.50 s"),
    (cut(supervision(), start="0"), "a line that cannot be used", "'start' is '0', it must be a number"),
    (cut(supervision(), start=10**400), "times that do not fit", "'start' is not a number of seconds"),
    (cut(supervision(duration=float("nan"))), "times that do not fit", "'duration' is not a number of seconds"),
    (cut(supervision(), recording=3), "a line that cannot be used", "'recording' is 3, it must be a record"),
    (cut(supervision(speaker=7)), "a line that cannot be used", "'speaker' is 7, it must be text"),
    (cut("s"), "a line that cannot be used", "'start' is None, it must be a number"),  # type: ignore[arg-type]
    (recording(), "a line that cannot be used", "this is no cut"),
]


@pytest.mark.parametrize(("record", "kind", "why"), REFUSED)
def test_a_cut_that_cannot_be_taken_is_named(tmp_path, stereo, record, kind, why) -> None:
    path = write(tmp_path / "cuts_train.jsonl", cut(supervision("good")), record)
    with pytest.raises(TableError, match=f"{re.escape(str(path))}:2: .*{re.escape(why)}"):
        read_lhotse(path)
    prepared = read_lhotse(path, KEEP_GOING)
    assert [one.id for one in utterances(prepared)] == ["good"]
    assert [(one.line, one.kind) for one in prepared.rejected] == [(2, kind)]


def test_the_other_supervisions_of_a_cut_are_kept(tmp_path, stereo) -> None:
    path = write(tmp_path / "cuts_train.jsonl", cut(supervision("a"), supervision("b", 8.0), supervision("c")))
    prepared = read_lhotse(path, KEEP_GOING)
    assert [one.id for one in utterances(prepared)] == ["a", "c"] and [one.id for one in prepared.rejected] == ["b"]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("cuts.jsonl", b"{\n", "cuts.jsonl:1: not JSON: "),
        ("cuts.jsonl", b"3\n", "cuts.jsonl:1: this is no record in braces"),
        ("cuts.jsonl", b"\n", "cuts.jsonl: the file is empty"),
        ("recordings.jsonl", None, "supervisions.jsonl: there is no such file; supervisions and recordings are read"),
        ("cuts.json", b"[{]", "cuts.json: not JSON: "),
        ("cuts.jsonl", b'{"id": "\xff"}', "cuts.jsonl:1: the file is not UTF-8"),
        ("cuts.jsonl", b'{"id": "c", "id": "c"}', "cuts.jsonl:1: the key 'id' is there twice; remove one"),
        ("cuts.jsonl.gz", b"\x1f\x8b\x08", "cannot be unpacked: "),
        ("cuts.yaml", b"- id: c\n", "YAML is not read; convert it: lhotse copy cuts.yaml cuts.jsonl"),
        (
            "supervisions.jsonl",
            b"{}\n",
            "recordings.jsonl: there is no such file; supervisions and recordings are read",
        ),
        ("notes.txt", None, "there are no cuts and no supervisions; Lhotse's manifests are called such as"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path, name, content, why) -> None:
    (tmp_path / name).write_bytes(content or b"")
    with pytest.raises(TableError, match=re.escape(why)):
        read_lhotse(tmp_path / name if content else tmp_path)


def test_a_supervision_without_its_recording(tmp_path, stereo) -> None:
    write(tmp_path / "recordings.jsonl", recording(), recording(id="p"))
    path = write(tmp_path / "supervisions.jsonl", supervision("a"), supervision("b", recording_id="q"))
    with pytest.raises(TableError, match=r"supervisions.jsonl:2: recording 'q' is not in the recordings"):
        read_lhotse(path, UNSPLIT)
    told = read_lhotse(path, KEEP_GOING).messages
    assert f"note: {path}: passed over: recordings without a supervision: p (1)" in told


def test_half_a_character_is_named_with_its_line_and_can_be_left_out(tmp_path, stereo) -> None:
    path = write(tmp_path / "cuts.jsonl", cut(supervision("a")), cut(supervision("b", text="hi\ud83d")))
    with pytest.raises(TableError, match=r"cuts\.jsonl:2: a text contains half of a surrogate pair"):
        read_lhotse(path, UNSPLIT)
    assert [one.id for one in utterances(read_lhotse(path, KEEP_GOING))] == ["a"]


def test_a_recording_whose_file_lasts_otherwise_is_told(tmp_path, stereo) -> None:
    path = write(tmp_path / "cuts.jsonl", cut(supervision("a"), recording=recording(duration=20.0)))
    told = read_lhotse(path, UNSPLIT).messages
    assert any("of 1 recordings are not those of their files: 'r' 20 s, in truth 2.00 s" in message for message in told)
    path = write(tmp_path / "cuts.jsonl", cut(supervision("a"), recording=recording(duration=2.05)))
    assert not any("in truth" in message for message in read_lhotse(path, UNSPLIT).messages)
