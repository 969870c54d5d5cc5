"""`hybrid-asr pack`: copies the audio of a manifest into tar shards, and writes the manifest of the same utterances."""

import dataclasses
import re
from pathlib import Path

import numpy as np

from hybrid_asr.common.errors import UserError
from hybrid_asr.common.files import remove_unfinished
from hybrid_asr.common.problems import tell_user
from hybrid_asr.data.manifest import Manifest, write_manifest
from hybrid_asr.data.parallel import map_in_processes
from hybrid_asr.data.shard_plan import Sizes, divide, measure
from hybrid_asr.data.shard_writer import ShardJob, ShardWriter

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def pack(
    path: Path,
    *,
    to: Path,
    shard_size: str = "1G",
    jobs: int | None = None,
    shuffle: int | None = None,
    whole: bool = False,
) -> Path:
    """Write the shards of the manifest at `path`, and a manifest of its name, to the folder `to`; gives its path.

    Shards have at most `shard_size` bytes, hold the utterances in the order of the manifest, or in one drawn by the
    seed `shuffle`, and are written by `jobs` processes. Parts of longer recordings are cut, unless `whole`. The
    manifest is written last; a run that was interrupted is continued behind its last whole shard.
    """
    most, target = _bytes(shard_size), to / f"{path.stem}.jsonl"
    if to.exists() and not to.is_dir():
        raise UserError(f"--to {to}: is a file; name a folder, which is made where there is none")
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs {jobs}: at least one process is needed")
    manifest = Manifest.read(path)
    for note in manifest.notes:
        tell_user(f"warning: {note}")
    writer = ShardWriter(manifest, to, path.stem)
    if target.exists() and (target.samefile(path) or not writer.notes.is_dir()):
        raise UserError(f"{target}: is there and was not written by pack; name another folder with --to")
    to.mkdir(parents=True, exist_ok=True)
    remove_unfinished(to)
    sizes = measure(manifest, cut_segments=not whole)
    _tell_parts(manifest, sizes)
    count = len(manifest)
    order = np.arange(count) if shuffle is None else np.random.default_rng(shuffle).permutation(count)
    shards = [ShardJob(number, some, sizes.cut[some]) for number, some in enumerate(divide(sizes.bytes, order, most))]
    fields: list[dict] = [{}] * count
    kept = 0
    what = f"{to}: writing {len(shards)} shards"
    for job, packed in zip(shards, map_in_processes(writer, shards, what=what, processes=jobs), strict=True):
        kept += packed.kept
        for index, row in zip(job.indices.tolist(), packed.fields, strict=True):
            fields[index] = row
    write_manifest(target, (dataclasses.replace(one, **row) for one, row in zip(manifest, fields, strict=True)))
    _tell_leftovers(writer, len(shards))
    total = sum(writer.shard(number).stat().st_size for number in range(len(shards)))
    earlier = f" ({kept} of them by an earlier run)" if kept else ""
    print(f"{target}: {count} utterances in {len(shards)} shards of {total / 1e6:,.1f} MB{earlier}")
    return target


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)B?", text.strip().upper())
    if not match or float(match[1]) == 0:
        raise UserError(f"--shard-size {text}: write a size such as 500M or 1G")
    return int(float(match[1]) * _UNITS[match[2]])


def _tell_parts(manifest: Manifest, sizes: Sizes) -> None:
    cut, uncut = int(sizes.cut.sum()), np.flatnonzero(sizes.uncut_parts)
    if cut:
        tell_user(f"note: {cut} utterances are parts of longer recordings: each is cut out as a flac, without loss")
    if len(uncut):
        tell_user(
            f"note: {len(uncut)} utterances are parts of longer recordings that are packed whole, such as "
            f"'{manifest[int(uncut[0])].id}': for each of them the whole recording is read; where they are coded with "
            "loss, convert them to flac first"
        )


def _tell_leftovers(writer: ShardWriter, count: int) -> None:
    mine = {writer.shard(number) for number in range(count)}
    for path in sorted(set(writer.folder.glob(f"{writer.name}-[0-9][0-9][0-9][0-9][0-9][0-9].tar")) - mine):
        tell_user(f"warning: {path} is not of this packing, perhaps of an earlier one; remove it")
