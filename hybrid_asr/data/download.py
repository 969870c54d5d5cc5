"""Downloads of corpora: continued where they broke off, checked, and unpacked whole or not at all."""

import contextlib
import gzip
import http.client
import json
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from hybrid_asr.common.errors import UserError

TIMEOUT_S = 30.0  # without a byte
CHUNK = 1 << 18


def fetch_folder(url: str, folder: Path, *, corpus: str, check: Callable[[Path], None]) -> Path:
    """Return `folder`; if it is not there, download the .tar.gz at `url`, which holds a folder of its name.

    `check` raises UserError for an unpacked folder that is not the `corpus`; the archive is then deleted. `folder`
    appears whole or not at all. Raises UserError, too, where the download fails; the next call continues it.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.parent / f"{PurePosixPath(urllib.parse.urlsplit(url).path).name}.part"
    download(url, part, folder=folder.name)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as unfinished:
        unpacked = Path(unfinished, folder.name)
        try:
            unpack(part, Path(unfinished))
            check(unpacked)
        except (UserError, gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
            _discard(part)
            by_hand = _by_hand(url, folder.name)
            raise UserError(f"{url}: the download is not {corpus} and was deleted ({error}); {by_hand}") from error
        unpacked.rename(folder)
    _discard(part)
    return folder


def download(url: str, part: Path, *, folder: str) -> None:
    """Write what is at `url` to `part`, from where an earlier call stopped if the server still has the same file.

    Raises UserError if the server cannot be reached, refuses, or breaks off, and says how to get `folder` by hand; the
    next call continues what was received.
    """
    note = _read_note(part, url)
    size = part.stat().st_size if note else 0
    if note and size == note["total"]:
        return
    try:
        response, start = _open(url, size, note)
        with response:
            print(f"downloading {url}" + (f" from byte {start} on" if start else ""), file=sys.stderr)
            _receive(response, start, url, part)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(f"{url}: cannot be downloaded ({error}); {_by_hand(url, folder)}") from error


def _open(url: str, size: int, note: dict) -> tuple[Any, int]:
    """Ask for what follows the first `size` bytes; the response starts there, or at 0 if that file is gone."""
    if size:
        ranges = {"Range": f"bytes={size}-"} | ({"If-Range": note["validator"]} if note["validator"] else {})
        with contextlib.suppress(urllib.error.HTTPError):  # any error occurs again without the range
            response = urllib.request.urlopen(urllib.request.Request(url, headers=ranges), timeout=TIMEOUT_S)
            if response.headers["Content-Range"] == f"bytes {size}-{note['total'] - 1}/{note['total']}":
                return response, size
            if response.status == 200:
                return response, 0
            response.close()
    return urllib.request.urlopen(url, timeout=TIMEOUT_S), 0


def _receive(response: Any, start: int, url: str, part: Path) -> None:
    """Write the body of `response` to `part` from byte `start` on, and a note by which another call continues it."""
    length = response.headers["Content-Length"]
    total = start + int(length) if length else None
    with part.open("ab" if start else "wb") as file:  # emptied before the note says what will be in it
        if total is not None:
            etag = response.headers["ETag"] or ""
            validator = (
                etag if etag.startswith('"') else response.headers["Last-Modified"]
            )  # a weak tag is no validator
            _note_of(part).write_text(json.dumps({"url": url, "total": total, "validator": validator}))
        shutil.copyfileobj(response, file, CHUNK)
    if total is not None and part.stat().st_size != total:
        raise OSError(f"the connection broke after {part.stat().st_size} of {total} bytes, which are kept")


def _note_of(part: Path) -> Path:
    return part.with_suffix(".json")


def _read_note(part: Path, url: str) -> dict:
    """Return the note on the file that `part` is the beginning of; empty if `part` cannot be continued."""
    try:
        note = json.loads(_note_of(part).read_text())
    except (OSError, ValueError):
        return {}
    return note if part.is_file() and note["url"] == url and part.stat().st_size <= note["total"] else {}


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _by_hand(url: str, folder: str) -> str:
    return f"repeat the command, or fetch {url} by hand, unpack it, and give its folder {folder} with --source"


def unpack(archive: Path, to: Path) -> None:
    """Unpack the plain files of a .tar.gz to below `to`, and check the archive to its very end.

    Raises UserError for a link, a device or a path that leads elsewhere (tarfile's own filter for that came with Python
    3.11.4 only), and what gzip, zlib and tarfile raise for a damaged archive.
    """
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as members:
        for member in members:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts or not (member.isfile() or member.isdir()):
                raise UserError(f"{member.name!r} in it is no plain file below the archive's folder")
            if member.isfile():
                _copy_out(members, member, to / path)
        while stream.read(CHUNK):  # the checksum comes after tar's own end
            pass


def _copy_out(members: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    content = members.extractfile(member)
    assert content is not None, "a plain file has content"
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file, CHUNK)
