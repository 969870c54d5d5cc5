"""Sound files that cannot be used: each is refused with an AudioError that names the file and the remedy."""

import os
import plistlib
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.audio import io
from hybrid_asr.audio.io import AudioError
from hybrid_asr.common.errors import UserError


def refused(path: Path, why: str, remedy: str, *, by: tuple[str, ...] = ("info", "read"), **segment) -> None:
    """Both doors refuse `path`, by name, with the reason and the remedy."""
    for door in by:
        with pytest.raises(AudioError) as caught:
            io.read(path, **segment) if door == "read" else io.info(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ") and why in message and remedy in message, message
        assert "\n" not in message and isinstance(caught.value, UserError)


def test_missing(tmp_path):
    refused(tmp_path / "none.wav", "no such file", "check its path")
    refused(Path("C:\\recordings\\none.wav"), "no such file", "looks like a path of Windows")
    refused(Path("https://server/none.wav"), "no such file", "this is an address: download the file")
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    refused(tmp_path / "link.wav", "a symbolic link to a file that is not there", "check the path")
    (tmp_path / "file").write_bytes(b"x")
    refused(tmp_path / "file/a.wav", "cannot be read", "check the path")


def test_a_folder(tmp_path):
    refused(tmp_path, "is a folder", "name a sound file")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the super-user may read everything")
def test_no_permission(speech, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech, 16000)
    (tmp_path / "a.wav").chmod(0)
    refused(tmp_path / "a.wav", "cannot be read", "permissions")


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "sph", "m4a"])
def test_no_bytes(suffix, tmp_path):
    (tmp_path / f"a.{suffix}").write_bytes(b"")
    refused(tmp_path / f"a.{suffix}", "is empty (0 bytes)", "download it again")


@pytest.mark.parametrize("suffix", ["wav", "aiff", "sph"])
def test_no_samples(suffix, write_sphere, tmp_path):
    path, nothing = tmp_path / f"a.{suffix}", np.zeros(0, np.int16)
    write_sphere(path, nothing) if suffix == "sph" else soundfile.write(path, nothing, 16000)
    refused(path, "holds no samples", "leave it out")


@pytest.mark.parametrize("suffix", ["wav", "flac", "sph", "mp3", "float.wav"])
@pytest.mark.parametrize("kept", [0.9, 0.5, 0.1])
def test_truncated(suffix, kept, speech, write_sphere, tmp_path):
    path = tmp_path / f"a.{suffix}"
    if suffix == "sph":
        write_sphere(path, speech)
    else:
        soundfile.write(path, speech, 16000, subtype="FLOAT" if suffix == "float.wav" else None)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    refused(path, "truncated", "copy or download it again")
    if suffix != "mp3":
        refused(path, "truncated", "download it again", by=("read",), start_s=3.8, duration_s=0.2)


@pytest.mark.parametrize("suffix", ["wav", "flac", "sph", "mp3", "ogg"])
@pytest.mark.parametrize("kept", [4, 20, 40])
def test_truncated_in_its_header(suffix, kept, speech, write_sphere, tmp_path, no_ffmpeg):
    path = tmp_path / f"a.{suffix}"
    write_sphere(path, speech) if suffix == "sph" else soundfile.write(path, speech, 16000)
    path.write_bytes(path.read_bytes()[:kept])
    refused(path, "", "copy or download it again")


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b'{"error": "expired"}', 'the text \'{"error": "expired"}\''),
        (b"just words " * 100, "the text 'just words"),
        ("größe: 5\n".encode() * 99, "the text 'größe"),
        ("größe: 5\n".encode("utf-16"), "the text 'größe"),
        (b"PK\x03\x04" + bytes(range(256)), "a zip archive"),
        (b"\x1f\x8b\x08\x00" + bytes(range(256)), "a gzip archive"),
        (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF document"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "a PNG picture"),
        (b"\xff\xd8\xff\xe0" + bytes(range(256)), "a JPEG picture"),
        (bytes(5000), "64 zero bytes: perhaps the disk was full"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X" + bytes(60), "what macOS keeps beside a file"),
        (plistlib.dumps({"NSURLNameKey": "a.wav"}, fmt=plistlib.FMT_BINARY), "a placeholder of iCloud"),
    ],
)
@pytest.mark.parametrize("suffix", ["wav", "mp3", "flac"])
def test_not_audio(head, found, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(head)
    refused(path, f"is not audio: it begins with {found}", "name a sound file")


def test_a_shard_is_named_as_a_tar_archive(tmp_path):
    path, content = tmp_path / "a.tar", tmp_path / "b.wav"
    content.write_bytes(bytes(100))
    with tarfile.open(path, "w") as archive:
        archive.add(content, "b.wav")
    refused(path, "is not audio: it is a tar archive", "hybrid-asr decode RUN data.root=DIR")


@pytest.mark.parametrize(
    ("head", "what", "remedy"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer", "git lfs pull"),
        (b"/annex/objects/SHA256E-s3--0.wav\n", "is a git-annex pointer", "git annex get"),
        (b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>", "is a web page", "download the sound again"),
        (b"\n<HTML lang=en><head>", "is a web page", "download the sound again"),
        (b"utt1 \0BFM \x04\x03\x00\x00\x00\x04\x50\x00\x00\x00" + bytes(99), "is a Kaldi archive", "wav.scp"),
        (b"utt1 RIFF\x24\x00\x00\x00WAVEfmt " + bytes(99), "is a Kaldi archive", "wav.scp"),
    ],
)
@pytest.mark.parametrize("suffix", ["wav", "mp3"])
def test_what_lies_in_place_of_a_sound_is_named(head, what, remedy, suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(head)
    refused(path, f"is not audio: it {what}", remedy)


def test_a_numpy_array_is_named(speech, tmp_path):
    np.save(tmp_path / "a.npy", speech)
    refused(tmp_path / "a.npy", "it begins with a numpy array", "write it with soundfile")


def test_sphere_that_is_compressed_by_shorten_is_named_with_its_remedy(speech, write_sphere, tmp_path, no_ffmpeg):
    path = write_sphere(tmp_path / "a.sph", speech)
    coding = b"sample_coding -s26 pcm,embedded-shorten-v2.00\n"
    path.write_bytes(path.read_bytes().replace(b"sample_coding -s3 pcm\n", coding).replace(b" " * 30, b" ", 1))
    refused(path, "its samples are compressed: pcm,embedded-shorten-v2.00", "sph2pipe -f wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_not_a_number(value, rate, speech, tmp_path):
    samples = speech / np.float32(32768)
    samples[rate] = value  # at 1 s
    soundfile.write(tmp_path / "a.wav", np.stack([samples, speech / 32768], 1), rate, subtype="FLOAT")
    refused(tmp_path / "a.wav", f"the sample at 1.000 s is {value}", "write the file anew", by=("read",))
    refused(tmp_path / "a.wav", "at 1.000 s", "anew", by=("read",), start_s=0.9, duration_s=0.3)
    assert len(io.read(tmp_path / "a.wav", start_s=0.0, duration_s=0.5)) == 8000
    with pytest.raises(AudioError, match=r"b\.wav: the sample at"):
        io.write(tmp_path / "b.wav", samples, rate)
    assert not (tmp_path / "b.wav").exists()


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_segment_past_the_end(rate, suffix, speech, tmp_path):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, speech[:rate], rate)  # one second
    end = "lasts 1.00 s, the segment ends at 1.20 s"
    refused(path, end, "correct its times", by=("read",), start_s=0.5, duration_s=0.7)
    refused(path, "the segment ends at 5.00 s", "correct its times", by=("read",), start_s=3.0, duration_s=2.0)
    refused(path, "the segment starts at 3.00 s", "correct its times", by=("read",), start_s=3.0)
    assert 7990 <= len(io.read(path, start_s=0.5, duration_s=0.505)) <= 8001  # a table's rounding is forgiven
    refused(path, "the segment ends at 1.02 s", "correct its times", by=("read",), start_s=0.5, duration_s=0.52)


@pytest.mark.parametrize("segment", [{"start_s": -0.1}, {"start_s": float("nan")}, {"start_s": float("inf")}])
def test_an_impossible_start(segment, speech, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech, 16000)
    refused(tmp_path / "a.wav", "cannot start at", "correct its start", by=("read",), **segment)


@pytest.mark.parametrize("duration", [0.0, -1.0, 1e-9, float("nan"), float("inf")])
def test_an_impossible_duration(duration, speech, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech, 16000)
    refused(tmp_path / "a.wav", "cannot last", "correct its duration", by=("read",), duration_s=duration)


def test_raw_samples(speech, tmp_path):
    (tmp_path / "a.raw").write_bytes(speech.tobytes())
    refused(tmp_path / "a.raw", "do not state their rate", "convert")


def test_an_unknown_format_without_ffmpeg(no_ffmpeg, tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + np.random.default_rng(0).bytes(4000))
    refused(tmp_path / "a.m4a", "its format is not known to libsndfile", "install ffmpeg")


def test_an_unknown_length_without_ffmpeg(no_ffmpeg, speech, tmp_path):
    soundfile.write(tmp_path / "a.flac", speech, 16000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0  # STREAMINFO's 36 bits of total samples
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    refused(tmp_path / "a.flac", "does not state its length", "install ffmpeg")


def test_an_unknown_length_with_ffmpeg(ffmpeg, speech, tmp_path):
    soundfile.write(tmp_path / "a.flac", speech, 16000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    (tmp_path / "a.flac").write_bytes(data)
    assert io.info(tmp_path / "a.flac") == (16000, len(speech), 1, ())
    assert np.array_equal(io.read(tmp_path / "a.flac"), speech / np.float32(32768))


def test_random_bytes_with_ffmpeg(ffmpeg, tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + np.random.default_rng(0).bytes(4000))
    refused(tmp_path / "a.m4a", "is damaged or not audio", "download it again")


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_truncated_with_ffmpeg(ffmpeg, codec, speech, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech, 16000)
    output = ["-c:a", codec, "-movflags", "faststart", str(tmp_path / "a.mov")]
    subprocess.run([ffmpeg, "-v", "error", "-nostdin", "-i", str(tmp_path / "a.wav"), *output], check=True)
    data = (tmp_path / "a.mov").read_bytes()
    (tmp_path / "a.mov").write_bytes(data[: len(data) * 6 // 10])
    refused(tmp_path / "a.mov", "is damaged", "download it again")


def test_a_variable_mp3_without_a_tag_needs_ffmpeg(no_ffmpeg, speech, tmp_path):
    noise = np.random.default_rng(0).standard_normal(16000) * 0.3
    sound = np.concatenate([noise, np.tile(speech, 3) / 32768 * 0.01])
    soundfile.write(tmp_path / "a.mp3", sound, 16000, bitrate_mode="VARIABLE", compression_level=0.5)
    data = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(data[288:])  # the frame of 32 kbit/s that carries the tag
    refused(tmp_path / "a.mp3", "does not state its length", "install ffmpeg")


def test_write_knows_two_suffixes(speech, tmp_path):
    with pytest.raises(AudioError, match=r"a\.mp3: only \.wav and \.flac are written"):
        io.write(tmp_path / "a.mp3", speech / np.float32(32768), 16000)
    assert not list(tmp_path.iterdir())
