"""The recipe an4: its published layout, read from a folder or from a server that may break off."""

import contextlib
import gzip
import io
import os
import random
import re
import socket
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hybrid_asr.common.errors import UserError
from hybrid_asr.data.download import download, unpack

SPEAKERS = ("fabc", "fdef", "mghi", "mjkl")


@pytest.fixture(scope="module")
def an4(recipe):
    return recipe("an4")


def sphere(noise: np.random.Generator) -> bytes:
    """25 ms of noise, which gzip cannot make small."""
    file = io.BytesIO()
    soundfile.write(file, noise.uniform(-0.5, 0.5, 400), 16000, format="NIST", subtype="PCM_16")
    return file.getvalue()


def corpus(train: int, test: int) -> dict[str, bytes]:
    """A small AN4 in its published layout: content by path."""
    noise = np.random.default_rng(1)
    files = {}
    for subset, count, folder in (("train", train, "an4_clstk"), ("test", test, "an4test_clstk")):
        names = [(SPEAKERS[number % 4], f"an{number}-{SPEAKERS[number % 4]}-b") for number in range(count)]
        ids = [f"{folder}/{speaker}/{name}" for speaker, name in names]
        lines = [f"<s> GO {'ABC'[number % 3]} </s> ({name})" for number, (_, name) in enumerate(names)]
        files[f"an4/etc/an4_{subset}.fileids"] = "\n".join([*ids, ""]).encode()
        files[f"an4/etc/an4_{subset}.transcription"] = "\n".join([*lines, ""]).encode()
        files |= {f"an4/wav/{file_id}.sph": sphere(noise) for file_id in ids}
    return files


def tar_gz(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture(scope="module")
def archive() -> bytes:
    """As many utterances as the published corpus has, each of 25 ms."""
    return tar_gz(corpus(train=948, test=130))


@pytest.fixture
def small(tmp_path) -> Path:
    """A folder with 8 training and 4 test utterances."""
    for path, content in corpus(train=8, test=4).items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    return tmp_path / "an4"


class Server:
    """A web server with one file. `breaks_at` is the byte at which it hangs up, once."""

    def __init__(self) -> None:
        self.content, self.etag, self.modified = b"", '"1"', ""
        self.ranges, self.status = True, 200
        self.breaks_at: int | None = None
        self.asked: list[str | None] = []  # the range of every request
        self.provided: list[str | None] = []  # what the file must still be for that
        self.sent = 0

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers["Range"]
        self.asked.append(asked)
        self.provided.append(handler.headers["If-Range"])
        start = int(asked[len("bytes=") : -1]) if asked and self.ranges else 0
        if handler.headers["If-Range"] not in (None, self.etag, self.modified):
            start = 0
        if self.status != 200 or start >= len(self.content) > 0:
            return handler.send_error(416 if self.status == 200 else self.status)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        headers = {"ETag": self.etag, "Last-Modified": self.modified, "Content-Length": str(len(self.content) - start)}
        for name, value in headers.items():
            if value:
                handler.send_header(name, value)
        handler.end_headers()
        body = self.content[start : self.breaks_at]
        self.breaks_at = None
        self.sent += len(body)
        handler.wfile.write(body)


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    served = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HYBRID_ASR_AN4_URL", f"http://127.0.0.1:{http.server_port}/an4_sphere.tar.gz")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield served
        http.shutdown()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The published layout


def test_the_published_corpus(an4, shared, tmp_path):
    if not (shared / "data/an4/etc").is_dir():
        pytest.skip(f"needs CMU AN4 in {shared / 'data/an4'}")
    sets = an4.prepare(shared / "data/an4", tmp_path / "to")
    speakers = {name: {utterance.speaker for utterance in utterances} for name, utterances in sets.items()}
    assert len(sets["train"]) + len(sets["valid"]) == 948 and len(sets["test"]) == 130
    assert {name: len(held) for name, held in speakers.items()} == {"train": 65, "valid": 9, "test": 10}
    assert not any(speakers[one] & speakers[two] for one, two in (("train", "valid"), ("train", "test")))
    assert {speaker[0] for speaker in speakers["valid"]} == {"f", "m"}, "both sexes"
    assert 90 <= len(sets["valid"]) <= 120
    words = {word for utterances in sets.values() for utterance in utterances for word in utterance.text.split()}
    assert all(re.fullmatch("[A-Z']+", word) for word in words)
    assert sum(utterance.duration_s for utterance in sets["test"]) / 60 == pytest.approx(6.1, abs=0.2)
    assert sets == an4.prepare(shared / "data", tmp_path / "to"), "the folder above does, too, in the same order"
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["lexicon.txt"], "nothing else was written"


def test_a_small_copy(an4, small, tmp_path):
    sets = an4.prepare(small, tmp_path / "to")
    first = sets["valid"][0]
    assert (first.id, first.speaker, first.text) == ("an0-fabc-b", "fabc", "GO A")
    assert first.duration_s == 400 / 16000
    assert Path(first.audio) == (small / "wav/an4_clstk/fabc/an0-fabc-b.sph").resolve()
    assert [len(sets[name]) for name in ("train", "valid", "test")] == [6, 2, 4]


def test_missing_sound_files_are_named_and_counted(an4, small):
    missing = sorted((small / "wav/an4_clstk").rglob("*.sph"))[:7]
    for path in missing:
        path.unlink()
    with pytest.raises(UserError, match=r"7 of 8 sound files are missing: .*-b\.sph.* and 2 more") as error:
        an4.prepare(small, small.parent)
    assert sum(str(path) in str(error.value) for path in missing) == 5


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("an4_test.fileids", None, r"1 of 2 lists are missing: .*an4_test\.fileids"),
        (
            "an4_train.transcription",
            "GO (an0-fabc-b)\n",
            "7 of 8 transcriptions are missing: an4_clstk/fdef/an1-fdef-b,",
        ),
        ("an4_train.transcription", "GO (an0-fabc-b)\nGO an1\n", r"an4_train\.transcription:2: 'GO an1' is not"),
        ("an4_train.transcription", "<s> </s> (an0-fabc-b)\n", r"an4_train\.transcription:1: "),
    ],
)
def test_bad_lists(an4, small, name, content, message):
    (small / "etc" / name).unlink()
    if content is not None:
        (small / "etc" / name).write_text(content)
    with pytest.raises(UserError, match=message):
        an4.prepare(small, small.parent)


def test_a_source_that_is_not_an4(an4, tmp_path):
    with pytest.raises(UserError, match=r"--source .*: AN4's folder 'etc' is not there"):
        an4.prepare(tmp_path, tmp_path)


# The download


def test_a_download_is_unpacked_and_used_again(an4, server, archive, tmp_path):
    server.content = archive
    sets = an4.prepare(None, tmp_path)
    assert len(sets["train"]) + len(sets["valid"]) == 948 and len(sets["test"]) == 130
    assert left(tmp_path) == ["an4"]
    assert sets == an4.prepare(None, tmp_path)
    assert len(server.asked) == 1


def test_a_broken_download_goes_on_where_it_stopped(an4, server, archive, tmp_path):
    server.content, server.breaks_at = archive, 300_000
    with pytest.raises(UserError, match=f"broke after 300000 of {len(archive)} bytes, which are kept.*repeat"):
        an4.prepare(None, tmp_path)
    assert "an4" not in left(tmp_path)
    assert len(an4.prepare(None, tmp_path)["test"]) == 130
    assert server.asked == [None, "bytes=300000-"]
    assert server.sent == len(archive), "no byte traveled twice"
    assert left(tmp_path) == ["an4"]


def download_once(to: Path, *, broken_at: int | None = None) -> bytes:
    """What lies in `to` after one call."""
    part = to / "an4_sphere.tar.gz.part"
    broken = contextlib.nullcontext() if broken_at is None else pytest.raises(UserError, match=f"after {broken_at} of")
    with broken:
        download(os.environ["HYBRID_ASR_AN4_URL"], part, folder="an4")
    return part.read_bytes()


def test_without_ranges_a_download_starts_anew(server, archive, tmp_path):
    server.content, server.ranges, server.breaks_at = archive, False, 300_000
    assert download_once(tmp_path, broken_at=300_000) == archive[:300_000]
    assert download_once(tmp_path) == archive
    assert server.asked == [None, "bytes=300000-"]


@pytest.mark.parametrize("tags", [('"1"', '"2"'), ('W/"1"', 'W/"2"'), ("", "")], ids=["tag", "weak tag", "size alone"])
@pytest.mark.parametrize("change", [50_000, -50_000], ids=["longer", "shorter"])
def test_a_download_starts_anew_if_the_file_has_changed(server, archive, tmp_path, tags, change):
    breaks_at = len(archive) - 1000
    server.content, server.etag, server.breaks_at = archive, tags[0], breaks_at
    download_once(tmp_path, broken_at=breaks_at)
    server.content, server.etag = random.Random(1).randbytes(len(archive) + change), tags[1]
    assert download_once(tmp_path) == server.content
    assert server.asked[1] == f"bytes={breaks_at}-"


def test_a_changed_file_of_the_same_size_is_told_by_its_tag(server, archive, tmp_path):
    server.content, server.breaks_at = archive, 300_000
    download_once(tmp_path, broken_at=300_000)
    server.content, server.etag = archive[::-1], '"2"'
    assert download_once(tmp_path) == archive[::-1]


def test_beside_a_weak_tag_the_date_is_used(server, archive, tmp_path):
    server.content, server.etag, server.modified = archive, 'W/"1"', "Thu, 01 Jan 2004 00:00:00 GMT"
    server.breaks_at = 300_000
    download_once(tmp_path, broken_at=300_000)
    assert download_once(tmp_path) == archive
    assert server.provided == [None, server.modified]
    assert server.sent == len(archive)


def test_another_address_starts_anew(server, archive, tmp_path, monkeypatch):
    server.content, server.breaks_at = archive, 300_000
    download_once(tmp_path, broken_at=300_000)
    monkeypatch.setenv("HYBRID_ASR_AN4_URL", f"{os.environ['HYBRID_ASR_AN4_URL']}?mirror")
    assert download_once(tmp_path) == archive
    assert server.asked == [None, None]


def test_an_interrupted_unpacking_needs_no_second_download(an4, server, archive, tmp_path):
    server.content = archive
    assert download_once(tmp_path) == archive
    assert len(an4.prepare(None, tmp_path)["test"]) == 130
    assert server.asked == [None]


def spoilt(archive: bytes, how: str) -> bytes:
    match how:
        case "truncated":
            return archive[:-50_000]
        case "without its checksum":
            return archive[:-8]
        case "one bit wrong":
            half = len(archive) // 2
            return archive[:half] + bytes([archive[half] ^ 1]) + archive[half + 1 :]
        case "a web page":
            return b"<html><body>Please log in to this network</body></html>"
        case "another corpus":
            return tar_gz(corpus(train=8, test=4))
        case "a sound file missing":
            files = corpus(train=948, test=130)
            return tar_gz({path: content for path, content in files.items() if "an77-" not in path})
        case "a path that leads out":
            return tar_gz({"../outside": b"x"})
    return gzip.compress(b"")


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("truncated", "end-of-stream"),
        ("without its checksum", "end-of-stream"),
        ("one bit wrong", ""),
        ("a web page", "gzip"),
        ("another corpus", "8 utterances instead of 948"),
        ("a sound file missing", r"1 of 948 sound files are missing: .*an77-fdef-b\.sph"),
        ("a path that leads out", r"'\.\./outside'"),
        ("nothing", ""),
    ],
)
def test_a_bad_archive_is_refused_and_leaves_nothing(an4, server, archive, tmp_path, how, reason):
    server.content = spoilt(archive, how)
    to = tmp_path / "data" / "an4"
    with pytest.raises(UserError, match=f"not AN4 and was deleted .*{reason}.*--source"):
        an4.prepare(None, to)
    assert left(to) == [] and left(tmp_path) == ["data"]


def test_a_link_in_the_archive_is_refused(tmp_path):
    with tarfile.open(tmp_path / "link.tar.gz", mode="w:gz") as tar:
        link = tarfile.TarInfo("an4/etc")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    with pytest.raises(UserError, match="'an4/etc'"):
        unpack(tmp_path / "link.tar.gz", tmp_path / "to")


def test_a_refusing_server(an4, server, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match=r"http.*: cannot be downloaded \(HTTP Error 404.*--source"):
        an4.prepare(None, tmp_path)
    assert left(tmp_path) == []


def test_offline(an4, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("HYBRID_ASR_AN4_URL", f"http://127.0.0.1:{port}/an4_sphere.tar.gz")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(
        UserError, match=f"127.0.0.1:{port}/.* by hand, unpack it, and give its folder an4 with --source"
    ):
        an4.prepare(None, tmp_path)
    assert left(tmp_path) == []


def test_the_dictionary_lies_beside_the_manifests(small, an4, tmp_path) -> None:
    an4.prepare(small, tmp_path / "none")
    assert not (tmp_path / "none" / "lexicon.txt").exists()
    (small / "etc" / "an4.dic").write_text("GO  G OW\nA  AH\nA(2)  EY\n")
    an4.prepare(small, tmp_path / "to")
    assert (tmp_path / "to" / "lexicon.txt").read_text() == "GO  G OW\nA  AH\nA(2)  EY\n"
