"""CMU AN4: people spell names and addresses and read dates and numbers (Acero, 1993). 48 minutes.

The corpus is read in its published layout: `etc/an4_{train,test}.{fileids,transcription}` and `wav/<file id>.sph`.
The 130 test utterances are the corpus's own. Validation is cut from its 948 training utterances, whole speakers at a
time: every NINTH speaker in the order of their names, the first one included. Names begin with f or m for the
speaker's sex, so both are held out in proportion: 3 of 21 women and 6 of 53 men.

Its dictionary, `etc/an4.dic`, is written beside the manifests as `lexicon.txt`.

Without a source the corpus is downloaded, 64 MB, from its official address, or from the address in the environment
variable HYBRID_ASR_AN4_URL (the same archive on a mirror, say). A broken download is continued by the next call.
"""

import contextlib
import gzip
import http.client
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hybrid_asr.audio import io
from hybrid_asr.common.errors import UserError
from hybrid_asr.data.manifest import Utterance

URL = "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz"
SIZES = {"train": 948, "test": 130}  # of the published corpus; a copy given as source may be smaller
NINTH = 9
TIMEOUT_S = 30.0  # without a byte
CHUNK = 1 << 18
SHOWN = 5


def prepare(source: Path | None, to: Path) -> dict[str, list[Utterance]]:
    """Read AN4 from `source`, or download it to `to/an4` if it is not there yet. `source` is never written to.

    Raises UserError if files are missing (the first few by name, and their number), if the download fails or its
    archive is not AN4, and AudioError for a file that is not audio.
    """
    folder = locate(source) if source is not None else fetch(to)
    copy_lexicon(folder, to)
    training, test = read_set(folder, "train"), read_set(folder, "test")
    held_out = set(sorted({str(utterance.speaker) for utterance in training})[::NINTH])
    return {
        "train": [utterance for utterance in training if utterance.speaker not in held_out],
        "valid": [utterance for utterance in training if utterance.speaker in held_out],
        "test": test,
    }


# The published layout


def locate(source: Path) -> Path:
    """Return the folder that has `etc` and `wav`: `source`, or the folder an4 in it."""
    for folder in (source, source / "an4"):
        if (folder / "etc").is_dir():
            return folder.resolve()
    raise UserError(f"--source {source}: AN4's folder 'etc' is not there; give the folder that holds 'etc' and 'wav'")


def read_set(folder: Path, name: str) -> list[Utterance]:
    """Read the set `train` or `test` as AN4 cuts it, in the order of its list of file ids."""
    return [
        Utterance(
            id=PurePosixPath(file_id).name,
            audio=str(audio),
            duration_s=io.info(audio).duration_s,
            text=text,
            speaker=PurePosixPath(file_id).parent.name,
            language="en",
        )
        for file_id, audio, text in listed(folder, name)
    ]


def listed(folder: Path, name: str) -> list[tuple[str, Path, str]]:
    """List file id, sound file and words of a set. Raises UserError if a list, a file or a transcription is missing."""
    lists = [folder / "etc" / f"an4_{name}.{kind}" for kind in ("fileids", "transcription")]
    _refuse_missing([path for path in lists if not path.is_file()], f"{len(lists)} lists")
    ids = lists[0].read_text(encoding="utf-8").split()
    texts = _transcriptions(lists[1])
    _refuse_missing([name for name in ids if PurePosixPath(name).name not in texts], f"{len(ids)} transcriptions")
    audio = [folder / "wav" / f"{file_id}.sph" for file_id in ids]
    _refuse_missing([path for path in audio if not path.is_file()], f"{len(ids)} sound files")
    return [(file_id, path, texts[PurePosixPath(file_id).name]) for file_id, path in zip(ids, audio, strict=True)]


def copy_lexicon(folder: Path, to: Path) -> None:
    """Write the corpus's dictionary to `to/lexicon.txt`, where it has one: only phoneme models need it."""
    dictionary = folder / "etc" / "an4.dic"
    if dictionary.is_file():
        to.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dictionary, to / "lexicon.txt.part")
        os.replace(to / "lexicon.txt.part", to / "lexicon.txt")


def _transcriptions(path: Path) -> dict[str, str]:
    """Read lines like `<s> GO </s> (an253-fash-b)` into words by the last part of a file id."""
    texts = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.fullmatch(r"\s*(?:<s>)?([^<>()]*)(?:</s>)?\s*\((\S+)\)\s*", line)
        if match is None or not match[1].strip():
            raise UserError(f"{path}:{number}: {line!r} is not of the form 'WORDS (id)'; copy or download AN4 again")
        texts[match[2]] = " ".join(match[1].split())
    return texts


def _refuse_missing(missing: Sequence[Path | str], of: str) -> None:
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        shown = ", ".join(map(str, missing[:SHOWN]))
        raise UserError(f"AN4: {len(missing)} of {of} are missing: {shown}{more}; copy or download it again")


# The download


def fetch(to: Path) -> Path:
    """Return `to/an4`; if it is not there, download, check and unpack it. The folder appears whole or not at all."""
    folder = to.absolute() / "an4"
    if folder.is_dir():
        return folder
    url = os.environ.get("HYBRID_ASR_AN4_URL", URL)
    to.mkdir(parents=True, exist_ok=True)
    part = to / "an4_sphere.tar.gz.part"
    download(url, part)
    with tempfile.TemporaryDirectory(dir=to, prefix=".unpacking-") as unfinished:
        try:
            unpack(part, Path(unfinished))
            _refuse_other_corpus(Path(unfinished, "an4"))
        except (UserError, gzip.BadGzipFile, EOFError, zlib.error, tarfile.TarError) as error:
            _forget(part)
            raise UserError(f"{url}: the download is not AN4 and was deleted ({error}); {_by_hand(url)}") from error
        Path(unfinished, "an4").rename(folder)
    _forget(part)
    return folder


def _refuse_other_corpus(folder: Path) -> None:
    for name, size in SIZES.items():
        count = len(listed(folder, name))
        if count != size:
            raise UserError(f"its {name} set has {count} utterances instead of {size}")


def download(url: str, part: Path) -> None:
    """Write what is at `url` to `part`, from where an earlier call stopped if the server still has the same file.

    Raises UserError if the server cannot be reached, refuses, or breaks off; the next call continues what was received.
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
        raise UserError(f"{url}: cannot be downloaded ({error}); {_by_hand(url)}") from error


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


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note_of(part).unlink(missing_ok=True)


def _by_hand(url: str) -> str:
    return f"repeat the command, or fetch {url} by hand, unpack it, and give its folder an4 with --source"


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
