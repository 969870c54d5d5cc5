"""Audio in tar shards, on a disk and on a real server, is that of the files; what is wrong with a shard is named."""

import dataclasses
import json
import shutil
import subprocess
import tarfile
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid_asr.audio.io import AudioError
from hybrid_asr.common.errors import UserError
from hybrid_asr.data import http_ranges
from hybrid_asr.data.manifest import Manifest, ManifestError, Utterance, write_manifest
from hybrid_asr.data.plan import Part, PlannedUtterance
from hybrid_asr.data.shards import tell_remote
from tests.data.range_server import RangeServer
from tests.data.test_dataset import dataset_of


@pytest.fixture
def shard(make_manifest, tmp_path) -> tuple[Manifest, Path]:
    """A manifest of files, and the path of one of the same utterances in a tar file that Python's tarfile wrote."""
    files = make_manifest([0.5, 1.25, 0.75])
    folder = tmp_path / "packed"
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for index in range(3):
            tar.add(files.audio_path(index), f"train-{index}.wav")
    with tarfile.open(folder / "a.tar") as tar:
        members = [
            (member.offset_data, member.size, zlib.crc32(tar.extractfile(member).read()))  # type: ignore[union-attr]
            for member in tar
        ]
    moved = [
        dataclasses.replace(one, audio="a.tar", offset=offset, bytes=size, crc32=f"{crc:08x}")
        for one, (offset, size, crc) in zip(files, members, strict=True)
    ]
    write_manifest(folder / "train.jsonl", moved)
    return files, folder / "train.jsonl"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of the folder `packed`; waits between attempts are short, and no one's netrc or proxy is used."""
    monkeypatch.setattr(http_ranges, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    http_ranges._netrc.cache_clear()
    serving = RangeServer(tmp_path / "packed")
    monkeypatch.setenv("HYBRID_ASR_SHARDS", serving.address)
    yield serving
    serving.close()
    http_ranges._netrc.cache_clear()


def change(path: Path, **fields) -> None:
    """Change fields of the second line of a manifest; None removes one."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1] = {name: value for name, value in (lines[1] | fields).items() if value is not None}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def refused(path: Path, index: int = 1) -> str:
    with pytest.raises(AudioError) as caught:
        Manifest.read(path, audio="unchecked").read_audio(index, 16000)
    return str(caught.value)


def test_samples_keys_and_durations_are_those_of_the_files(shard, server):
    files, path = shard
    packed = Manifest.read(path)
    assert np.array_equal(packed.keys, files.keys) and np.array_equal(packed.durations, files.durations)
    for index in range(3):
        assert np.array_equal(packed.read_audio(index, 16000), files.read_audio(index, 16000))
    assert len(server.asked) == 4, "one to check the shard, one for each utterance"
    assert server.connections == 1


def test_batches_are_equal_bit_for_bit(shard, server, monkeypatch):
    files, path = shard
    part = Part((PlannedUtterance((1,), 0.9, 1.0), PlannedUtterance((0, 2), 1.0, 1.0)), None)
    expected, served = (dataset_of(manifest)[part] for manifest in (files, Manifest.read(path)))
    monkeypatch.delenv("HYBRID_ASR_SHARDS")
    for batch in (served, dataset_of(Manifest.read(path))[part]):
        assert torch.equal(batch.audio, expected.audio) and torch.equal(batch.labels, expected.labels)
        assert (batch.ids, batch.divisor, batch.seconds) == (expected.ids, expected.divisor, expected.seconds)


def test_a_shard_on_a_disk_is_read_beside_its_manifest_and_elsewhere(shard, tmp_path, monkeypatch):
    files, path = shard
    samples = files.read_audio(1, 8000)
    (tmp_path / "staged").mkdir()
    (path.parent / "a.tar").rename(tmp_path / "staged" / "a.tar")
    with pytest.raises(
        ManifestError, match=r"a\.tar: there is no such shard; copy it there, or name .* HYBRID_ASR_SHARDS"
    ):
        Manifest.read(path)
    monkeypatch.setenv("HYBRID_ASR_SHARDS", str(tmp_path / "staged"))
    packed = Manifest.read(path)
    assert np.array_equal(packed.read_audio(1, 8000), samples)
    monkeypatch.delenv("HYBRID_ASR_SHARDS")
    (tmp_path / "staged" / "a.tar").rename(path.parent / "a.tar")
    assert np.array_equal(packed.read_audio(1, 8000), samples)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offset": 1024}, r"a\.tar: no member of a tar file begins at byte 512"),
        ({"bytes": 40000}, r"a\.tar \(train-1\.wav\): has 40,044 bytes, 40,000 bytes by the manifest"),
        (
            {"crc32": "00000000"},
            r"a\.tar \(train-1\.wav\): is damaged: its 40,044 bytes do not give the CRC-32 00000000",
        ),
        ({"audio": "b.tar"}, r"b\.tar: there is no such shard"),
    ],
)
@pytest.mark.parametrize("where", ["disk", "server"])
def test_a_member_that_is_not_what_the_manifest_says(shard, request, where, fields, message):
    _, path = shard
    if where == "server":
        request.getfixturevalue("server")
    change(path, **fields)
    with pytest.raises(AudioError, match=message):
        Manifest.read(path, audio="unchecked").read_audio(1, 16000)
    if "crc32" not in fields:
        with pytest.raises(ManifestError, match=f"train.jsonl:2: .*{message}" if where == "disk" else "train.jsonl:"):
            if where == "server":  # of each shard the first utterance is looked at
                lines = path.read_text().splitlines(keepends=True)
                path.write_text(lines[1])
            Manifest.read(path)


@pytest.mark.parametrize("where", ["disk", "server"])
def test_a_truncated_shard_is_named_by_both_doors(shard, request, where):
    _, path = shard
    if where == "server":
        request.getfixturevalue("server")
    tar = path.parent / "a.tar"
    tar.write_bytes(tar.read_bytes()[:20000])
    assert "a.tar: is truncated: it has 20,000 bytes, byte " in refused(path, 1)
    assert "a.tar: is truncated: it has " in refused(path, 2)
    with pytest.raises(ManifestError, match=r"train\.jsonl:2: .*a\.tar: is truncated"):
        Manifest.read(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bytes": None}, "'bytes' one is missing"),
        ({"offset": 100}, "offset is 100, a member of a tar file begins at a multiple of 512"),
        ({"offset": 0}, "offset is 0"),
        ({"bytes": 0}, "bytes is 0"),
        ({"crc32": "xyz"}, "crc32 is 'xyz', it must be eight digits"),
        ({"audio": "http://host/a.wav", "offset": None, "bytes": None, "crc32": None}, "audio is an address without"),
    ],
)
def test_a_line_that_names_no_place_in_a_shard_is_refused(shard, fields, message):
    _, path = shard
    change(path, **fields)
    with pytest.raises(ManifestError, match=rf"train\.jsonl:2: .*{message}"):
        Manifest.read(path, audio="unchecked")


@pytest.mark.parametrize(
    "fault", [{"busy": 2}, {"cut": 3, "cut_after": 7000}, {"cut": 1, "cut_after": 0}, {"short": 2}]
)
def test_what_passes_is_tried_again_and_the_samples_are_the_same(shard, server, fault):
    files, path = shard
    for name, value in fault.items():
        setattr(server, name, value)
    assert np.array_equal(Manifest.read(path, audio="unchecked").read_audio(1, 16000), files.read_audio(1, 16000))
    assert len(server.asked) == 1 + fault.get("busy", 0) + fault.get("cut", 0) + fault.get("short", 0)


def test_what_arrived_is_not_asked_for_again(shard, server):
    _, path = shard
    server.cut, server.cut_after = 2, 7000
    one = Manifest.read(path, audio="unchecked")
    one.read_audio(1, 16000)
    begin, end = one[1].offset - 512, one[1].offset + one[1].bytes - 1
    assert [asked for _, asked, _ in server.asked] == [f"bytes={begin + 7000 * part}-{end}" for part in range(3)]


@pytest.mark.parametrize(
    ("fault", "message", "attempts"),
    [
        ({"whole": True}, "the server does not know ranges of bytes", 1),
        ({"shift": 512}, r"sends the bytes from \d+ on when asked for those from \d+", 1),
        ({"busy": 99}, r"the server answers 503 .* \(tried 3 times\); look at the server", 3),
        ({"cut": 99, "cut_after": 0}, r"the connection broke|ends after 0 of", 3),
        ({"pause_s": 1.5}, r"the server sent nothing for 1 s \(tried 3 times\)", 3),
        ({"login": "Basic other"}, r"the server refuses access \(401\); write its user and password to ~/\.netrc", 1),
    ],
    ids=lambda value: "",
)
def test_a_server_that_does_not_give_the_bytes_is_named(shard, server, monkeypatch, fault, message, attempts):
    _, path = shard
    monkeypatch.setenv("HYBRID_ASR_SHARDS_RETRIES", "2")
    monkeypatch.setenv("HYBRID_ASR_SHARDS_TIMEOUT_S", "1")
    for name, value in fault.items():
        setattr(server, name, value)
    with pytest.raises(AudioError, match=f"^{server.address}/a.tar: .*(?:{message})"):
        Manifest.read(path, audio="unchecked").read_audio(1, 16000)
    assert len(server.asked) == attempts


def test_a_server_that_drips_is_as_good_as_silent(shard, server, monkeypatch):
    _, path = shard
    monkeypatch.setenv("HYBRID_ASR_SHARDS_RETRIES", "0")
    monkeypatch.setenv("HYBRID_ASR_SHARDS_TIMEOUT_S", "1")
    monkeypatch.setattr(http_ranges, "_SLOWEST", 10**9)
    server.pause_s = 0.3
    assert "sends fewer than 1,000,000,000 bytes a second (tried once)" in refused(path)


def test_nobody_there(shard, server, monkeypatch):
    _, path = shard
    monkeypatch.setenv("HYBRID_ASR_SHARDS_RETRIES", "1")
    server.close()
    assert "the server cannot be reached" in refused(path)


def test_a_server_is_asked_again_when_it_says(shard, server):
    server.busy, server.wait_s = 1, 1
    begin = time.monotonic()
    Manifest.read(shard[1], audio="unchecked").read_audio(1, 16000)
    assert len(server.asked) == 2 and 1.0 <= time.monotonic() - begin < 20


def test_another_address_that_a_server_sends_to_is_followed_and_not_told_the_token(shard, server, monkeypatch):
    files, path = shard
    other = RangeServer(path.parent)
    monkeypatch.setenv("HYBRID_ASR_SHARDS_TOKEN", "tok7en")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    server.moved_to = other.address.replace("127.0.0.1", "localhost")
    packed = Manifest.read(path, audio="unchecked")
    assert np.array_equal(packed.read_audio(1, 16000), files.read_audio(1, 16000))
    other.close()
    assert [asked[2] for asked in server.asked + other.asked] == ["Bearer tok7en", None]
    server.moved_to = server.address
    assert "the server sends on from one address to the next more than 5 times" in refused(path)
    assert len(server.asked) == 7


@pytest.mark.parametrize(("fault", "asked"), [("missing", 1), ("busy", 2)])
def test_a_shard_or_a_server_that_fails_is_asked_once_when_a_manifest_is_opened(
    shard, server, monkeypatch, fault, asked
):
    _, path = shard
    monkeypatch.setenv("HYBRID_ASR_SHARDS_RETRIES", "1")
    if fault == "missing":
        (path.parent / "a.tar").unlink()
    else:
        server.busy = 99
    with pytest.raises(ManifestError, match=r"train\.jsonl:3: "):
        Manifest.read(path)
    assert len(server.asked) == asked


def test_a_certificate_that_nobody_vouches_for_is_refused(shard, tmp_path, monkeypatch):
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=me -keyout own.pem -out c.pem"
    subprocess.run([openssl, *new.split()], cwd=tmp_path, check=True, capture_output=True)
    with (tmp_path / "own.pem").open("a") as both:
        both.write((tmp_path / "c.pem").read_text())
    serving = RangeServer(shard[1].parent, tmp_path / "own.pem")
    monkeypatch.setenv("HYBRID_ASR_SHARDS", serving.address)
    assert "the certificate of the server is not trusted (self" in refused(shard[1])
    assert not serving.asked
    serving.close()


def test_a_server_without_tls_is_told_from_one_with_a_bad_certificate(shard, server, monkeypatch):
    monkeypatch.setenv("HYBRID_ASR_SHARDS", server.address.replace("http:", "https:"))
    assert "look whether the address must begin with http://" in refused(shard[1])


SECRETS = ("user7", "pass7word", "tok7en")


@pytest.mark.parametrize(
    "fault", [{"busy": 99}, {"whole": True}, {"login": "Basic other"}, {"cut": 99}, {"shift": 512}]
)
@pytest.mark.parametrize("place", ["manifest", "environment"])
def test_credentials_are_in_no_message(shard, server, monkeypatch, caplog, fault, place):
    _, path = shard
    caplog.set_level("WARNING")
    monkeypatch.setenv("HYBRID_ASR_SHARDS_RETRIES", "1")
    address = server.address.replace("//", "//user7:pass7word@")
    if place == "manifest":
        change(path, audio=f"{address}/a.tar?token=tok7en")
    else:
        monkeypatch.setenv("HYBRID_ASR_SHARDS", f"{address}?token=tok7en")
    for name, value in fault.items():
        setattr(server, name, value)
    with pytest.raises(UserError) as caught:
        Manifest.read(path).read_audio(1, 16000)
    assert f"{server.address}/a.tar: " in str(caught.value)
    said = f"{caught.value} {caught.value.__cause__!r} {caplog.text}"
    assert not any(secret in said for secret in SECRETS)
    asked = next(asked for asked in server.asked if "token" in asked[0])
    assert asked[0] == "/a.tar?token=tok7en" and asked[2] == "Basic dXNlcjc6cGFzczd3b3Jk"


def test_a_user_of_netrc_and_a_token_are_sent_to_their_host_alone(shard, server, tmp_path, monkeypatch):
    files, path = shard
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password it\nmachine other login x password y\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    manifest = Manifest.read(path, audio="unchecked")
    server.login = "Basic bWU6aXQ="
    assert np.array_equal(manifest.read_audio(1, 16000), files.read_audio(1, 16000))
    monkeypatch.setenv("HYBRID_ASR_SHARDS_TOKEN", "tok7en")
    server.login = "Bearer tok7en"
    assert np.array_equal(manifest.read_audio(1, 16000), files.read_audio(1, 16000))
    monkeypatch.setenv("HYBRID_ASR_SHARDS", "http://elsewhere.invalid")
    change(path, audio=f"{server.address}/a.tar")
    assert "refuses access (401)" in refused(path)


@pytest.mark.parametrize(
    ("workers", "told"), [(0, "note: audio comes from 127.0.0.1 while each step waits for it"), (1, "")]
)
def test_a_training_that_would_wait_for_a_server_is_told(shard, server, capsys, workers, told):
    manifest = Manifest.read(shard[1], audio="unchecked")
    tell_remote(manifest[0].member, manifest.folder(0), workers=workers)
    assert capsys.readouterr().err.partition(";")[0] == told


def test_a_password_may_have_any_letter_and_no_message_shows_one(shard, server):
    assert http_ranges.without_credentials("https://a:b%40c@host:1/x.tar?sig=1#f") == "https://host:1/x.tar"


def test_utterances_in_shards_are_plain_utterances() -> None:
    one = Utterance(id="a", audio="a.tar", duration_s=1.0, text="", offset=512, bytes=9)
    assert one.member is not None and one.member.offset == 512 and one.member.crc32 is None
