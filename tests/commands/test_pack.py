"""Packing keeps every byte, or every sample, of the audio; is whole or not there; and gives the same bytes again."""

import io
import json
import os
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.cli import main
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.shard_writer import ShardWriter


@pytest.fixture
def corpus(tmp_path, make_noise) -> Path:
    """Six short files, and a stereo recording of 12 s at 44.1 kHz with three utterances in it."""
    lines = []
    for number in range(6):
        make_noise(f"u{number}.flac", 0.3 + 0.1 * number, 16000, 1)
        lines.append(
            {"id": f"a.{number}/ü", "audio": f"u{number}.flac", "duration_s": 0.3 + 0.1 * number, "text": "grün"}
        )
    make_noise("call.wav", 12.0, 44100, 2)
    for number, (start, channel) in enumerate([(0.0, 1), (3.217, None), (9.95, 2)]):
        line = {
            "id": f"call{number}",
            "audio": "call.wav",
            "start_s": start,
            "duration_s": 2.05,
            "text": "x",
            "speaker": "s",
        }
        lines.append(line if channel is None else line | {"channel": channel})
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def make_noise(tmp_path):
    def make(name: str, seconds: float, rate: int, channels: int) -> None:
        noise = np.random.default_rng(len(name)).normal(0, 3000, (round(seconds * rate), channels))
        soundfile.write(tmp_path / name, noise.astype(np.int16), rate)

    return make


def pack(path: Path, to: Path, *options: str) -> int:
    return main(["pack", str(path), "--to", str(to), "--jobs", "1", *options])


@pytest.mark.parametrize("options", [(), ("--shuffle", "5"), ("--whole",)])
@pytest.mark.parametrize("rate", [16000, 8000])
def test_audio_ids_and_order_are_those_of_the_source(corpus, tmp_path, options, rate):
    assert pack(corpus, tmp_path / "to", "--shard-size", "200K", *options) == 0
    source, packed = Manifest.read(corpus), Manifest.read(tmp_path / "to/train.jsonl")
    assert np.array_equal(packed.keys, source.keys) and np.array_equal(packed.durations, source.durations)
    assert [(one.text, one.speaker) for one in packed] == [(one.text, one.speaker) for one in source]
    for index in range(len(source)):
        assert np.array_equal(packed.read_audio(index, rate), source.read_audio(index, rate))


def test_tarfile_reads_the_shards_and_files_are_copied_byte_for_byte(corpus, tmp_path):
    pack(corpus, tmp_path / "to", "--shard-size", "200K")
    packed, members = Manifest.read(tmp_path / "to/train.jsonl"), {}
    shards = sorted((tmp_path / "to").glob("*.tar"))
    assert len(shards) > 1
    for shard in shards:
        with tarfile.open(shard) as tar:
            for member in tar:
                members[shard.name, member.offset_data] = member.name, tar.extractfile(member).read()  # type: ignore[union-attr]
    for index, one in enumerate(packed):
        name, data = members[one.audio, one.offset]
        assert len(data) == one.bytes and f"{zlib.crc32(data):08x}" == one.crc32
        assert name.count(".") == 1 and "/" not in name
        if index < 6:
            assert data == (tmp_path / f"u{index}.flac").read_bytes()
        else:
            assert soundfile.info(io.BytesIO(data)).samplerate == 44100 and len(data) < 700_000
    beside = {name.partition(".")[2]: data for name, data in members.values() if name.startswith("a%2E0%2F%C3%BC.")}
    assert set(beside) == {"flac", "json", "txt"} and beside["txt"].decode() == "grün"
    assert json.loads(beside["json"])["id"] == "a.0/ü"


def test_the_same_input_gives_the_same_bytes_and_nothing_is_written_twice(corpus, tmp_path, capsys):
    for to in ("one", "two"):
        pack(corpus, tmp_path / to, "--shard-size", "200K")
    names = sorted(path.name for path in (tmp_path / "one").iterdir() if path.is_file())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    before = {name: (tmp_path / "one" / name).stat().st_ino for name in names if name.endswith(".tar")}
    capsys.readouterr()
    assert pack(corpus, tmp_path / "one", "--shard-size", "200K") == 0
    assert before == {name: (tmp_path / "one" / name).stat().st_ino for name in before}
    assert f"({len(before)} of them by an earlier run)" in capsys.readouterr().out


def test_an_interrupted_packing_leaves_no_manifest_and_goes_on_behind_its_last_shard(corpus, tmp_path, monkeypatch):
    pack(corpus, tmp_path / "whole", "--shard-size", "200K")
    write = ShardWriter._write

    def full(self, tar, job, utterances, shard):
        if job.number == 2:
            raise OSError(28, "No space left on device")
        return write(self, tar, job, utterances, shard)

    monkeypatch.setattr(ShardWriter, "_write", full)
    assert pack(corpus, tmp_path / "to", "--shard-size", "200K") == 2
    left = sorted(path.name for path in (tmp_path / "to").iterdir())
    assert left == [".train.pack", "train-000000.tar", "train-000001.tar"]
    first = (tmp_path / "to/train-000000.tar").stat().st_ino
    monkeypatch.undo()
    assert pack(corpus, tmp_path / "to", "--shard-size", "200K") == 0
    assert (tmp_path / "to/train-000000.tar").stat().st_ino == first
    for path in (tmp_path / "whole").glob("train*"):
        assert path.read_bytes() == (tmp_path / "to" / path.name).read_bytes()


def test_a_file_that_changed_is_packed_anew(corpus, tmp_path, make_noise):
    pack(corpus, tmp_path / "to")
    make_noise("u0.flac", 0.31, 16000, 1)
    os.utime(tmp_path / "u0.flac", ns=(1, 1))
    assert pack(corpus, tmp_path / "to") == 0
    with tarfile.open(tmp_path / "to/train-000000.tar") as tar:
        assert tar.extractfile(tar.next()).read() == (tmp_path / "u0.flac").read_bytes()  # type: ignore[union-attr]


def test_shards_are_packed_again_from_shards(corpus, tmp_path):
    pack(corpus, tmp_path / "one", "--shard-size", "200K")
    assert pack(tmp_path / "one/train.jsonl", tmp_path / "two") == 0
    source, packed = Manifest.read(corpus), Manifest.read(tmp_path / "two/train.jsonl")
    assert len(list((tmp_path / "two").glob("*.tar"))) == 1
    assert all(np.array_equal(packed.read_audio(i, 16000), source.read_audio(i, 16000)) for i in range(len(source)))


def test_what_cannot_be_packed_is_named(corpus, tmp_path, capsys):
    assert pack(corpus, corpus.parent) == 2
    assert "train.jsonl: is there and was not written by pack; name another folder" in capsys.readouterr().err
    assert pack(corpus, tmp_path / "to", "--shard-size", "much") == 2
    assert "--shard-size much: write a size such as 500M or 1G" in capsys.readouterr().err
    data = (tmp_path / "u3.flac").read_bytes()
    (tmp_path / "u3.flac").write_bytes(data[:2000])
    assert pack(corpus, tmp_path / "to") == 2
    assert "train.jsonl:4: " in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


def test_a_recording_coded_with_loss_is_packed_whole_and_that_is_told(tmp_path, capsys):
    noise = np.random.default_rng(1).normal(0, 0.1, 8 * 16000)
    soundfile.write(tmp_path / "a.ogg", noise, 16000)
    lines = [{"id": f"p{i}", "audio": "a.ogg", "start_s": 2.0 * i, "duration_s": 2.0, "text": "x"} for i in range(3)]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert pack(tmp_path / "m.jsonl", tmp_path / "to") == 0
    assert (
        "note: 3 utterances are parts of longer recordings that are packed whole, such as 'p0'"
        in capsys.readouterr().err
    )
    packed, source = Manifest.read(tmp_path / "to/m.jsonl"), Manifest.read(tmp_path / "m.jsonl")
    assert len({one.offset for one in packed}) == 1
    assert all(np.array_equal(packed.read_audio(i, 16000), source.read_audio(i, 16000)) for i in range(3))


@pytest.mark.parametrize(
    ("subtype", "suffix"), [("PCM_24", "wav"), ("PCM_U8", "wav"), ("PCM_S8", "flac"), ("ULAW", "au")]
)
def test_a_cut_keeps_every_sample_of_each_width(tmp_path, subtype, suffix):
    noise = np.random.default_rng(2).normal(0, 0.2, 6 * 8000).clip(-1, 1)
    soundfile.write(tmp_path / f"a.{suffix}", noise, 8000, subtype=subtype)
    line = {"id": "p", "audio": f"a.{suffix}", "start_s": 2.3, "duration_s": 1.1, "text": "x"}
    (tmp_path / "m.jsonl").write_text(json.dumps(line) + "\n")
    pack(tmp_path / "m.jsonl", tmp_path / "to")
    packed, source = Manifest.read(tmp_path / "to/m.jsonl"), Manifest.read(tmp_path / "m.jsonl")
    assert packed[0].start_s == pytest.approx(0.3) and np.array_equal(
        packed.read_audio(0, 8000), source.read_audio(0, 8000)
    )
