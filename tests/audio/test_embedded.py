"""A sound file in memory, or within another file, is read as the same file on disk is."""

import subprocess

import numpy as np
import pytest
import soundfile

from hybrid_asr.audio import io
from hybrid_asr.audio.embedded import EmbeddedFile, in_memory

SNDFILE = ("wav", "flac", "ogg", "mp3", "aiff", "w64", "caf", "au")


def embedded(path) -> EmbeddedFile:
    return in_memory(f"shard.tar ({path.name})", path.read_bytes(), suffix=path.suffix)


def equal(path, **segment) -> None:
    assert io.info(embedded(path))[:3] == io.info(path)[:3]
    assert np.array_equal(io.read(embedded(path), **segment), io.read(path, **segment))


@pytest.mark.parametrize("suffix", SNDFILE)
def test_samples_of_each_format_are_those_of_the_file(suffix, speech, tmp_path):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([speech, speech // 2], 1), 16000)
    equal(path)
    equal(path, start_s=1.25, duration_s=0.5, rate=8000, channel=2)


def test_sphere_and_headers_that_are_corrected(speech, tmp_path, write_sphere):
    equal(write_sphere(tmp_path / "a.sph", speech))
    path = tmp_path / "a.wav"
    soundfile.write(path, speech, 16000)
    data = bytearray(path.read_bytes())
    data[40:44] = b"\xff\xff\xff\x7f"  # as of a writer to a pipe
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"shard\.tar \(a\.wav\): its header states no length"):
        samples = io.read(embedded(path))
    assert len(samples) == len(speech)


def test_a_format_of_ffmpeg_is_read_from_memory_where_it_must_seek(speech, tmp_path, ffmpeg):
    soundfile.write(tmp_path / "a.wav", speech, 16000)
    path = tmp_path / "a.m4a"  # its index stands at the end
    subprocess.run([ffmpeg, "-v", "error", "-i", tmp_path / "a.wav", path], check=True)
    equal(path, start_s=0.5, duration_s=1.0)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_cut_file_is_refused_by_its_name(suffix, speech, tmp_path):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, speech, 16000)
    cut = in_memory("shard.tar (a)", path.read_bytes()[:-5000], suffix=path.suffix)
    with pytest.raises(io.AudioError, match=r"^shard\.tar \(a\): is (truncated|damaged)"):
        io.read(cut)
    with pytest.raises(io.AudioError, match=r"^shard\.tar \(a\): is empty"):
        io.read(in_memory("shard.tar (a)", b"", suffix=".wav"))
