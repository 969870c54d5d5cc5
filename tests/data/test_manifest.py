"""Laws of manifests: what is written is read, and no bad line gets through."""

import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from hybrid_asr.data.manifest import Manifest, ManifestError, Utterance, write_manifest

GOOD = {"id": "a", "audio": "a.wav", "start_s": 0.0, "duration_s": 1.0, "text": "yes"}


def write_lines(path, *lines) -> None:
    path.write_text(
        "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines), encoding="utf-8"
    )


def test_what_is_written_is_read(tmp_path, make_wav) -> None:
    make_wav("a.wav", 2.0)
    utterances = [
        Utterance(id="a-1", audio="../a.wav", duration_s=0.5, text="grüße 世界", speaker="s", language="de"),
        Utterance(id="a-2", audio=str(tmp_path / "a.wav"), start_s=0.5, duration_s=1.5, text="line\u2028separator"),
    ]
    path = tmp_path / "new" / "set.jsonl"
    write_manifest(path, utterances)
    manifest = Manifest.read(path)
    assert len(manifest) == 2 and list(manifest) == utterances == [manifest[0], manifest[1]]
    assert "grüße 世界" in path.read_text(encoding="utf-8")
    assert manifest.durations.tolist() == [0.5, 1.5]
    assert manifest.audio_path(0).samefile(manifest.audio_path(1))
    assert manifest.where(1) == f"{path}:2: utterance 'a-2'"


def test_an_empty_transcript_is_one_since_a_manifest_does_not_know_whether_it_is_trained_on(tmp_path, make_wav) -> None:
    make_wav("a.wav", 1.0)
    silent = [Utterance(id="a", audio="a.wav", duration_s=1.0, text="")]
    write_manifest(tmp_path / "test.jsonl", silent)
    assert list(Manifest.read(tmp_path / "test.jsonl")) == silent


def test_the_same_utterances_give_the_same_bytes_and_digest(tmp_path) -> None:
    utterances = [Utterance(id=str(i), audio="a.wav", duration_s=1.0 + i, text="x") for i in range(20)]
    for name in ("one", "two"):
        write_manifest(tmp_path / name, utterances)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    one, two = (Manifest.read(tmp_path / name, audio="unchecked") for name in ("one", "two"))
    assert one.digest == two.digest
    write_manifest(tmp_path / "two", utterances[:-1])
    assert Manifest.read(tmp_path / "two", audio="unchecked").digest != one.digest


def test_a_part_of_a_manifest_keeps_its_lines(tmp_path) -> None:
    write_manifest(tmp_path / "m", [Utterance(id=f"u{i}", audio="a", duration_s=1.0 + i, text="x") for i in range(9)])
    manifest = Manifest.read(tmp_path / "m", audio="unchecked")
    some = pickle.loads(pickle.dumps(manifest.select(manifest.durations > 6)))
    assert [utterance.id for utterance in some] == ["u6", "u7", "u8"] == [some[i].id for i in range(3)]
    assert some.where(0).startswith(f"{tmp_path / 'm'}:7:")
    assert np.array_equal(some.keys, manifest.keys[6:])


def test_a_channel_is_written_where_it_is_set_and_read_alone(tmp_path, make_wav) -> None:
    make_wav("a.wav", 1.0)
    mono = soundfile.read(tmp_path / "a.wav", dtype="float32")[0]
    soundfile.write(tmp_path / "two.wav", np.stack([mono, -0.5 * mono], 1), 16000, subtype="FLOAT")
    plain = Utterance(id="mean", audio="two.wav", duration_s=1.0, text="x")
    utterances = [plain, replace(plain, id="first", channel=1), replace(plain, id="second", channel=2)]
    write_manifest(tmp_path / "m", utterances)
    lines = (tmp_path / "m").read_text().splitlines()
    assert lines[0] == '{"id": "mean", "audio": "two.wav", "start_s": 0.0, "duration_s": 1.0, "text": "x"}'
    assert lines[2].endswith('"text": "x", "channel": 2}')
    manifest = Manifest.read(tmp_path / "m")
    assert list(manifest) == utterances
    for index, factor in enumerate((0.25, 1.0, -0.5)):
        assert np.allclose(manifest.read_audio(index, 16000), factor * mono, atol=1e-7)


def test_a_failed_write_leaves_what_was_there(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    good = Utterance(id="a", audio="a.wav", duration_s=1.0, text="x")
    write_manifest(path, [good])
    before = path.read_bytes()
    bad = Utterance(id="b", audio="a.wav", duration_s=float("nan"), text="x")
    for utterances, message in (
        ([good, bad], "utterance 'b': duration_s is nan"),
        ([good, good], "'a' was used"),
        ([], "no utt"),
    ):
        with pytest.raises(ManifestError, match=message):
            write_manifest(path, utterances)
        assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'id': 1}", "not JSON"),
        ("", "the line is empty; remove it"),
        ("[1]", "no object"),
        ({**GOOD, "txt": "x"}, "unknown field 'txt'; did you mean 'text'?"),
        ({key: GOOD[key] for key in ("id", "audio", "text")}, "the field 'duration_s' is missing"),
        ({**GOOD, "duration_s": "1.0"}, "'duration_s' must be a number, not \"1.0\""),
        ({**GOOD, "duration_s": True}, "'duration_s' must be a number, not true"),
        ({**GOOD, "text": None}, "'text' must be text, not null"),
        ({**GOOD, "speaker": 7}, "'speaker' must be text, not 7"),
        ({**GOOD, "id": "a b"}, "the id 'a b' is empty or has spaces"),
        ({**GOOD, "audio": ""}, "the field 'audio' is empty"),
        ({**GOOD, "start_s": -0.5}, "start_s is -0.5, it must be 0 or more"),
        ({**GOOD, "duration_s": 0}, "duration_s is 0, it must be more than 0"),
        ({**GOOD, "duration_s": float("nan")}, "duration_s is nan"),
        ({**GOOD, "start_s": float("inf")}, "start_s is inf"),
        ({**GOOD, "channel": 0}, "channel is 0, the first channel is 1"),
        ({**GOOD, "channel": 1.0}, "'channel' must be a whole number, not 1.0"),
        ({**GOOD, "channel": 2}, "audio a.wav has one channel, the entry names channel 2; correct it"),
        ({**GOOD, "audio": "gone.wav"}, "gone.wav"),
        (
            {**GOOD, "start_s": 0.5},
            r"audio a.wav lasts 1.20 s, the entry ends at 1.50 s; run 'hybrid-asr prepare' again",
        ),
    ],
)
def test_a_bad_line_is_named_with_its_remedy(tmp_path, make_wav, line, message) -> None:
    make_wav("a.wav", 1.2)
    path = tmp_path / "m.jsonl"
    write_lines(path, {**GOOD, "id": "first"}, line, {**GOOD, "id": "last"})
    with pytest.raises(ManifestError, match=re.escape(f"{path}:2: ")) as caught:
        Manifest.read(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_audio_that_is_no_audio_is_named(tmp_path) -> None:
    for name, content in (("empty.wav", b""), ("text.wav", b"this is a text, not a sound\n" * 9)):
        (tmp_path / name).write_bytes(content)
        write_lines(tmp_path / "m.jsonl", {**GOOD, "audio": name})
        with pytest.raises(ManifestError, match=rf"m.jsonl:1: .*{name}"):
            Manifest.read(tmp_path / "m.jsonl")
        assert len(Manifest.read(tmp_path / "m.jsonl", audio="unchecked")) == 1


def test_a_repeated_id_is_named_with_both_lines(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    write_lines(path, GOOD, {**GOOD, "id": "b"}, GOOD, GOOD)
    with pytest.raises(ManifestError) as caught:
        Manifest.read(path, audio="unchecked")
    assert f"{path}:3: the id 'a' is also on line 1; give every" in str(caught.value)
    assert f"{path}:4: the id 'a' is also on line 3" in str(caught.value)


def test_of_many_bad_lines_five_are_shown_and_all_counted(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    write_lines(path, GOOD, *[{**GOOD, "text": ""}] * 10, {**GOOD, "id": "a"})
    with pytest.raises(ManifestError, match="and 6 more, 11 in all") as caught:
        Manifest.read(path, audio="unchecked")
    assert re.findall(r"jsonl:(\d+):", str(caught.value)) == ["2", "3", "4", "5", "6"]


def test_no_manifest_an_empty_one_and_one_in_another_encoding(tmp_path) -> None:
    with pytest.raises(
        ManifestError, match=r"no\.jsonl: there is no such manifest; write it with 'hybrid-asr prepare'"
    ):
        Manifest.read(tmp_path / "no.jsonl")
    (tmp_path / "m.jsonl").write_bytes(b"")
    with pytest.raises(ManifestError, match="the manifest is empty"):
        Manifest.read(tmp_path / "m.jsonl")
    (tmp_path / "m.jsonl").write_bytes(json.dumps({**GOOD, "text": "ü"}, ensure_ascii=False).encode("latin-1"))
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: the line is not UTF-8"):
        Manifest.read(tmp_path / "m.jsonl", audio="unchecked")


def test_a_manifest_that_changes_under_our_feet_is_noticed(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    write_lines(path, GOOD, {**GOOD, "id": "b"})
    manifest = Manifest.read(path, audio="unchecked")
    write_lines(path, {**GOOD, "id": "b"}, GOOD)
    with pytest.raises(ManifestError, match="was changed while it was in use"):
        _ = manifest[0]
