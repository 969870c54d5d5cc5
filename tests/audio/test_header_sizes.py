"""Sizes in headers that are too small, missing or too large, container by container, and what may follow samples."""

import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.audio import io

# Of each container that libsndfile writes: what stands before the size of the samples, how far, its format, and what
# the size counts beside the samples.
FIELDS = {
    "WAV": (b"data", 4, "<I", 0),
    "RIFX": (b"data", 4, ">I", 0),
    "WAVEX": (b"data", 4, "<I", 0),
    "RF64": (b"ds64", 16, "<Q", 0),
    "W64": (b"data\xf3\xac", 16, "<Q", 24),
    "AIFF": (b"SSND", 4, ">I", 8),
    "SOWT": (b"SSND", 4, ">I", 8),
    "AU": (b".snd", 8, ">I", 0),
    "AU-LITTLE": (b"dns.", 8, "<I", 0),
    "CAF": (b"data", 4, ">q", 4),
    "NIST": (b"sample_count -i ", 16, "", 0),
}
ENDIAN = {"RIFX": "BIG", "SOWT": "LITTLE", "AU-LITTLE": "LITTLE"}
FORMAT = {"RIFX": "WAV", "SOWT": "AIFF", "AU-LITTLE": "AU"}
UNKNOWN = {"<I": (0xFFFFFFFF, 0x7FFFF000), ">I": (0xFFFFFFFF, 0x7FFFFFFF), "<Q": (1 << 63,), ">q": (-1,), "": ()}


def make(path: Path, container: str, samples: np.ndarray, subtype: str | None = None) -> Path:
    """A file of this container."""
    kind, endian = FORMAT.get(container, container), ENDIAN.get(container, "FILE")
    soundfile.write(path, samples, 16000, format=kind, subtype=subtype or "PCM_16", endian=endian)
    if container == "RF64":  # libsndfile writes the size in the chunk ds64 only where it is needed
        data = bytearray(path.read_bytes())
        place = data.index(b"data") + 4
        data[place : place + 4] = b"\xff" * 4
        path.write_bytes(data)
    return path


def state(path: Path, container: str, size: int) -> None:
    """Make the header say that there are `size` bytes of samples."""
    before, distance, kind, extra = FIELDS[container]
    data = bytearray(path.read_bytes())
    place = data.index(before) + distance
    if kind:
        stated = size if size < 0 or size >= 0x7FFF0000 else size + extra
        data[place : place + struct.calcsize(kind)] = struct.pack(kind, stated)
    else:
        end = data.index(b"\n", place)
        text = str(size // 2).encode()
        data[place:end] = text
        data[1000:1000] = b" " * (end - place - len(text))
    path.write_bytes(data)


def told_by_both(path: Path, expected: np.ndarray, why: str) -> None:
    """Both doors read `expected`, and say why the header is doubtful."""
    told: list[str] = []
    info, samples = io.info(path), io.read(path, tell=told.append)
    assert info.samples == len(expected) == len(samples)
    assert np.array_equal(samples, expected / np.float32(32768))
    assert told == list(info.notes) and len(told) == bool(why)
    assert all(note.startswith(f"{path}: ") and why in note for note in told), told
    part = io.read(path, start_s=1.5, duration_s=0.25, tell=told.append)
    assert np.array_equal(part, samples[24000:28000])


@pytest.mark.parametrize("container", FIELDS)
@pytest.mark.parametrize("stated", [0, 16000])
def test_a_size_that_is_too_small_is_read_to_the_end(container, stated, speech, tmp_path):
    path = make(tmp_path / "a.sound", container, speech[:32000])
    state(path, container, stated)
    told_by_both(path, speech[:32000], f"its header states {stated} bytes of samples, 64000 follow: all of them are")


@pytest.mark.parametrize(
    ("container", "stated"), [(name, size) for name, field in FIELDS.items() for size in UNKNOWN[field[2]]]
)
def test_a_size_that_is_not_stated_is_read_to_the_end(container, stated, speech, tmp_path):
    path = make(tmp_path / "a.sound", container, speech[:32000])
    state(path, container, stated)
    told_by_both(path, speech[:32000], "its header states no length: all 64000 bytes that follow are read as samples")


@pytest.mark.parametrize("container", FIELDS)
@pytest.mark.parametrize(("kept", "why"), [(-7, "is cut by a few bytes"), (-30000, "is truncated")])
def test_a_size_that_is_too_large_is_told(container, kept, why, speech, tmp_path):
    path = make(tmp_path / "a.sound", container, speech[:32000])
    if container == "CAF":  # padding behind the samples
        path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"data") + 16 + 64000])
    path.write_bytes(path.read_bytes()[:kept])
    if why == "is truncated":
        for door in (io.info, io.read):
            with pytest.raises(io.AudioError, match=r"is truncated: its header promises 64000 bytes of samples"):
                door(path)
    else:
        told_by_both(path, speech[: 32000 - 4], "its header promises 64000 bytes of samples, the file holds 63993")


def test_a_sphere_without_a_count_is_read_to_the_end(speech, write_sphere, tmp_path):
    path = write_sphere(tmp_path / "a.sph", speech[:32000])
    path.write_bytes(path.read_bytes().replace(b"sample_count", b"sample_cOunt"))
    told_by_both(path, speech[:32000], "its header states no length")


@pytest.mark.parametrize("count", ["-1", "0"])
def test_a_sphere_with_an_impossible_count_is_read_to_the_end(count, speech, write_sphere, tmp_path):
    path = write_sphere(tmp_path / "a.sph", speech[:32000])
    data = path.read_bytes().replace(b"sample_count -i 32000", f"sample_count -i {count:>5}".encode())
    path.write_bytes(data)
    told_by_both(path, speech[:32000], "all of them are read" if count == "0" else "its header states no length")


def test_the_size_in_ds64_counts_even_where_the_chunk_has_one(speech, tmp_path):
    """As for libsndfile, which would read no more."""
    path = make(tmp_path / "a.wav", "RF64", speech[:32000])
    state(path, "RF64", 1000)
    data = bytearray(path.read_bytes())
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", 64000)
    path.write_bytes(data)
    told_by_both(path, speech[:32000], "its header states 1000 bytes of samples, 64000 follow")


def mp3_with_tag(path: Path, samples: np.ndarray, frames: int) -> Path:
    """An mp3 whose tag counts `frames` frames."""
    soundfile.write(path, samples, 16000, bitrate_mode="VARIABLE", compression_level=0.5)
    data = bytearray(path.read_bytes())
    place = data.index(b"Xing") + 8
    data[place : place + 4] = struct.pack(">I", frames)
    path.write_bytes(data)
    return path


def test_an_mp3_whose_tag_counts_too_few_frames_is_read_to_its_end(ffmpeg, speech, tmp_path):
    path = mp3_with_tag(tmp_path / "a.mp3", speech, 20)
    told: list[str] = []
    info, samples = io.info(path), io.read(path, tell=told.append)
    assert info.samples == len(samples) == pytest.approx(len(speech), abs=2304)
    assert told == list(info.notes)
    assert len(told) == 1 and "a.mp3: its header states 0." in told[0] and "follow: all are read" in told[0]


def test_an_mp3_behind_an_mp3_is_not_passed_over(no_ffmpeg, speech, tmp_path):
    path = tmp_path / "a.mp3"
    soundfile.write(path, speech, 16000)
    path.write_bytes(path.read_bytes() * 2)
    for door in (io.info, io.read):
        with pytest.raises(io.AudioError, match=r"a\.mp3: its header states 4\.\d+ s of 8\.\d+ s, so that libsndfile"):
            door(path)


def test_an_mp3_whose_tag_counts_too_many_frames_is_cut(speech, tmp_path):
    """Two thousand million: neither all memory nor a look at each."""
    path = mp3_with_tag(tmp_path / "a.mp3", speech, 1 << 31)
    for door in (io.info, io.read):
        with pytest.raises(io.AudioError, match=r"is truncated: its header promises \d+\.\d+ s, the file holds 4\."):
            door(path)


CHUNKS = {
    "LIST": b"LIST\x0a\x00\x00\x00INFOISFT\x02\x00",
    "id3": b"id3 \x05\x00\x00\x00ID3\x04\x00\x00",
    "two": b"bext\x04\x00\x00\x00abcdLIST\x04\x00\x00\x00INFO",
    "id3v1": b"TAG" + b"title".ljust(125),
    "ape": b"APETAGEX\xd0\x07\x00\x00" + bytes(range(60)),
    "xmp": b"<?xpacket begin='' id='W5M0'?>",
    "zeros": bytes(500),
    "odd": b"\x01\x02\x03\x04\x05",
    "": b"",
}


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("samples", [32000, 31999])
def test_what_stands_behind_the_samples_of_a_wav_is_none_of_them(chunk, samples, speech, tmp_path):
    path = make(tmp_path / "a.wav", "WAV", speech[:samples])
    path.write_bytes(path.read_bytes() + CHUNKS[chunk])
    told_by_both(path, speech[:samples], "")


@pytest.mark.parametrize("pad", [b"\0", b""])
def test_a_chunk_behind_an_odd_number_of_bytes(pad, speech, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, speech[:31999] / 32768, 16000, subtype="PCM_U8")
    data = path.read_bytes()
    path.write_bytes(data[: 44 + 31999] + pad + CHUNKS["LIST"])
    assert io.info(path) == (16000, 31999, 1, ())


@pytest.mark.parametrize(
    ("container", "chunk"),
    [
        ("AIFF", b"ANNO\x00\x00\x00\x04text"),
        ("CAF", b"info\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00"),
        ("W64", b"bext\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a" + (32).to_bytes(8, "little") + bytes(8)),
        ("AU", bytes(100)),
        ("NIST", bytes(100)),
    ],
)
def test_what_stands_behind_the_samples_of_others(container, chunk, speech, tmp_path):
    path = make(tmp_path / "a.sound", container, speech[:32000])
    path.write_bytes(path.read_bytes() + chunk)
    told_by_both(path, speech[:32000], "")


@pytest.mark.parametrize(("container", "name"), [("WAV", "another sound file"), ("AU", "another sound file")])
def test_a_second_recording_behind_the_samples_is_told(ffmpeg, container, name, speech, tmp_path):
    path = make(tmp_path / "a.sound", container, speech[:32000])
    path.write_bytes(2 * path.read_bytes())
    told_by_both(path, speech[:32000], f"behind its samples stands {name}, at byte")


def test_a_second_chunk_of_samples_is_told(ffmpeg, speech, tmp_path):
    path = make(tmp_path / "a.wav", "WAV", speech[:32000])
    path.write_bytes(path.read_bytes() + path.read_bytes()[36:])
    told_by_both(path, speech[:32000], "behind its samples stands a second chunk of samples, at byte 64044")


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_U8", "FLOAT", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"])
def test_a_wav_of_size_zero_gives_what_it_gives_with_its_size(subtype, speech, tmp_path):
    path = make(tmp_path / "a.wav", "WAV", speech[:32000], subtype)
    whole = io.read(path)
    state(path, "WAV", 0)
    told: list[str] = []
    assert np.array_equal(io.read(path, tell=told.append), whole) and len(told) == 1
    assert io.info(path).samples == len(whole)


@pytest.mark.parametrize("tail", [b"", CHUNKS["LIST"]])
def test_a_wav_beyond_4_gib_has_counted_round(tail, speech, tmp_path):
    """A sparse file of 4.3 GB: its size stands in 32 bits."""
    path = make(tmp_path / "long.wav", "WAV", speech)
    count = (1 << 32) + 10_000_000
    with path.open("r+b") as file:
        file.seek(40)
        file.write(struct.pack("<I", count - (1 << 32)))
        file.seek(44 + count - 2 * len(speech))
        file.write(speech.tobytes() + tail)
    told: list[str] = []
    info, part = io.info(path), io.read(path, start_s=count / 32000 - 4, duration_s=4.0, tell=told.append)
    assert info.samples == count // 2 and np.array_equal(part, speech / np.float32(32768))
    assert told == list(info.notes) and "(it counts to 4 GiB)" in told[0]


def state_count(path: Path, count: int, *, whole_md5: bool = True, samples: np.ndarray | None = None) -> None:
    """Make a flac state `count` samples, and no MD5, or that of `samples`."""
    data = bytearray(path.read_bytes())
    data[21:26] = ((data[21] >> 4 << 36) + count).to_bytes(5, "big")
    if not whole_md5:
        data[26:42] = bytes(16) if samples is None else hashlib.md5(samples.tobytes()).digest()
    path.write_bytes(data)


@pytest.mark.parametrize("stated", [1, 16000, 31999])
@pytest.mark.parametrize("md5", ["none", "of what is stated", "of all"])
def test_a_flac_that_states_too_few_samples_is_read_to_the_end(stated, md5, speech, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, speech[:32000], 16000)
    state_count(path, stated, whole_md5=md5 == "of all", samples=None if md5 == "none" else speech[:stated])
    told_by_both(path, speech[:32000], f"its header states {stated} samples, its frames hold 32000: all of them are")


@pytest.mark.parametrize("before", [b"", b"ID3\x04\x00\x00\x00\x00\x02\x01" + bytes(257)])
@pytest.mark.parametrize("behind", ["", "id3v1", "odd", "zeros"])
@pytest.mark.parametrize("stated", [20000, 32000])
def test_tags_around_a_flac_change_nothing(before, behind, stated, speech, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, speech[:32000], 16000)
    state_count(path, stated)
    path.write_bytes(before + path.read_bytes() + CHUNKS[behind])
    told_by_both(path, speech[:32000], "its header states 20000 samples" if stated == 20000 else "")


def test_a_flac_with_a_wrong_md5_and_count_is_damaged(speech, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, speech, 16000)
    state_count(path, 32000, whole_md5=False, samples=speech[1:])
    with pytest.raises(io.AudioError, match="is damaged: its 64000 samples do not give the MD5"):
        io.read(path)


@pytest.mark.parametrize(("kept", "stated"), [(-20, 64000), (None, 80000)])
def test_a_flac_that_promises_too_much_is_truncated(kept, stated, speech, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, speech, 16000)
    state_count(path, stated)
    path.write_bytes(path.read_bytes()[:kept])
    for door in (io.info, io.read):
        with pytest.raises(
            io.AudioError, match=rf"promises {stated / 16000:.2f} s, of which 3\.\d+ s or a little more"
        ):
            door(path)


def test_bits_that_look_like_a_header_of_a_flac_are_none(speech, tmp_path):
    """Behind the last frame, with a right CRC and the number 9999."""
    path = tmp_path / "a.flac"
    soundfile.write(path, speech[:32000], 16000)
    path.write_bytes(path.read_bytes() + bytes.fromhex("fff8c508e29c8f97") + bytes(9))
    told_by_both(path, speech[:32000], "")


def test_a_flac_behind_a_flac_is_told(speech, tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(tmp_path / "b.flac", speech, 16000)
    soundfile.write(path, speech[:32000], 16000)
    path.write_bytes(path.read_bytes() + (tmp_path / "b.flac").read_bytes())
    told_by_both(path, speech[:32000], "behind its samples stands another sound file, at byte")


@pytest.mark.parametrize(
    ("container", "place", "value"),
    [
        ("W64", 64, b"\xff" * 8),  # sizes of chunks before the samples that no file has
        ("CAF", 12, b"\x7f" + b"\xff" * 7),
        ("CAF", 12, b"\xff" * 8),
        ("RF64", 16, b"\xff" * 4),
        ("NIST", 8, b"   -999"),
    ],
)
def test_an_impossible_size_before_the_samples_is_a_verdict(container, place, value, speech, tmp_path):
    path = make(tmp_path / "a.sound", container, speech[:32000])
    data = bytearray(path.read_bytes())
    data[place : place + len(value)] = value
    path.write_bytes(data)
    for door in (io.info, io.read):
        try:
            door(path)
        except io.AudioError as error:
            assert str(error).startswith(f"{path}: ")


def test_gigabytes_without_a_frame_behind_an_mp3_are_not_read(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, 32000).astype(np.float32)
    soundfile.write(tmp_path / "a.mp3", noise, 16000, format="MP3")
    before = io.info(tmp_path / "a.mp3")
    os.truncate(tmp_path / "a.mp3", 64 << 30)  # a sparse file, which takes no space
    assert io.info(tmp_path / "a.mp3") == before
