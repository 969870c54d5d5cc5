"""Kaldi data folders: what is read, what is refused, and what is passed over."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.audio import io
from hybrid_asr.data.kaldi import read_kaldi
from hybrid_asr.data.kaldi_folder import READ
from hybrid_asr.data.prepared import Prepared, ReadingOptions
from hybrid_asr.data.table_checks import TableError

UNSPLIT = ReadingOptions(split={})
KEEP_GOING = ReadingOptions(split={}, keep_going=True)


@pytest.fixture
def kaldi(tmp_path, make_wav):
    """Write the files of a Kaldi folder beside a.wav (1 s), b.wav (2 s) and c.wav (3 s)."""
    for seconds, name in enumerate(("a.wav", "b.wav", "c.wav"), 1):
        make_wav(f"data/{name}", seconds)

    def write(under: str = "", **files: str):
        folder = tmp_path / "data" / under
        folder.mkdir(parents=True, exist_ok=True)
        for name, lines in files.items():
            name = name if name in READ else name.replace("_", ".")
            (folder / name).write_text(lines, encoding="utf-8")
        return tmp_path / "data"

    return write


def test_a_kaldi_folder_without_segments(kaldi, tmp_path) -> None:
    folder = kaldi(
        wav_scp="u1 a.wav\nu2 b.wav\nu3 c.wav\n",
        text="u1 eins zwei\nu2  two\nu3 three\n",
        utt2spk="u1 s1\nu2 s2\nu3 s3\n",
    )
    found = sorted(
        (utterance for part in read_kaldi(folder).sets.values() for utterance in part), key=lambda one: one.id
    )
    assert [(one.id, one.text, one.speaker, one.duration_s) for one in found] == [
        ("u1", "eins zwei", "s1", 1.0),
        ("u2", "two", "s2", 2.0),
        ("u3", "three", "s3", 3.0),
    ]
    assert found[0].audio == str(tmp_path / "data" / "a.wav")


def test_kaldi_subfolders_are_sets_and_segments_are_cut(kaldi, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    kaldi("train", wav_scp="rec data/c.wav\n", segments="u1 rec 0.5 1.25\nu2 rec 2 -1\n", text="u1 one\nu2 two\n")
    kaldi("dev", wav_scp="v1 ../a.wav\n", text="v1 yes\n")
    sets = read_kaldi(kaldi("test", wav_scp=f"t1 {tmp_path}/data/b.wav\n", text="t1 no\n")).sets
    assert [(one.id, one.start_s, one.duration_s) for one in sets["train"]] == [("u1", 0.5, 0.75), ("u2", 2.0, 1.0)]
    assert [one.id for one in sets["valid"]] == ["v1"] and [one.id for one in sets["test"]] == ["t1"]
    assert {one.speaker for part in sets.values() for one in part} == {None}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wav_scp": "u1 sph2pipe -f wav -c 2 gone.sph |\n"}, "(of 'sph2pipe -f wav -c 2 gone.sph |', channel 2 of it"),
        ({"wav_scp": "u1 sph2pipe -f wav -c 2 a.wav |\n"}, "a.wav has no channel 2; correct the line (of 'sph2pipe"),
        ({"wav_scp": "u1 sox a.wav -t wav - trim 1 |\n"}, "wav.scp:1: the command 'sox a.wav -t wav - trim 1 |'"),
        ({"wav_scp": "u1 dump/raw.ark:1234\n"}, "wav.scp:1: 'dump/raw.ark:1234' lies in a Kaldi archive"),
        ({"wav_scp": "u1 C:\\sounds\\a.wav\n"}, "there is no such file; this looks like a path of Windows"),
        ({"wav_scp": "u1\n"}, "wav.scp:1: nothing follows 'u1'"),
        ({"wav_scp": "u1 a.wav\nu1 b.wav\n"}, "wav.scp:2: 'u1' is also on line 1"),
        ({"wav_scp": "u1 gone.wav\n"}, "wav.scp:1: "),
        ({"text": "u1\n"}, "wav.scp:1: there is no transcript, in a row without a set"),
        ({"text": "u1 one\nu9 nine\n"}, "text:2: utterance 'u9' is not in wav.scp; add it, or remove the line"),
        ({"text": "u9 nine\n"}, "wav.scp:1: utterance 'u1' has no transcript in text"),
        ({"utt2spk": "u9 s\n"}, "wav.scp:1: utterance 'u1' has no speaker in utt2spk"),
        ({"segments": "u1 rec 0 1\n"}, "segments:1: recording 'rec' is not in wav.scp"),
        ({"segments": "u1 u1 0 7\n"}, "segments:1: audio"),
        ({"segments": "u1 u1 0.5 0.5\n"}, "segments:1: nothing of audio"),
        ({"segments": "u1 u1 zero one\n"}, "segments:1: 'u1 zero one' is not RECORDING START END"),
        ({"segments": "u1 u1 0 1 0 0\n"}, "segments:1: 'u1 0 1 0 0' is not RECORDING START END"),
        ({"segments": "u1 u1 0 1 1\n"}, "segments:1: audio"),
        ({"segments": "u1 u1 0 inf\n"}, "segments:1: the times 0.0 and inf are no seconds"),
        ({"utt2lang": "u9 de\n"}, "wav.scp:1: utterance 'u1' has no language in utt2lang"),
        (
            {"utt2spk": "u1 s1\n", "spk2utt": "s1 u0\ns2 u1\n"},
            "spk2utt:2: utterance 'u1' is of speaker 's2' here, of 's1'",
        ),
        ({"spk2utt": "s1 u1\ns2 u1\n"}, "spk2utt:2: utterance 'u1' is of speaker 's2' here, of 's1' in another line"),
    ],
)
def test_a_mistake_in_a_kaldi_folder_is_named(kaldi, files, message) -> None:
    folder = kaldi(**{"wav_scp": "u1 a.wav\n", "text": "u1 one\n", **files})
    with pytest.raises(TableError, match=re.escape(str(folder))) as caught:
        read_kaldi(folder)
    assert message in str(caught.value)


def test_a_mistake_of_wav_scp_is_noted_once(kaldi) -> None:
    with pytest.raises(TableError) as caught:
        read_kaldi(kaldi(wav_scp="u1 a.wav\nu1 b.wav\n", text="u1 one\n"))
    assert str(caught.value).count("wav.scp:") == 1


def test_files_that_are_missing_from_a_kaldi_folder(kaldi, tmp_path) -> None:
    with pytest.raises(TableError, match=r"data/text: there is no such file; a Kaldi folder has wav.scp and text"):
        read_kaldi(kaldi(wav_scp="u1 a.wav\n"))
    with pytest.raises(TableError, match=r"nowhere: there is no such folder"):
        read_kaldi(tmp_path / "nowhere")


@pytest.fixture
def call(tmp_path) -> np.ndarray:
    """Two channels, as `call.wav` and, with a NIST header, `call.sph` beside the folder."""
    time = np.arange(8000) / 8000
    samples = np.rint(9000 * np.sin(2 * np.pi * np.outer(time, [300, 700]))).astype("<i2")
    (tmp_path / "data").mkdir(exist_ok=True)
    soundfile.write(tmp_path / "data/call.wav", samples, 8000, subtype="PCM_16")
    fields = ["sample_count -i 8000", "sample_rate -i 8000", "sample_n_bytes -i 2", "sample_byte_format -s2 01"]
    fields += ["channel_count -i 2", "sample_coding -s3 pcm", "end_head"]
    header = "\n".join(["NIST_1A", "   1024", *fields, ""]).encode().ljust(1024)
    (tmp_path / "data/call.sph").write_bytes(header + samples.tobytes())
    return samples / np.float32(32768)


def in_order(prepared: Prepared) -> list:
    return sorted((one for part in prepared.sets.values() for one in part), key=lambda one: one.id)


@pytest.mark.parametrize(
    ("files", "channels"),
    [
        ({"wav_scp": "A sph2pipe -f wav -p -c 1 call.sph |\nB sph2pipe -f wav -p -c 2 call.sph |\n"}, [1, 2]),
        ({"wav_scp": "A call.sph\nB call.wav\n"}, [None, None]),
        ({"wav_scp": "A sox call.wav -c 1 -t wav - |\nB call.wav\n"}, [None, None]),
        ({"wav_scp": "A call.wav\nB call.sph\n", "reco2file_and_channel": "A call A\nB call B\n"}, [1, 2]),
        ({"wav_scp": "A call.wav\nB a.wav\n", "reco2file_and_channel": "A call 2\nB b A\n"}, [2, None]),
        ({"wav_scp": "r call.wav\n", "segments": "A r 0 0.5 0\nB r 0 0.5 1\n"}, [1, 2]),
        (
            {
                "wav_scp": "A sph2pipe -f wav -c 2 call.sph |\nB sox call.wav -t wav - remix - |\n",
                "reco2file_and_channel": "A call A\nB call B\n",
            },
            [2, None],
        ),
    ],
)
def test_the_channel_that_a_folder_names_is_read(kaldi, call, files, channels) -> None:
    folder = kaldi(text="A one\nB two\n", **files)
    found = in_order(read_kaldi(folder, UNSPLIT))
    assert [one.channel for one in found] == channels
    for one in found:
        if Path(one.audio).stem == "call":
            samples = io.read(one.audio, duration_s=one.duration_s, rate=8000, channel=one.channel)
            expected = call.mean(1) if one.channel is None else call[:, one.channel - 1]
            assert np.abs(samples - expected[: len(samples)]).max() < 1e-4


def test_languages_and_speakers_of_spk2utt(kaldi) -> None:
    folder = kaldi(
        wav_scp="u1 a.wav\nu2 b.wav\n", text="u1 x\nu2 y\n", spk2utt="anna u2 u9\nbob u1\n", utt2lang="u1 de\nu2 en\n"
    )
    prepared = read_kaldi(folder, UNSPLIT)
    found = in_order(prepared)
    assert f"note: {folder}/spk2utt: 1 utterance is not in wav.scp: u9" in prepared.messages
    assert [(one.speaker, one.language) for one in found] == [("bob", "de"), ("anna", "en")]


def test_what_a_folder_has_beside_is_named_once(kaldi) -> None:
    folder = kaldi(
        wav_scp="r1 a.wav\nr2 b.wav\n",
        segments="u1 r1 0 1\n",
        text="u1 x\n",
        utt2spk="u1 s\nu8 s\nu9 t\n",
        spk2utt="s u1 u8\nt u9\n",
        feats_scp="u1 feats.ark:12\n",
        text_en="u1 y\n",
        stm="",
    )
    (folder / "split2").mkdir()
    messages = read_kaldi(folder, UNSPLIT).messages
    assert f"note: {folder}/wav.scp: 1 line belongs to no utterance: r2" in messages
    assert f"note: {folder}/utt2spk: 2 lines belong to no utterance: u8, u9" in messages
    assert f"note: {folder}: passed over: b.wav, c.wav, feats.scp, split2/, stm and 1 more" in messages


def test_subfolders_that_are_called_as_sets_are(kaldi, tmp_path) -> None:
    for name, file in {
        "train_clean_100": "a",
        "dev_clean": "b",
        "test-other": "c",
        "an4": "a",
        "train_960": "b",
    }.items():
        kaldi(name, wav_scp=f"{name} ../{file}.wav\n", text=f"{name} x\n")
    (tmp_path / "data/lang").mkdir()
    folder = tmp_path / "data"
    prepared = read_kaldi(folder)
    assert {name: [one.id for one in part] for name, part in prepared.sets.items()} == {
        "train": ["train_960", "train_clean_100"],
        "dev_clean": ["dev_clean"],
        "test-other": ["test-other"],
    }
    assert any(re.match("warning: .*: 1 data folder is passed over.*: an4$", one) for one in prepared.messages)
    assert f"note: {folder}: passed over: lang/" in prepared.messages


def test_copies_of_a_folder_are_named_at_once(kaldi) -> None:
    for name in ("train", "train_hires", "test"):
        folder = kaldi(name, wav_scp=f"{name[:5]}1 ../a.wav\n", text=f"{name[:5]}1 x\n")
    with pytest.raises(TableError, match=r"train_hires: 1 utterance is in .*/train, too; move one of both away"):
        read_kaldi(folder)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["an4/wav.scp"], "of its subfolders name one, such as kaldi:"),
        (["lang/words.txt"], "there is neither wav.scp nor a subfolder with one"),
        (["stm"], "stm is not read, write its segments to wav.scp, segments and text"),
        (["feats.scp"], "feats.scp is not read, since features are computed from the audio"),
        (["text", "stm"], "wav.scp: there is no such file"),
    ],
)
def test_a_folder_without_what_is_needed(tmp_path, names, message) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("u1 x\n")
    with pytest.raises(TableError, match=re.escape(message)):
        read_kaldi(tmp_path)


def test_a_command_that_narrows_the_band_is_told(kaldi) -> None:
    folder = kaldi(wav_scp="u1 sox a.wav -r 8k -t wav - |\nu2 sox b.wav -r 16k -t wav - |\n", text="u1 x\nu2 y\n")
    told = [one for one in read_kaldi(folder, UNSPLIT).messages if "Hz" in one]
    assert told == [
        f"warning: {folder}/wav.scp: 1 command lowers the rate below 16000 Hz, which the file keeps here: u1"
    ]


def test_bad_recordings_are_noted_once_and_left_out_with_their_segments(kaldi) -> None:
    folder = kaldi(
        wav_scp="r1 a.wav\nr2 x.ark:7\nr3 gone.wav\nr4 x.ark:9\n",
        segments="u1 r1 0 1\nu2 r2 0 1\nu3 r2 0 1\nu4 r3 0 1\nu5 r1 0 9\nu6 r4 0 1\n",
        text="u1 a\nu2 b\nu3 c\nu4 d\nu5 e\nu6 f\n",
    )
    with pytest.raises(TableError, match="and 3 more, 8 in all") as caught:
        read_kaldi(folder)
    said = str(caught.value)
    assert "8 in all: 4 with a recording that cannot be read, 2 with audio in a Kaldi archive, 1 with" in said
    assert said.count("with Kaldi: mkdir wav;") == 1 and "'x.ark:9' lies in a Kaldi archive, as 'r2' does" in said
    assert "segments:2: recording 'r2' cannot be read, see wav.scp:2" in said
    prepared = read_kaldi(folder, KEEP_GOING)
    assert [one.id for one in prepared.sets["train"]] == ["u1"]
    assert {one.id: one.kind for one in prepared.rejected} == {
        **dict.fromkeys(["r2", "r4"], "audio in a Kaldi archive"),
        "r3": "audio that cannot be read",
        **dict.fromkeys(["u2", "u3", "u4", "u6"], "a recording that cannot be read"),
        "u5": "times that do not fit",
    }


def test_a_test_utterance_may_be_without_words(kaldi) -> None:
    kaldi("train", wav_scp="u1 ../a.wav\nu2 ../b.wav\n", text="u1 x\nu2\n")
    folder = kaldi("test", wav_scp="t1 ../a.wav\nt2 ../b.wav\n", text="t1 x\nt2\n")
    prepared = read_kaldi(folder, KEEP_GOING)
    assert [one.text for one in prepared.sets["test"]] == ["x", ""]
    assert [(one.id, one.kind) for one in prepared.rejected] == [("u2", "no transcript")]


def test_a_segment_that_ends_a_little_late_is_cut(kaldi) -> None:
    folder = kaldi(wav_scp="r a.wav\n", segments="u1 r 0.25 1.05\n", text="u1 x\n")
    prepared = read_kaldi(folder, UNSPLIT)
    assert prepared.sets["train"][0].duration_s == 0.75
    assert any(
        one.startswith("warning: 1 segment ends up to 0.1 s past the recording, cut:") for one in prepared.messages
    )


def test_a_segment_that_begins_where_its_recording_ends_is_none(kaldi) -> None:
    """Though it ends within what is cut, or within what reading allows."""
    folder = kaldi(wav_scp="r a.wav\n", text="u one\nv two\n", segments="u r 1.0 1.05\nv r 1.0 1.005\n")
    with pytest.raises(
        TableError, match=r"segments:1: nothing of audio \S+a.wav lies between 1.00 and 1.05 s"
    ) as error:
        read_kaldi(folder, UNSPLIT)
    assert "segments:2: nothing of audio" in str(error.value)


def test_a_file_in_other_capitals_is_named(kaldi) -> None:
    with pytest.raises(TableError, match=r"A\.wav: there is no such file; there is a\.wav, in other capitals; correct"):
        read_kaldi(kaldi(wav_scp="r A.wav\n", text="r one\n"), UNSPLIT)
