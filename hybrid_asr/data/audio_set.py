"""All audio of a set, measured by several processes, and kept: a second time only files that have changed are read."""

import hashlib
import itertools
import json
import os
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64, UInt64

from hybrid_asr.common.files import atomic_path
from hybrid_asr.data.audio_check import MEASURES, MEASURES_READ, Measured, measure_utterance
from hybrid_asr.data.manifest import Manifest, Utterance
from hybrid_asr.data.parallel import map_in_processes
from hybrid_asr.data.shards import locate

VERSION = 1  # of the measures: those of another version are measured anew
_TASK = 32  # utterances that a process is given at once
_KEEP_EVERY_S = 60.0  # what was measured so far is written
_FEW = 500  # utterances: processes take longer to start than these to read


class AudioOfSet(NamedTuple):
    """What the samples of a set say, a row of MEASURES an utterance: NaN, and content 0, where it was not read.

    `bad` says why, `told` what is doubtful about what was read. `alone` is True for an utterance that begins with its
    file and has it for itself. `decoded` is how many were read now, the others were kept from an earlier time.
    """

    rows: np.ndarray
    bad: dict[int, Measured]
    told: dict[int, tuple[str, ...]]
    alone: np.ndarray
    decoded: int


def measure_set(manifest: Manifest, kept: Path, *, jobs: int | None = None) -> AudioOfSet:
    """Measure all utterances on `jobs` processes, one a core if None; `kept` is the file of what is known of them.

    An utterance is known by its audio file's path, size and time of change, and by its own times and channel.
    Raises WorkError where a process dies.
    """
    stamps, alone = _stamps(manifest)
    rows = np.zeros(len(manifest), MEASURES)
    for name in MEASURES_READ:
        rows[name] = np.nan
    known, notes = _read_kept(kept)
    number = np.searchsorted(known["stamp"], stamps)
    number[number == len(known)] = 0
    same = (known["stamp"][number] == stamps) & (stamps != 0) if len(known) else np.zeros(len(manifest), dtype=bool)
    for name in MEASURES.names or ():
        rows[name][same] = known[name][number[same]]
    told = {int(i): tuple(notes[str(stamps[i])]) for i in np.flatnonzero(same) if str(stamps[i]) in notes}
    missing, bad = np.flatnonzero(~same), {}
    tasks = [missing[begin : begin + _TASK] for begin in range(0, len(missing), _TASK)]
    processes = 1 if jobs is None and len(missing) < _FEW else jobs
    what = f"{manifest.path}: reading its audio"
    results = map_in_processes(partial(_measure_task, manifest), tasks, what=what, processes=processes)
    kept_at, decoded = time.monotonic(), 0
    try:
        for index, measured in zip(missing.tolist(), itertools.chain.from_iterable(results), strict=True):
            decoded += 1
            if measured.row is None:
                bad[index] = measured
            else:
                rows[index] = measured.row
                if measured.told:
                    told[index] = measured.told
            if time.monotonic() - kept_at > _KEEP_EVERY_S:
                _write_kept(kept, stamps, rows, told)
                kept_at = time.monotonic()
    finally:  # interrupted, too: what has been read is not read again
        if decoded > len(bad):
            _write_kept(kept, stamps, rows, told)
    return AudioOfSet(rows, bad, told, alone, len(missing))


class _Stamps(NamedTuple):
    """What some utterances are known by (0 where the file is not there), their files, and which begin with theirs."""

    stamps: UInt64[np.ndarray, " utterances"]
    files: UInt64[np.ndarray, " utterances"]
    begins: Bool[np.ndarray, " utterances"]


def _stamps(manifest: Manifest) -> tuple[UInt64[np.ndarray, " utterances"], Bool[np.ndarray, " utterances"]]:
    """What each utterance is known by, and whether it begins with its file and has that for itself."""
    pieces = list(manifest.map(partial(_stamps_of, manifest), what="looking for its audio files"))
    stamps, files, begins = (np.concatenate(column) for column in zip(*pieces, strict=True))
    _, number, counts = np.unique(files, return_inverse=True, return_counts=True)
    return stamps, begins & (counts[number] == 1)


def _stamps_of(manifest: Manifest, first: int, utterances: Iterator[Utterance]) -> _Stamps:
    rows = []
    for index, utterance in enumerate(utterances, first):
        folder = manifest.folder(index)
        path = folder / utterance.audio if utterance.member is None else locate(utterance.audio, folder)
        rows.append((_stamp(path, utterance), _hash(f"{path}:{utterance.offset or 0}"), utterance.start_s == 0))
    stamps, files, begins = zip(*rows, strict=True)
    return _Stamps(np.array(stamps, np.uint64), np.array(files, np.uint64), np.array(begins, dtype=bool))


def _stamp(path: Path | str, utterance: Utterance) -> int:
    """What an utterance is known by; 0 where that may change unseen."""
    part = (utterance.start_s, utterance.duration_s, utterance.channel, utterance.offset)
    if isinstance(path, str):  # a server says no time of change: the checksum is what is known
        return _hash(repr((VERSION, utterance.crc32, part))) if utterance.crc32 else 0
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # measuring it says what is wrong
        return 0
    return _hash(repr((VERSION, os.fspath(path), status.st_size, status.st_mtime_ns, part)))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest(), "little")


_KEPT = np.dtype([("stamp", np.uint64), *((name, MEASURES[name]) for name in MEASURES.names or ())])


def _read_kept(path: Path) -> tuple[np.ndarray, dict[str, list[str]]]:
    """The kept measures, sorted by their stamps, and the notes by stamp; none where the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            rows, notes = file["rows"], json.loads(file["notes"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return np.zeros(0, _KEPT), {}
    return (rows, notes) if rows.dtype == _KEPT else (np.zeros(0, _KEPT), {})


def _write_kept(path: Path, stamps: np.ndarray, rows: np.ndarray, told: dict[int, tuple[str, ...]]) -> None:
    usable = np.flatnonzero((stamps != 0) & np.isfinite(rows["seconds"]))
    kept = np.zeros(len(usable), _KEPT)
    kept["stamp"] = stamps[usable]
    for name in MEASURES.names or ():
        kept[name] = rows[name][usable]
    notes = json.dumps({str(stamps[index]): texts for index, texts in told.items()}).encode()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, rows=kept[np.argsort(kept["stamp"], kind="stable")], notes=np.frombuffer(notes, np.uint8))


def _measure_task(manifest: Manifest, indices: Int64[np.ndarray, " some"]) -> list[Measured]:
    return [measure_utterance(manifest, index) for index in indices.tolist()]
