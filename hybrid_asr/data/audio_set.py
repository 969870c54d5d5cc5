"""All audio of a set, measured by several processes, and kept: a second time only files that have changed are read."""

import hashlib
import json
import multiprocessing
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import atomic_path
from hybrid_asr.data.audio_check import MEASURES, MEASURES_READ, Measured, measure_utterance
from hybrid_asr.data.manifest import Manifest

VERSION = 1  # of the measures: those of another version are measured anew
_TASK = 32  # utterances that a process is given at once


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


def measure_set(
    manifest: Manifest, kept: Path, *, jobs: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> AudioOfSet:
    """Measure all utterances on `jobs` processes; `kept` is the file of what is known of them, read and written.

    An utterance is known by its audio file's path, size and time of change, and by its own times and channel.
    `progress` is told how many are done of all that must be read.
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
    for done, (index, measured) in enumerate(_measure(manifest, missing, jobs), 1):
        if measured.row is None:
            bad[index] = measured
        else:
            rows[index] = measured.row
            if measured.told:
                told[index] = measured.told
        progress(done, len(missing))
    if len(missing) > len(bad):
        _write_kept(kept, stamps, rows, told)
    return AudioOfSet(rows, bad, told, alone, len(missing))


def _stamps(manifest: Manifest) -> tuple[UInt64[np.ndarray, " utterances"], np.ndarray]:
    """What each utterance is known by (0 where its file is not there), and whether it has its file for itself."""
    stamps, files = np.zeros(len(manifest), np.uint64), np.zeros(len(manifest), np.uint64)
    begins = np.zeros(len(manifest), dtype=bool)
    for index, utterance in enumerate(manifest):
        path = manifest.path.parent / utterance.audio
        files[index], begins[index] = _hash(os.fspath(path)), utterance.start_s == 0
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # measuring it says what is wrong
            continue
        what = (VERSION, path, status.st_size, status.st_mtime_ns, utterance.start_s, utterance.duration_s)
        stamps[index] = _hash(f"{what}/{utterance.channel}")
    _, number, counts = np.unique(files, return_inverse=True, return_counts=True)
    return stamps, begins & (counts[number] == 1)


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


def _measure(manifest: Manifest, indices: Int64[np.ndarray, " some"], jobs: int) -> Iterator[tuple[int, Measured]]:
    """Measure utterances, in their order, in this process or on several."""
    tasks = [indices[begin : begin + _TASK] for begin in range(0, len(indices), _TASK)]
    if jobs == 1 or len(tasks) <= 1:
        for index in indices.tolist():
            yield index, measure_utterance(manifest, index)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hybrid_asr.data.audio_set"])
    with ProcessPoolExecutor(min(jobs, len(tasks)), context, _begin_worker, (manifest,)) as pool:
        try:
            for task, results in zip(tasks, pool.map(_measure_task, tasks), strict=True):
                yield from zip(task.tolist(), results, strict=True)
        except BrokenProcessPool as error:
            raise UserError(
                "a process that reads audio was killed, as the system does where memory runs out; give --jobs 1, or "
                "look for a file of many hours"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_worker_manifest: Manifest | None = None


def _begin_worker(manifest: Manifest) -> None:
    global _worker_manifest
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is told by the process that started this one
    _worker_manifest = manifest


def _measure_task(indices: np.ndarray) -> list[Measured]:
    assert _worker_manifest is not None
    return [measure_utterance(_worker_manifest, index) for index in indices.tolist()]
