"""Laws of reading sound: every format gives the same samples, a segment is a slice, resampling keeps a tone."""

import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.audio import io


def tone(hz: float, seconds: float, rate: int, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def measured(samples: np.ndarray, rate: int) -> tuple[float, float]:
    """Frequency and amplitude of the strongest tone, from a windowed spectrum and its parabola's top."""
    window = np.hanning(len(samples))
    spectrum = np.abs(np.fft.rfft(samples * window)) + 1e-300
    top = int(spectrum[1:-1].argmax()) + 1
    left, middle, right = np.log(spectrum[top - 1 : top + 2])
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    power = (spectrum[max(0, top - 4) : top + 5] ** 2).sum()
    return (top + shift) * rate / len(samples), 2 * np.sqrt(power / (len(samples) * (window**2).sum()))


def middle(samples: np.ndarray, rate: int) -> np.ndarray:
    """Without the edges, where a tone that begins at once is no tone."""
    return samples[rate // 10 : -rate // 10]


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "sph", "big.sph", "float.wav", "24.wav"])
def test_lossless_formats_agree_exactly(suffix, speech, write_sphere, tmp_path):
    path = tmp_path / f"speech.{suffix}"
    if suffix.endswith("sph"):
        write_sphere(path, speech, order="10" if suffix == "big.sph" else "01")
    else:
        subtype = {"float.wav": "FLOAT", "24.wav": "PCM_24"}.get(suffix)
        soundfile.write(path, speech / 32768 if subtype else speech, 16000, subtype=subtype)
    samples = io.read(path)
    assert samples.dtype == np.float32
    assert np.array_equal(samples, speech / np.float32(32768))
    assert io.info(path) == (16000, len(speech), 1, ())
    assert io.info(path).duration_s == 4.0


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_lossy_formats_agree_nearly(suffix, speech, tmp_path):
    soundfile.write(tmp_path / f"speech.{suffix}", speech, 16000)
    samples, original = io.read(tmp_path / f"speech.{suffix}"), speech / 32768
    assert len(samples) == len(original) == io.info(tmp_path / f"speech.{suffix}").samples
    assert 10 * np.log10((original**2).sum() / ((samples - original) ** 2).sum()) > 10


def test_a_real_sphere_file_is_its_bytes(shared):
    files = sorted((shared / "data/an4/wav/an4test_clstk").glob("*/*.sph"))
    if not files:
        pytest.skip("needs the folder ../shared/data/an4")
    expected = np.frombuffer(files[0].read_bytes()[1024:], "<i2") / np.float32(32768)
    assert np.array_equal(io.read(files[0]), expected)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [16000, 44100, 8000, 48000, 22050, 11025])
def test_a_segment_is_a_slice_of_the_whole(suffix, rate, speech, tmp_path):
    if suffix == "mp3" and rate == 22050:
        rate = 24000
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, np.resize(speech, 2 * rate), rate)
    whole = io.read(path)
    tolerance = 1e-3 if suffix == "mp3" else 1e-6  # an mp3 frame borrows bits from those before it
    for start, length in [(0.0, 0.5), (0.31234, 0.7), (1.0, 1.0), (1.9, 0.1), (0.777, 0.0301)]:
        part = io.read(path, start_s=start, duration_s=length)
        expected = whole[round(start * 16000) : round((start + length) * 16000)]
        assert len(part) == len(expected)
        assert np.abs(part - expected).max() <= tolerance
    assert np.abs(io.read(path, start_s=1.5) - whole[24000:]).max() <= tolerance


def test_neighboring_segments_meet(speech, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech, 44101)  # no common factor with 16000
    times = [0.0, 0.10001, 0.5, 0.73333, 1.2]
    parts = [io.read(tmp_path / "a.wav", start_s=a, duration_s=b - a) for a, b in itertools.pairwise(times)]
    assert np.abs(np.concatenate(parts) - io.read(tmp_path / "a.wav")[: round(1.2 * 16000)]).max() < 1e-6


@pytest.mark.parametrize("suffix", ["wav", "flac", "sph"])
def test_only_the_segment_is_read(suffix, write_sphere, tmp_path):
    def bytes_read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    if not Path("/proc/self/io").exists():
        pytest.skip("the system has no /proc/self/io to count the bytes that are read")
    noise, path = np.random.default_rng(0).integers(-9000, 9000, 60 * 16000, np.int16), tmp_path / f"long.{suffix}"
    write_sphere(path, noise) if suffix == "sph" else soundfile.write(path, noise, 16000)
    before = bytes_read()
    part = io.read(path, start_s=41.0, duration_s=1.0)
    assert bytes_read() - before < path.stat().st_size / 4
    assert np.array_equal(part, noise[41 * 16000 : 42 * 16000] / np.float32(32768))


def test_channels_are_averaged(tmp_path):
    left, right, rear = tone(440, 1, 16000), tone(1000, 1, 16000), tone(3000, 1, 16000)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], 1), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "three.wav", np.stack([left, right, rear], 1), 16000, subtype="FLOAT")
    soundfile.write(tmp_path / "same.flac", np.stack([left, left], 1), 16000)
    soundfile.write(tmp_path / "one.flac", left, 16000)
    assert np.abs(io.read(tmp_path / "two.wav") - (left + right) / 2).max() < 1e-7
    assert np.abs(io.read(tmp_path / "three.wav") - (left + right + rear) / 3).max() < 1e-7
    assert np.array_equal(io.read(tmp_path / "same.flac"), io.read(tmp_path / "one.flac"))
    assert io.info(tmp_path / "three.wav").channels == 3


@pytest.mark.parametrize("rate", [44100, 48000, 22050, 11025, 8000, 96000])
def test_resampling_keeps_a_tone(rate, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(3210.0, 2, rate), rate, subtype="FLOAT")
    samples = io.read(tmp_path / "a.wav")
    assert abs(len(samples) - 32000) <= 1
    hz, level = measured(middle(samples, 16000), 16000)
    assert hz == pytest.approx(3210.0, abs=0.05)
    assert level == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("hz", [8600, 9000, 11000, 15000, 20000])
def test_resampling_kills_aliases(hz, tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(hz, 2, 44100), 44100, subtype="FLOAT")
    assert np.abs(middle(io.read(tmp_path / "a.wav"), 16000)).max() < 0.5 * 10 ** (-90 / 20)


def test_resampling_up_adds_no_images(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(3000, 2, 8000), 8000, subtype="FLOAT")
    samples = middle(io.read(tmp_path / "a.wav"), 16000)
    spectrum = np.abs(np.fft.rfft(samples * np.blackman(len(samples))))
    assert spectrum[len(spectrum) * 9 // 16 :].max() < spectrum.max() * 10 ** (-90 / 20)


@pytest.mark.parametrize("factor", [0.9, 1.1, 0.95, 1.05, 0.9333, 1.5])
def test_speed_changes_length_and_pitch(factor):
    samples = tone(1000.0, 2, 16000)
    changed = io.change_speed(samples, factor, 16000)
    assert changed.dtype == np.float32
    hz, level = measured(middle(changed, 16000), 16000)
    assert hz == pytest.approx(1000.0 * factor, abs=0.05)
    assert level == pytest.approx(0.5, rel=1e-3)
    for size in (1, 2, 399, 12345, 31999):
        assert len(io.change_speed(samples[:size], factor, 16000)) == round(size / factor)


def test_speed_one_changes_nothing(speech):
    samples = speech / np.float32(32768)
    assert np.array_equal(io.change_speed(samples, 1.0, 16000), samples)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_what_is_written_is_read(suffix, speech, tmp_path):
    samples = np.append(speech / np.float32(32768), np.array([1.5, -1.5, 1.0, -1.0], np.float32))
    io.write(tmp_path / f"a.{suffix}", samples, 16000)
    again = io.read(tmp_path / f"a.{suffix}")
    assert np.array_equal(again[:-4], samples[:-4])
    assert again[-4:].tolist() == [32767 / 32768, -1.0, 32767 / 32768, -1.0]
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{suffix}"]


def test_a_stream_of_unknown_length_is_not_truncated(speech, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech, 16000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    place = data.index(b"data")
    for size in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):  # as ffmpeg and sox write to a pipe
        data[4:8] = data[place + 4 : place + 8] = size
        (tmp_path / "a.wav").write_bytes(data)
        assert np.array_equal(io.read(tmp_path / "a.wav"), speech / np.float32(32768))


@pytest.mark.parametrize("container", ["WAV", "WAVEX", "RF64", "RIFX", "LIST"])
def test_every_kind_of_wav(container, speech, tmp_path):
    path, order = tmp_path / "a.wav", "BIG" if container == "RIFX" else "FILE"
    kind = container if container in ("WAVEX", "RF64") else "WAV"
    soundfile.write(path, speech, 16000, format=kind, subtype="PCM_16", endian=order)
    if container == "LIST":  # a chunk of odd size before the samples and one behind them
        data, extra = path.read_bytes(), b"LIST\x05\x00\x00\x00INFOx\x00"
        body = data[8:36] + extra + data[36:] + extra
        path.write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    assert np.array_equal(io.read(path), speech / np.float32(32768))
    path.write_bytes(path.read_bytes()[:60000])
    with pytest.raises(io.AudioError, match="truncated"):
        io.read(path)


def untagged_mp3(path: Path, samples: np.ndarray, mode: str, from_frame: int = 1) -> Path:
    """An mp3 without its first frames, as a stream that was recorded from its middle has none that states a length."""
    soundfile.write(path, samples, 16000, bitrate_mode=mode, compression_level=0.5)
    data, place = path.read_bytes(), 0
    kilobits = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    for _ in range(from_frame):
        place += 72 * kilobits[data[place + 2] >> 4] * 1000 // 16000 + (data[place + 2] >> 1 & 1)
    path.write_bytes(data[place:])
    return path


def loud_then_quiet(speech: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(16000) * 0.3
    return np.concatenate([noise, np.tile(speech, 3) / 32768 * 0.01]).astype(np.float32)


def test_a_constant_mp3_without_a_tag_is_read_to_its_end(speech, tmp_path):
    path = untagged_mp3(tmp_path / "a.mp3", np.tile(speech, 3), "CONSTANT")
    seconds = io.info(path).duration_s
    assert seconds == pytest.approx(12.0, abs=0.2)
    assert len(io.read(path)) == pytest.approx(seconds * 16000, abs=2 * 576)
    for data in (b"ID3\x04\x00\x00\x00\x00\x01\x02" + bytes(130), b"\x00garbage"):  # both are passed over
        longer = tmp_path / "b.mp3"
        longer.write_bytes(data + path.read_bytes())
        assert io.info(longer).duration_s == pytest.approx(seconds, abs=0.05)


@pytest.mark.parametrize("first", ["loud", "quiet"])
def test_a_variable_mp3_without_a_tag_loses_nothing(first, speech, tmp_path, request):
    sound = loud_then_quiet(speech) if first == "loud" else loud_then_quiet(speech)[::-1]
    path = untagged_mp3(tmp_path / "a.mp3", sound, "VARIABLE", from_frame=2)
    if first == "loud":  # libsndfile would guess too short a length from the first bit rate, and stop there
        request.getfixturevalue("ffmpeg")
    assert io.info(path).duration_s == pytest.approx(13.0, abs=0.2)
    assert len(io.read(path)) == pytest.approx(13.0 * 16000, abs=0.2 * 16000)


def test_other_formats_go_through_ffmpeg(ffmpeg, speech, tmp_path):
    stereo = np.stack([speech, speech // 2], 1)
    soundfile.write(tmp_path / "a.wav", stereo, 44100)
    command = [ffmpeg, "-v", "error", "-nostdin", "-i", str(tmp_path / "a.wav")]
    subprocess.run([*command, "-c:a", "pcm_s16le", str(tmp_path / "a.mkv")], check=True)
    subprocess.run([*command, "-c:a", "aac", "-b:a", "256k", str(tmp_path / "a.m4a")], check=True)
    whole = io.read(tmp_path / "a.wav")
    assert io.info(tmp_path / "a.mkv") == (44100, len(speech), 2, ())
    assert np.abs(io.read(tmp_path / "a.mkv") - whole).max() < 1e-6
    part = io.read(tmp_path / "a.mkv", start_s=0.4, duration_s=0.6)
    assert np.abs(part - whole[6400:16000]).max() < 1e-6
    assert (
        np.corrcoef(io.read(tmp_path / "a.m4a")[: len(whole)], whole[: len(io.read(tmp_path / "a.m4a"))])[0, 1] > 0.98
    )
    with pytest.raises(io.AudioError, match=r"lasts 1\.45 s, the segment ends at 2\.00 s"):
        io.read(tmp_path / "a.mkv", start_s=1.0, duration_s=1.0)
    with pytest.raises(io.AudioError, match=r"lasts 1\.45 s, the segment ends at 9\.00 s"):
        io.read(tmp_path / "a.mkv", start_s=8.0, duration_s=1.0)


def test_a_strange_name_is_only_a_name(ffmpeg, speech, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", speech, 16000)
    subprocess.run(
        [ffmpeg, "-v", "error", "-nostdin", "-i", str(tmp_path / "a.wav"), str(tmp_path / "a.mka")], check=True
    )
    monkeypatch.chdir(tmp_path)
    for name in ("-i.mka", "concat:x|y.mka", "ü 'quoted' $HOME.mka"):
        shutil.copy(tmp_path / "a.mka", tmp_path / name)
        assert io.info(name).rate == 16000


@pytest.mark.parametrize("gain", [-1.0, -0.97])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_channels_that_cancel_each_other_are_told_and_the_first_is_read(gain, rate, speech, tmp_path):
    left = speech / np.float32(32768)
    soundfile.write(tmp_path / "a.wav", np.stack([left, gain * left], 1), rate, subtype="FLOAT")
    soundfile.write(tmp_path / "mono.wav", left, rate, subtype="FLOAT")
    told: list[str] = []
    assert np.array_equal(io.read(tmp_path / "a.wav", tell=told.append), io.read(tmp_path / "mono.wav"))
    assert len(told) == 1 and told[0].startswith(f"{tmp_path / 'a.wav'}: its channels cancel each other")
    assert "'channel' in the manifest, or --channel" in told[0]
    second = io.read(tmp_path / "a.wav", channel=2, tell=told.append)
    assert np.allclose(second, gain * io.read(tmp_path / "mono.wav"), atol=1e-6) and len(told) == 1


@pytest.mark.parametrize("gain", [0.0, 1.0, 0.1, -0.9])
def test_channels_that_do_not_cancel_each_other_are_averaged(gain, speech, tmp_path):
    left = speech / np.float32(32768)
    soundfile.write(tmp_path / "a.wav", np.stack([left, gain * left], 1), 16000, subtype="FLOAT")
    told: list[str] = []
    samples = io.read(tmp_path / "a.wav", tell=told.append)
    assert np.allclose(samples, (1 + gain) / 2 * left, atol=1e-6) and not told
    soundfile.write(tmp_path / "silence.wav", np.zeros((16000, 2), np.int16), 16000)
    assert not io.read(tmp_path / "silence.wav", tell=told.append).any() and not told


@pytest.mark.parametrize("channel", [0, 3, -1])
def test_a_channel_that_is_not_there_is_named(channel, speech, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([speech, speech], 1), 16000)
    with pytest.raises(io.AudioError, match=rf"a\.wav: has no channel {channel}, its channels are 1 to 2; correct"):
        io.read(tmp_path / "a.wav", channel=channel)
