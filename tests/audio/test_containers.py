"""Every container and coding, made by libsndfile, ffmpeg and sox from one recording: read whole, and cuts are told.

`prepare` asks io.info, training and decoding ask io.read: both must come to the same verdict on each file.
"""

import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.audio import io

# libsndfile cannot write, or not read what it has written
BROKEN = ("DWVW", "MPEG_LAYER_I", "NMS_ADPCM")
WRITTEN = [
    (container, subtype)
    for container in soundfile.available_formats()
    for subtype in soundfile.available_subtypes(container)
    if container != "RAW" and not subtype.startswith(BROKEN) and soundfile.check_format(container, subtype)
]
WITHOUT_LENGTH = ("PVF", "IRCAM", "PAF", "XI")
RESOURCE_FORK = ("SD2",)  # its header is in another file


def verdict(path: Path, read: bool) -> tuple[int, list[str]] | str:
    """Samples at the file's own rate with what is told about them, or the error."""
    told: list[str] = []
    try:
        info = io.info(path)
        if not read:
            return info.samples, list(info.notes)
        return len(io.read(path, rate=info.rate, tell=told.append)), told
    except io.AudioError as error:
        return str(error)


def check_cuts(path: Path, cuts: tuple[float, ...], *, hidden: bool = False) -> None:
    """Both doors say of a part of the file that it is one, in the same way; `hidden`: its format does not show it."""
    data = path.read_bytes()
    for kept in cuts:
        part = path.with_name(f"cut_{path.name}")
        part.write_bytes(data[: int(len(data) * kept)] if kept > 0 else data[: int(kept)])
        by_header, by_samples = verdict(part, read=False), verdict(part, read=True)
        assert by_header == by_samples, (kept, by_header, by_samples)
        assert isinstance(by_header, str) or by_header[1] or hidden, f"{kept} of {path.name} is silently {by_header}"


@pytest.mark.parametrize(("container", "subtype"), WRITTEN)
def test_what_libsndfile_writes_is_read_and_its_cuts_are_told(container, subtype, speech, tmp_path):
    path = tmp_path / f"a.{container.lower()}"
    soundfile.write(path, speech[:16000], 16000, format=container, subtype=subtype)
    expected, rate = soundfile.read(path, dtype="float32")
    told: list[str] = []
    samples = io.read(path, rate=rate, tell=told.append)
    assert np.array_equal(samples, expected)
    assert io.info(path) == (rate, len(expected), 1, tuple(told))
    assert bool(told) == (container in WITHOUT_LENGTH)
    first = round(0.2 * rate)
    part = io.read(path, start_s=0.2, duration_s=0.1, rate=rate)
    assert np.abs(part - samples[first : first + len(part)]).max() < 1e-3
    check_cuts(path, (0.6,) if container in ("SDS", *RESOURCE_FORK) else (0.6, -7))


def test_gsm_without_a_header_and_voc_in_blocks(ffmpeg, speech, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech, 8000)
    for name in ("a.gsm", "a.voc"):
        command = [ffmpeg, "-v", "error", "-nostdin", "-i", str(tmp_path / "a.wav"), str(tmp_path / name)]
        if subprocess.run(command, capture_output=True).returncode:
            continue  # this ffmpeg has no encoder for GSM
        samples = io.read(tmp_path / name, rate=8000)
        assert len(samples) == len(speech) == io.info(tmp_path / name).samples
        assert np.corrcoef(samples, speech)[0, 1] > 0.7, "GSM keeps a buzz less well than speech"
    check_cuts(tmp_path / "a.voc", (0.6, -7))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chain_of_ogg_streams_is_read_to_its_end(ffmpeg, subtype, speech, tmp_path):
    for name, seconds in (("one", 4), ("two", 2)):
        soundfile.write(tmp_path / f"{name}.ogg", speech[: seconds * 16000], 16000, format="OGG", subtype=subtype)
    path = tmp_path / "chain.ogg"
    path.write_bytes((tmp_path / "one.ogg").read_bytes() + (tmp_path / "two.ogg").read_bytes())
    told: list[str] = []
    header, samples = io.info(path), io.read(path, tell=told.append)
    assert header.duration_s == pytest.approx(6.0, abs=0.05)
    assert told == [*header.notes] == [f"{path}: is a chain of 2 Ogg streams; all of them are read, one after another"]
    assert len(samples) == pytest.approx(6 * 16000, abs=800)
    assert np.corrcoef(samples[:64000], io.read(tmp_path / "one.ogg")[: len(samples)])[0, 1] > 0.98


def test_a_chain_of_ogg_streams_without_ffmpeg(no_ffmpeg, speech, tmp_path):
    soundfile.write(tmp_path / "one.ogg", speech, 16000)
    soundfile.write(tmp_path / "two.ogg", speech, 16000)
    path = tmp_path / "chain.ogg"
    path.write_bytes((tmp_path / "one.ogg").read_bytes() + (tmp_path / "two.ogg").read_bytes())
    for door in (io.info, io.read):
        with pytest.raises(
            io.AudioError, match="a chain of 2 streams, of which libsndfile reads the first alone; inst"
        ):
            door(path)


FFMPEG = {
    **{"gsm.wav": "-c:a gsm_ms -ar 8000", "ima.wav": "-c:a adpcm_ima_wav", "ms.wav": "-c:a adpcm_ms"},
    **{"alaw.wav": "-c:a pcm_alaw", "g726.wav": "-c:a g726 -ar 8000 -b:a 32k", "mp3.wav": "-c:a libmp3lame"},
    **{"s24.wav": "-c:a pcm_s24le", "yamaha.wav": "-c:a adpcm_yamaha", "rf64.wav": "-rf64 always", "a.w64": ""},
    **{"alac.caf": "-c:a alac", "sowt.aiff": "-c:a pcm_s16le", "a.au": "", "a.flac": "", "a.oga": "-c:a flac"},
    **{"a.ogg": "-c:a libvorbis", "a.opus": "-c:a libopus", "a.spx": "-c:a libspeex", "a.mp3": "", "a.mp2": ""},
    **{"vbr.mp3": "-q:a 5", "noxing.mp3": "-write_xing 0", "id3v1.mp3": "-write_id3v1 1 -metadata title=x"},
    **{"a.m4a": "", "alac.m4a": "-c:a alac", "a.wma": "", "a.webm": "-c:a libopus", "a.mka": "-c:a libvorbis"},
    **{
        "a.aac": "",
        "a.ac3": "",
        "a.tta": "",
        "a.wv": "",
        "a.mov": "-c:a pcm_s16be",
        "a.avi": "-c:a pcm_s16le",
        "a.flv": "-ar 22050",
    },
}
SOX = {
    **{"a.sph": "", "mu.sph": "-e mu-law", "big.sph": "-B", "two.sph": "-c 2", "a.aifc": "", "a.voc": "", "a.caf": ""},
    **{"a.pvf": "", "a.sf": "", "a.8svx": "", "a.wve": "-r 8000", "gsm.wav": "-e gsm-full-rate", "a.sds": ""},
    **{"ima.wav": "-e ima-adpcm", "a.avr": "", "a.paf": "", "a.mat5": "", "a.htk": "", "a.amb": ""},
}
WHOLE_WITHOUT_THE_LAST_BYTES = (
    "id3v1.mp3",
    "a.m4a",
    "alac.m4a",
    "a.wma",
    "a.mov",
    "a.avi",
    "a.tta",
    "a.voc",
    "a.sds",
    "a.webm",
    "a.mka",
    "a.flv",
)


@pytest.mark.slow
@pytest.mark.parametrize(("tool", "name"), [("ffmpeg", name) for name in FFMPEG] + [("sox", name) for name in SOX])
def test_what_ffmpeg_and_sox_write_is_read_as_ffmpeg_reads_it(tool, name, speech, tmp_path):
    if not (shutil.which("ffmpeg") and shutil.which(tool)):
        pytest.skip(f"needs ffmpeg and {tool} on PATH")
    path, source = tmp_path / name, tmp_path / "source.flac"
    soundfile.write(source, speech, 16000)
    if tool == "ffmpeg":
        made = subprocess.run(
            f"ffmpeg -v error -nostdin -i {source} {FFMPEG[name]} {path}".split(), capture_output=True
        )
    else:
        made = subprocess.run(f"sox {source} {SOX[name]} {path}".split(), capture_output=True)
    if made.returncode:
        pytest.skip(f"this {tool} cannot write {name}")
    info, told = io.info(path), list[str]()
    samples = io.read(path, rate=info.rate, tell=told.append)
    assert len(samples) == info.samples and list(info.notes) == told
    assert info.duration_s == pytest.approx(4.0, abs=0.12)
    theirs = subprocess.run(
        f"ffmpeg -v error -nostdin -i {path} -ar {info.rate} -ac 1 -f f32le -".split(), capture_output=True
    )
    expected = np.frombuffer(theirs.stdout, np.float32)
    # ffmpeg does not know MAT, HTK and the like; it decodes Opus at 48 kHz alone
    if len(expected) and info.channels == 1 and name != "a.opus":
        assert abs(len(expected) - len(samples)) <= 8
        both = min(len(expected), len(samples))
        assert np.abs(samples[:both] - expected[:both]).max() < 0.01
    check_cuts(path, (0.6,) if name in WHOLE_WITHOUT_THE_LAST_BYTES else (0.6, -7))


def test_a_pipe_states_no_length_and_is_read_whole(ffmpeg, speech, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech, 16000)
    for form in ("wav", "au", "aiff", "w64", "caf"):
        with (tmp_path / f"pipe.{form}").open("wb") as file:
            command = [ffmpeg, "-v", "error", "-nostdin", "-i", str(tmp_path / "a.wav"), "-f", form, "pipe:1"]
            pipe = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert pipe.stdout is not None
            file.write(pipe.stdout.read())
            assert pipe.wait() == 0
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            samples = io.read(tmp_path / f"pipe.{form}")
        assert np.array_equal(samples, speech / np.float32(32768)), form
        assert len(caught) == 1 and caught[0].category is io.AudioWarning
        assert str(caught[0].message) == io.info(tmp_path / f"pipe.{form}").notes[0]
