"""The index of a manifest: where its lines are, their durations and keys, as arrays that are made once and kept.

It lies beside the manifest (`.train.jsonl.index/`), or below the user's cache folder (`XDG_CACHE_HOME`) where nothing
can be written there. It belongs to the SHA-256 of the manifest; as long as the file's size, time of change and
inode are those that were seen when it was computed, it is not computed again. Small manifests have no index on disk.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from hybrid_asr.common.files import write_text
from hybrid_asr.common.problems import SHOWN, Problems, tell_user
from hybrid_asr.data.audio_headers import AudioHeaders
from hybrid_asr.data.kept_arrays import Columns, Store
from hybrid_asr.data.manifest_lines import ManifestError, parse_line, utterance_key
from hybrid_asr.data.parallel import map_in_processes

INDEXED = 4 << 20  # bytes: reading less, some 20,000 lines, takes 0.2 s
PIECE = 1 << 22  # bytes that a process reads at once
PARALLEL = 1 << 24  # bytes: processes take 1.5 s to start
CHECKED_ANEW = 100_000  # utterances of which the headers of audio files are read at every start
LONGEST = 1 << 24  # bytes of a line
_SETTLED_NS = 2_000_000_000  # a file changed later than this before it was read may change again within its time stamp
Audio = Literal["headers", "unchecked"]


class Scanned(NamedTuple):
    """What a piece of a manifest holds. Lines are counted from 1 at its beginning; `too_long` is one that has no end.

    `problems` are the first few, `more` counts the others; `doubts` has what is doubtful about audio files, by name.
    """

    columns: dict[str, np.ndarray]
    lines: int
    problems: list[tuple[int, str]]
    more: int
    doubts: dict[str, tuple[str, ...]]
    too_long: int | None


class Scanner:
    """Reads and checks the lines that begin in a range of bytes; with "headers" their audio files, too."""

    def __init__(self, path: Path, audio: Audio):
        self._path, self._headers = path, AudioHeaders(path.parent) if audio == "headers" else None

    def __call__(self, places: tuple[int, int]) -> Scanned:
        offsets, lines, durations, keys = list[int](), list[int](), list[float](), list[int]()
        problems, more, line, too_long = list[tuple[int, str]](), 0, 0, None
        with self._path.open("rb") as file:
            offset = _line_from(file, places[0])
            while offset < places[1] and (raw := file.readline(LONGEST + 1)):
                line += 1
                if len(raw) > LONGEST:
                    too_long = line
                    break
                record, problem = parse_line(raw)
                if not problem and self._headers is not None:
                    problem = self._headers.problem(record)
                if not problem:
                    offsets.append(offset)
                    lines.append(line)
                    durations.append(record["duration_s"])
                    keys.append(utterance_key(record["id"]))
                elif len(problems) < SHOWN:
                    problems.append((line, problem))
                else:
                    more += 1
                offset += len(raw)
        doubts = {} if self._headers is None else self._headers.take_doubts()
        columns = {
            "offsets": np.array(offsets, np.int64),
            "lines": np.array(lines, np.int64),
            "durations": np.array(durations, np.float64),
            "keys": np.array(keys, np.uint64),
        }
        return Scanned(columns, line, problems, more, doubts, too_long)


def _line_from(file: BinaryIO, place: int) -> int:
    """Go to the first line that begins at `place` or later; gives where that is."""
    if place > 0:
        file.seek(place - 1)
        while (raw := file.readline(PIECE)) and not raw.endswith(b"\n"):
            pass
    return file.tell()


class Index(NamedTuple):
    """The lines of a manifest, all of them good, and where more can be kept about them.

    `notes` says which headers of audio files are doubtful: the first few, and the number of all.
    """

    columns: Columns
    digest: str
    store: Store
    notes: tuple[str, ...]


def read_index(path: Path, audio: Audio) -> Index:
    """Open the index of a manifest that is there, or read and check every line. Raises ManifestError."""
    before = os.stat(path)
    if before.st_size == 0:
        raise ManifestError(f"{path}: the manifest is empty; run 'hybrid-asr prepare' again")
    if before.st_size < INDEXED:
        digest = _sha256(path)
        columns, notes = _scan(path, audio, before.st_size)
        index = Index(columns, digest, Store(), notes)
    else:
        index = _kept_index(path, audio, before)
    after = os.stat(path)
    if _identity(before) != _identity(after):
        raise ManifestError(f"{path}: the manifest was changed while it was read; start the command again")
    return index


def _kept_index(path: Path, audio: Audio, status: os.stat_result) -> Index:
    folders = index_folders(path)
    digest = _digest(path, folders, status)
    store, scanned = Store(folders, digest[:16]), list[tuple[str, ...]]()

    def make() -> Columns:
        columns, notes = _scan(path, audio, status.st_size)
        scanned.append(notes)
        return columns

    columns = store.get("lines", "", make)
    if scanned:
        store.discard_others()
    if audio == "unchecked":
        return Index(columns, digest, store, ())
    if not scanned and len(columns["offsets"]) <= CHECKED_ANEW:
        return Index(columns, digest, store, _scan(path, audio, status.st_size)[1])
    checked_now = bool(scanned)

    def check() -> Columns:
        nonlocal checked_now
        checked_now = True
        return Columns({}, {"notes": scanned[0] if scanned else _scan(path, audio, status.st_size)[1]})

    notes = tuple(store.get("headers", "", check).facts["notes"])
    if not checked_now:
        tell_user(
            f"note: {path}: more than {CHECKED_ANEW:,} utterances: the headers of their audio files were checked when "
            "its index was made, and are not checked again at every start"
        )
    return Index(columns, digest, store, notes)


def index_folders(path: Path) -> tuple[Path, Path]:
    """Where the index of a manifest may lie: beside it, or below the user's cache folder."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    return path.with_name(f".{path.name}.index"), cache / "hybrid-asr" / "index" / f"{path.name}.{place}"


def _scan(path: Path, audio: Audio, size: int) -> tuple[Columns, tuple[str, ...]]:
    """Read and check all lines, by several processes where there are many; the notes are about audio files."""
    places = [(start, min(start + PIECE, size)) for start in range(0, size, PIECE)]
    what = f"{path}: reading {size / 1e6:,.0f} MB"
    processes = None if size >= PARALLEL else 1
    return _gather(path, map_in_processes(Scanner(path, audio), places, what=what, processes=processes))


def _gather(path: Path, pieces: Iterable[Scanned]) -> tuple[Columns, tuple[str, ...]]:
    """The pieces as one. Raises ManifestError, which names the bad lines."""
    problems, doubts, gathered, before = Problems(), Doubts(), list[dict[str, np.ndarray]](), 0
    for piece in pieces:
        if piece.too_long is not None:
            line = before + piece.too_long
            raise ManifestError(f"{path}:{line}: the line has more than {LONGEST:,} bytes; is it a manifest?")
        for line, problem in piece.problems:
            problems.add(path, before + line, problem)
        problems.add_unseen(piece.more)
        doubts.add(piece.doubts)
        piece.columns["lines"] += before
        gathered.append(piece.columns)
        before += piece.lines
    columns = {name: np.concatenate([piece[name] for piece in gathered]) for name in gathered[0]}
    note_repeats([path], columns, problems)
    problems.raise_any(ManifestError)
    return Columns(columns), doubts.notes()


@dataclass
class Doubts:
    """What is doubtful about audio files: the first few notes, and the number of all."""

    first: list[str] = field(default_factory=list)
    count: int = 0
    _files: set[int] = field(default_factory=set)

    def add(self, doubts: dict[str, tuple[str, ...]]) -> None:
        """Take the notes of files, each file once."""
        for file, notes in doubts.items():
            if (key := utterance_key(file)) not in self._files:
                self._files.add(key)
                self.count += len(notes)
                self.first = [*self.first, *notes][:SHOWN]

    def notes(self) -> tuple[str, ...]:
        """The first few, and how many more there are."""
        more = f"... and {self.count - SHOWN} more, {self.count} in all"
        return (*self.first, more) if self.count > SHOWN else tuple(self.first)


def note_repeats(paths: Sequence[Path], columns: Mapping[str, np.ndarray], problems: Problems) -> None:
    """Note the ids that occur again, in one file or in several; the column `files` numbers the `paths`."""
    keys = columns["keys"]
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    pairs = sorted(zip(order[same + 1].tolist(), order[same].tolist(), strict=True))
    for later, earlier in pairs[:SHOWN]:
        path, first = (paths[int(columns["files"][row]) if "files" in columns else 0] for row in (later, earlier))
        with path.open("rb") as file:
            file.seek(int(columns["offsets"][later]))
            name = parse_line(file.readline())[0]["id"]
        line = int(columns["lines"][earlier])
        where = f"also on line {line}" if first == path else f"also in {first}, line {line}"
        problems.add(path, int(columns["lines"][later]), f"the id '{name}' is {where}; give every utterance its own id")
    problems.add_unseen(max(0, len(pairs) - SHOWN))


def _digest(path: Path, folders: tuple[Path, ...], status: os.stat_result) -> str:
    """The SHA-256 of a manifest, from memory where nothing hints at a change."""
    for folder in folders:
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            seen = json.loads((folder / "seen.json").read_text(encoding="utf-8"))
            if seen["identity"] == _identity(status) and seen["settled"]:
                return str(seen["digest"])
    began = time.time_ns()
    digest = _sha256(path)
    seen = {"identity": _identity(status), "digest": digest, "settled": status.st_mtime_ns + _SETTLED_NS < began}
    for folder in folders:
        with contextlib.suppress(OSError):
            write_text(folder / "seen.json", json.dumps(seen) + "\n")
            break
    return digest


def _identity(status: os.stat_result) -> list[int]:
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
