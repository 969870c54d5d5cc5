"""Laws of the index of a manifest: whatever its pieces, it says what the lines say; and it is never that of others."""

import json
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hybrid_asr.data import kept_arrays, manifest, manifest_index
from hybrid_asr.data.kept_arrays import DamagedError, map_columns
from hybrid_asr.data.label_counts import label_counts
from hybrid_asr.data.manifest import Manifest, ManifestError, Utterance, write_manifest
from hybrid_asr.data.oddities import manifest_oddities, oddities
from hybrid_asr.data.parallel import map_in_processes
from hybrid_asr.data.transcripts import hold_words
from hybrid_asr.text.characters import CharTokenizer
from hybrid_asr.text.normalize import TextConfig

TEXTS = ("yes", "No [noise]", "nine  nine", "", "naïve café", "hello there I am", "42", "İstanbul")
RULES = TextConfig(rules="basic@2")


@pytest.fixture
def indexed(monkeypatch):
    """Every manifest is large, in pieces of 300 bytes and of 7 utterances; of selections those from 2 on are kept."""
    for name, value in (("INDEXED", 1), ("PIECE", 300)):
        monkeypatch.setattr(manifest_index, name, value)
    for name, value in (("PIECE", 7), ("KEPT_PARTS", 2)):
        monkeypatch.setattr(manifest, name, value)


def write(path: Path, count: int = 40, *, first: int = 0) -> list[Utterance]:
    """A manifest of lines of many lengths."""
    utterances = [
        Utterance(
            id=f"u{number}" + "x" * (number * 37 % 120),
            audio=f"{number}.wav",
            duration_s=1 + number / 8,
            text=TEXTS[number % len(TEXTS)],
            speaker=f"s{number % 3}",
        )
        for number in range(first, first + count)
    ]
    write_manifest(path, utterances)
    return utterances


def built(path: Path) -> list[Path]:
    """The files that are kept beside a manifest."""
    return sorted(path.with_name(f".{path.name}.index").glob("*.arrays"))


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_an_index_says_what_the_lines_say_wherever_its_pieces_end(tmp_path, monkeypatch, indexed, count) -> None:
    utterances = write(tmp_path / "m.jsonl", count)
    monkeypatch.setattr(manifest_index, "INDEXED", 1 << 40)
    plain = Manifest.read(tmp_path / "m.jsonl", audio="unchecked")
    assert not list(tmp_path.glob(".*")), "a small manifest leaves nothing beside it"
    monkeypatch.setattr(manifest_index, "INDEXED", 1)
    size = (tmp_path / "m.jsonl").stat().st_size
    for piece in {1, 100, 333, size - 1, size, size + 1}:
        monkeypatch.setattr(manifest_index, "PIECE", piece)
        for path in built(tmp_path / "m.jsonl"):
            path.unlink()
        for read in (Manifest.read, Manifest.read):  # built, then opened
            found = read(tmp_path / "m.jsonl", audio="unchecked")
            assert found.digest == plain.digest and list(found) == utterances and found.where(-1) == plain.where(-1)
            for name in ("durations", "keys", "lines"):
                assert np.array_equal(getattr(found, name), getattr(plain, name))


def test_messages_of_pieces_are_those_of_the_whole(tmp_path, monkeypatch, indexed, make_wav) -> None:
    make_wav("a.wav", 1.0)
    lines = [{"id": f"u{n}", "audio": "a.wav", "duration_s": 0.9, "text": "yes"} for n in range(30)]
    bad = {
        3: "{",
        4: "",
        9: {**lines[9], "duration_s": 3.0},
        11: lines[2],
        17: {**lines[17], "audio": "b.wav"},
        21: "[]",
    }
    content = [
        line if isinstance(line, str) else json.dumps(line) for line in (bad.get(n, x) for n, x in enumerate(lines))
    ]
    for end in ("\n", ""):
        (tmp_path / "m.jsonl").write_text("\n".join(content) + end)
        messages = []
        for piece in (1 << 20, 300, 70, 1):
            monkeypatch.setattr(manifest_index, "PIECE", piece)
            with pytest.raises(ManifestError) as caught:
                Manifest.read(tmp_path / "m.jsonl")
            messages.append(str(caught.value))
        assert len(set(messages)) == 1 and "... and 1 more, 6 in all" in messages[0]
        assert (
            "m.jsonl:12: the id 'u2' is also on line 3" in messages[0]
            and "m.jsonl:10: audio a.wav lasts" in messages[0]
        )
        assert not built(tmp_path / "m.jsonl"), "an index has good lines only"


def test_a_changed_manifest_is_noticed_and_a_touched_one_is_hashed(tmp_path, monkeypatch, indexed) -> None:
    path = tmp_path / "m.jsonl"
    write(path)
    os.utime(path, (1e9, 1e9))
    first = Manifest.read(path, audio="unchecked")
    hashed: list[Path] = []
    monkeypatch.setattr(manifest_index, "_sha256", lambda path: hashed.append(path) or sha256(path))
    assert Manifest.read(path, audio="unchecked").digest == first.digest and not hashed, "the time stamp is trusted"
    os.utime(path, (1e9, 1e9 + 1))
    assert Manifest.read(path, audio="unchecked").digest == first.digest and hashed == [path]
    assert len(built(path)) == 1
    path.write_bytes(path.read_bytes().replace(b"1.125", b"1.625"))
    changed = Manifest.read(path, audio="unchecked")
    assert changed.digest != first.digest and changed.durations[1] == 1.625 and first.durations[1] == 1.125
    assert len(built(path)) == 1, "what belonged to the former one is removed"
    path.write_bytes(path.read_bytes().replace(b"1.625", b"1.375"))  # at once, maybe within the clock's tick
    assert Manifest.read(path, audio="unchecked").durations[1] == 1.375


sha256 = manifest_index._sha256


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda content: content[:-100], "it is cut off"),
        (lambda content: content[:40], "its header is damaged"),
        (lambda content: content.replace(b"arrays 1\n", b"arrays 0\n"), "it is of another format"),
        (lambda content: content[:-200] + bytes([content[-200] ^ 1]) + content[-199:], "its array 'keys' is damaged"),
        (lambda content: b"", "it is of another format"),
    ],
)
def test_a_damaged_index_is_made_anew_with_a_word(tmp_path, indexed, capsys, damage: Callable, why: str) -> None:
    path = tmp_path / "m.jsonl"
    utterances = write(path)
    Manifest.read(path, audio="unchecked")
    [kept] = built(path)
    sound = kept.read_bytes()
    kept.write_bytes(damage(sound))
    assert list(Manifest.read(path, audio="unchecked")) == utterances
    assert f"{kept}: {why}; it is made anew" in capsys.readouterr().err and kept.read_bytes() == sound


def test_processes_that_build_at_once_end_with_one_sound_index_that_one_has_made(
    tmp_path, monkeypatch, indexed
) -> None:
    path = tmp_path / "m.jsonl"
    utterances = write(path)
    gather = manifest_index._gather
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)

    def slowly(path: Path, pieces: Iterable) -> tuple:
        (tmp_path / f"made-by-{os.getpid()}").touch()
        time.sleep(0.2)
        return gather(path, pieces)

    def read() -> None:
        start.wait(30)
        os._exit(list(Manifest.read(path, audio="unchecked")) != utterances)

    monkeypatch.setattr(manifest_index, "_gather", slowly)
    children = [context.Process(target=read) for _ in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4 and len(list(tmp_path.glob("made-by-*"))) == 1
    [kept] = built(path)
    map_columns(kept, checked=True)
    assert {left.suffix for left in kept.parent.iterdir()} <= {".arrays", ".json", ""}


def test_a_folder_that_cannot_be_written_to_leaves_the_index_in_the_cache_or_nowhere(
    tmp_path, monkeypatch, indexed, capsys
) -> None:
    utterances = write(tmp_path / "m.jsonl")
    (tmp_path / ".m.jsonl.index").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert list(Manifest.read(tmp_path / "m.jsonl", audio="unchecked")) == utterances
    assert len(list((tmp_path / "cache").rglob("*.lines.arrays"))) == 1
    assert "cannot be written to; the index is kept in" in capsys.readouterr().err
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "m.jsonl"))
    assert list(Manifest.read(tmp_path / "m.jsonl", audio="unchecked")) == utterances
    assert "every start makes it again" in capsys.readouterr().err


def test_what_goes_to_another_process_is_small_and_reads_the_same(tmp_path, indexed) -> None:
    utterances = write(tmp_path / "m.jsonl", 400)
    found = Manifest.read(tmp_path / "m.jsonl", audio="unchecked")
    part = found.select(found.durations > 9).select(np.arange(0, 300, 2))
    for one in (found, part):
        sent = pickle.dumps(one)
        assert len(sent) < 1000
        assert list(pickle.loads(sent)) == list(one)
    assert list(part) == utterances[65:365:2]
    assert list(found.select(found.durations <= 2)) == utterances[:9]
    assert list(found.select(found.durations >= 49.875)) == utterances[-9:], "as many, but others"
    assert found.select(found.durations > 0) is found


def test_several_manifests_are_one_and_name_the_right_file(tmp_path, indexed) -> None:
    one, two = write(tmp_path / "a.jsonl", 20), write(tmp_path / "b.jsonl", 10, first=20)
    paths = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    both = Manifest.read_all(paths, audio="unchecked")
    assert list(both) == [*one, *two] == [both[i] for i in range(30)]
    assert both.where(21).startswith(f"{tmp_path}/b.jsonl:2: ") and both.file_numbers().tolist() == [0] * 20 + [1] * 10
    assert pickle.loads(pickle.dumps(both.select(both.durations > 3))).where(3).startswith(f"{tmp_path}/b.jsonl:1: ")
    digests = {Manifest.read_all(some, audio="unchecked").digest for some in (paths, paths[::-1], paths[:1], paths[1:])}
    assert len(digests) == 4
    write_manifest(tmp_path / "b.jsonl", [two[0], replace(one[7], audio="other.wav")])
    with pytest.raises(ManifestError) as caught:
        Manifest.read_all(paths, audio="unchecked")
    message = f"{tmp_path}/b.jsonl:2: the id '{one[7].id}' is also in {tmp_path}/a.jsonl, line 8; give every utterance"
    assert str(caught.value).startswith(message)


def test_kept_columns_are_those_of_a_direct_computation_and_belong_to_their_rules(
    tmp_path, monkeypatch, indexed
) -> None:
    path = tmp_path / "m.jsonl"
    write(path)
    letters = [CharTokenizer(sorted(" abcdefghijklmnopqrstuvwxyz'0123456789éï" + more)) for more in ("", "ñ")]
    settings = [(letters[0], RULES), (letters[1], RULES), (letters[0], TextConfig(rules="none@1")), (letters[0], RULES)]
    settings.append((CharTokenizer([" ", *"ehlotr"]), RULES))
    kept = [
        (label_counts(found, tokenizer, text, empty="allow"), manifest_oddities(found, of="train", spelling=text))
        for found in (Manifest.read(path, audio="unchecked"),)
        for tokenizer, text in settings
    ]
    monkeypatch.setattr(manifest_index, "INDEXED", 1 << 40)
    monkeypatch.setattr(manifest, "PIECE", 1000)
    plain = Manifest.read(path, audio="unchecked")
    for (tokenizer, text), (counts, odd) in zip(settings, kept, strict=True):
        direct = label_counts(plain, tokenizer, text, empty="allow")
        for name, value in direct._asdict().items():
            assert np.array_equal(getattr(counts, name), value), name
        assert odd == oddities(((one.text, one.language) for one in plain), plain.where, of="train", spelling=text)
        words = hold_words(plain, text)
        assert words.tolist() == [text.spell(one.text) != "" for one in plain]
    assert kept[0][0].labels.tolist() != kept[2][0].labels.tolist(), "the rules matter"


def test_one_pass_counts_labels_and_finds_what_is_odd(tmp_path, monkeypatch, indexed) -> None:
    write(tmp_path / "m.jsonl")
    found = Manifest.read(tmp_path / "m.jsonl", audio="unchecked")
    told = oddities(((one.text, one.language) for one in found), found.where, of="train", spelling=RULES)
    label_counts(found, CharTokenizer(" abc"), RULES, empty="allow")
    monkeypatch.delattr(Manifest, "map_transcripts")  # a second pass
    assert manifest_oddities(found, of="train", spelling=RULES) == told and told


def test_files_of_one_name_do_not_pile_up(tmp_path, monkeypatch, indexed) -> None:
    write(tmp_path / "m.jsonl")
    monkeypatch.setattr(kept_arrays, "MOST", 3)
    found = Manifest.read(tmp_path / "m.jsonl", audio="unchecked")
    for least in range(1, 6):
        found.select(found.durations > least)
    assert len(built(tmp_path / "m.jsonl")) == 1 + 3


def test_a_file_that_is_not_one_of_ours_is_damaged(tmp_path) -> None:
    (tmp_path / "x.arrays").write_bytes(b"something else")
    with pytest.raises(DamagedError):
        map_columns(tmp_path / "x.arrays")


def double(number: int) -> int:
    """Work for processes."""
    if number < 0:
        raise ManifestError("a negative number")
    return 2 * number


@pytest.mark.slow
def test_processes_give_results_in_order_and_raise_what_the_work_raises() -> None:
    assert list(map_in_processes(double, range(9), what="doubling", processes=2)) == [double(i) for i in range(9)]
    with pytest.raises(ManifestError, match="a negative number"):
        list(map_in_processes(partial(double), [1, -1], what="doubling", processes=2))
