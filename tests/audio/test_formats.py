"""Sound files that libsndfile would read in part, with other samples, or at an absurd rate, without a word."""

import os

import numpy as np
import pytest
import soundfile

from hybrid_asr.audio import io
from hybrid_asr.audio.io import AudioError


@pytest.fixture(params=["VORBIS", "OPUS"])
def ogg(request, speech, tmp_path):
    path = tmp_path / "a.ogg"
    soundfile.write(path, speech, 16000, format="OGG", subtype=request.param)
    return path


def refused(path, message: str) -> None:
    for door in (io.info, io.read):
        with pytest.raises(AudioError, match=rf"a\.\w+: {message}"):
            door(path)


def test_an_undamaged_file_is_read(ogg, speech):
    assert len(io.read(ogg)) == len(speech)


def test_every_flipped_bit_is_found(ogg):
    whole = ogg.read_bytes()
    for place in np.random.default_rng(0).integers(0, len(whole), 40):
        data = bytearray(whole)
        data[place] ^= 1 << int(place) % 8
        ogg.write_bytes(data)
        with pytest.raises(AudioError, match=r"a\.ogg: .*(page \d+|begins? with)"):
            io.read(ogg)


def test_a_file_that_ends_at_a_page_is_read_with_a_note(ogg, speech):
    """As Android's MediaMuxer writes all of its files; that it was cut cannot be told."""
    whole, pages = io.read(ogg), ogg.read_bytes().split(b"OggS")[1:]
    ogg.write_bytes(b"".join(b"OggS" + page for page in pages[:-1]))
    (note,) = io.info(ogg).notes
    assert note.startswith(f"{ogg}: none of its {len(pages) - 1} pages has the flag that ends the stream")
    told: list[str] = []
    samples = io.read(ogg, tell=told.append)
    assert told == [note] and 0 < len(samples) == io.info(ogg).samples <= len(speech)
    assert np.abs(samples[:-2000] - whole[: len(samples) - 2000]).max() < 1e-3


def test_a_file_that_ends_in_a_page_is_damaged(ogg):
    ogg.write_bytes(ogg.read_bytes()[:-9])
    refused(ogg, r"is damaged: at byte [\d,]+, behind page \d+, no complete page begins")


def test_a_page_that_is_missing_is_named(ogg):
    pages = ogg.read_bytes().split(b"OggS")[1:]
    if len(pages) < 4:
        pytest.skip("this build of libsndfile writes one page of sound")
    ogg.write_bytes(b"".join(b"OggS" + page for page in pages[:2] + pages[3:]))
    refused(ogg, r"is damaged: page 3, at byte [\d,]+, is number 3 of its stream where number 2 should follow")


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_flac_must_give_the_md5_of_its_header(subtype, channels, speech, tmp_path):
    path = tmp_path / "a.flac"
    sound = np.stack([speech] * channels, axis=1)
    soundfile.write(path, sound, 16000, subtype=subtype)
    expected = soundfile.read(path, dtype="float32", always_2d=True)[0]
    assert np.array_equal(io.read(path), expected[:, 0])
    data = bytearray(path.read_bytes())
    data[30] ^= 1
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"a\.flac: is damaged: its 64000 samples do not give the MD5"):
        io.read(path)
    assert len(io.read(path, duration_s=1.0)) == 16000, "a part of it has no sum"


@pytest.mark.parametrize("suffix", ["aiff", "au"])
@pytest.mark.parametrize("kept", [0.9, 0.5])
def test_a_truncated_aiff_or_au(suffix, kept, speech, tmp_path):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, speech, 16000)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    refused(path, r"is truncated: its header promises \d+ bytes of samples, the file holds \d+")


@pytest.mark.parametrize("rate", [1, 999, 1_000_001, 0x7FFFFFFF])
def test_a_rate_that_no_recording_has(rate, speech, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech, 16000)
    data = bytearray(path.read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, f"is damaged: its header says {rate:,} Hz, recordings have 1,000 to 1,000,000")


def test_samples_behind_those_of_a_sphere_header_are_not_read(speech, write_sphere, tmp_path):
    path = write_sphere(tmp_path / "a.sph", speech)
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert len(io.read(path)) == len(speech) == io.info(path).samples


def test_a_text_is_no_au_file_by_its_suffix(tmp_path):
    (tmp_path / "a.au").write_bytes(b"<!DOCTYPE html>\n<html></html>")
    refused(tmp_path / "a.au", "is not audio")
    (tmp_path / "a.au").write_bytes(bytes(range(1, 200)) * 20)
    refused(tmp_path / "a.au", "has no header: no sound file begins with the bytes 01 02 03")


def test_a_damaged_mp3_prints_nothing(speech, tmp_path, capfd):
    path = tmp_path / "a.mp3"
    soundfile.write(path, speech, 16000)
    whole = path.read_bytes()
    refusals = 0
    for seed in range(12):
        data, rng = bytearray(whole), np.random.default_rng(seed)
        for place in rng.integers(600, len(data), 12):
            data[place] ^= 0x55
        path.write_bytes(data)
        try:
            io.read(path)
        except AudioError as error:
            refusals += 1
            assert "libmpg123 says" in str(error) or "truncated" in str(error) or "ffmpeg" in str(error)
    assert refusals > 0
    assert capfd.readouterr().err == ""


def test_a_named_pipe_and_a_device_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    refused(tmp_path / "a.wav", "is a named pipe, not a file")
    (tmp_path / "a.flac").symlink_to("/dev/zero")
    refused(tmp_path / "a.flac", "is a device, not a file")
