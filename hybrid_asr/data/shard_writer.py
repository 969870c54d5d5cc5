"""Writes one tar shard: whole or not at all, and the same bytes for the same utterances."""

import hashlib
import io
import json
import os
import tarfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np

from hybrid_asr.audio.cut import cut, describe
from hybrid_asr.audio.embedded import AudioFile, in_memory
from hybrid_asr.audio.formats import AudioError
from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import atomic_path, write_text
from hybrid_asr.data.manifest import Manifest, Utterance

VERSION = 1  # of what a shard of the same utterances holds
_OF_PLACE = {"audio", "offset", "bytes", "crc32"}


class ShardJob(NamedTuple):
    """A shard to be written: its number, and its utterances, each with whether it is cut out of its recording."""

    number: int
    indices: np.ndarray
    cut: np.ndarray


class Packed(NamedTuple):
    """What a shard holds: for each utterance of its job the fields that say where its audio is now.

    `kept` says that an earlier run wrote it.
    """

    fields: list[dict[str, Any]]
    kept: bool


@dataclass(frozen=True)
class ShardWriter:
    """Writes the shards of a manifest: `name-000000.tar`, ... in `folder`, and what each holds in `notes`."""

    manifest: Manifest
    folder: Path
    name: str

    @property
    def notes(self) -> Path:
        """Where a run finds what earlier ones have written."""
        return self.folder / f".{self.name}.pack"

    def shard(self, number: int) -> Path:
        """The path of a shard."""
        return self.folder / f"{self.name}-{number:06d}.tar"

    def __call__(self, job: ShardJob) -> Packed:
        """Write a shard, or keep the one that is there. Raises UserError that names the utterance."""
        shard, utterances = self.shard(job.number), [self.manifest[index] for index in job.indices]
        note, key = self.notes / f"{shard.stem}.json", self._key(job, utterances)
        if (fields := _kept(note, shard, key)) is not None:
            return Packed(fields, True)
        (self.folder / f"{self.name}.jsonl").unlink(missing_ok=True)  # of an earlier packing, whose shards change now
        with atomic_path(shard) as temporary:
            with tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
                fields = self._write(tar, job, utterances, shard.name)
            size = temporary.stat().st_size
        write_text(note, json.dumps({"key": key, "size": size, "fields": fields}) + "\n")
        return Packed(fields, False)

    def _key(self, job: ShardJob, utterances: list[Utterance]) -> str:
        """A digest of all that decides the bytes of a shard; a file is known by its size and its time of change."""
        digest = hashlib.sha256(str(VERSION).encode())
        for index, one, is_cut in zip(job.indices, utterances, job.cut, strict=True):
            state = ()
            if one.member is None:
                status = os.stat(self.manifest.folder(index) / one.audio)
                state = (status.st_size, status.st_mtime_ns)
            digest.update(repr((one, bool(is_cut), state)).encode())
        return digest.hexdigest()

    def _write(
        self, tar: tarfile.TarFile, job: ShardJob, utterances: list[Utterance], shard: str
    ) -> list[dict[str, Any]]:
        rows, whole = list[dict[str, Any]](), dict[tuple[str, int | None], dict[str, Any]]()
        for index, one, is_cut in zip(job.indices, utterances, job.cut, strict=True):
            source = (one.audio, one.offset)
            if not is_cut and source in whole:
                rows.append(whole[source] | {"start_s": one.start_s, "channel": one.channel})
                continue
            member = quote(one.id, safe="").replace(".", "%2E")  # readers of such shards end a name at its first dot
            try:
                file = self.manifest.audio_file(index, one)
                data, place = _cut(file, one) if is_cut else _copied(file, one)
            except AudioError as error:
                raise UserError(f"{self.manifest.where(index)}: {error}") from error
            suffix = ".flac" if is_cut else file.suffix.lower()
            offset = _add(tar, member + suffix, data)
            record = {name: value for name, value in asdict(one).items() if name not in _OF_PLACE and value is not None}
            _add(tar, f"{member}.json", json.dumps(record | place, ensure_ascii=False).encode())
            _add(tar, f"{member}.txt", one.text.encode())
            row = {"audio": shard, "offset": offset, "bytes": len(data), "crc32": f"{zlib.crc32(data):08x}"} | place
            rows.append(row)
            if not is_cut:
                whole[source] = row
        return rows


def _kept(note: Path, shard: Path, key: str) -> list[dict[str, Any]] | None:
    """What an earlier run wrote to a shard, if that is as it was; else None."""
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return known["fields"] if known["key"] == key and shard.stat().st_size == known["size"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cut(file: AudioFile, one: Utterance) -> tuple[bytes, dict[str, Any]]:
    piece = cut(file, start_s=one.start_s, duration_s=one.duration_s, channel=one.channel)
    return piece.data, {"start_s": one.start_s - piece.start_s, "channel": None}


def _copied(file: AudioFile, one: Utterance) -> tuple[bytes, dict[str, Any]]:
    with file.open("rb") as opened:
        data = opened.read()
    describe(in_memory(str(file), data, suffix=file.suffix))  # a format may be known by the name of its file alone
    return data, {"start_s": one.start_s, "channel": one.channel}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file without owner or time; gives the byte at which its content begins."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    offset = tar.offset + len(member.tobuf(tarfile.PAX_FORMAT))
    tar.addfile(member, io.BytesIO(data))
    return offset
