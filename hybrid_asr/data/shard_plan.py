"""Which utterances lie in which shard: in the manifest's order or shuffled, each shard as large as is allowed."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from hybrid_asr.audio.cut import MARGIN_S, Recording, describe
from hybrid_asr.audio.embedded import bytes_of
from hybrid_asr.data.manifest import Manifest, Utterance

LONGER_S = 2.0  # a recording that is this much longer than an utterance in it is cut
OVERHEAD = 6 * 512  # bytes of tar for an utterance: three headers, and two small files


class Sizes(NamedTuple):
    """For each utterance the most bytes that it takes, whether it is cut, and whether it is a part that cannot be."""

    bytes: Int64[np.ndarray, " utterances"]
    cut: Bool[np.ndarray, " utterances"]
    uncut_parts: Bool[np.ndarray, " utterances"]


def measure(manifest: Manifest, *, cut_segments: bool) -> Sizes:
    """Look at the headers of all audio files. Raises AudioError."""
    work = partial(_sizes_of, manifest, cut_segments)
    pieces = list(manifest.map(work, what="looking at its audio files"))
    return Sizes(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def _sizes_of(manifest: Manifest, cut_segments: bool, first: int, utterances: Iterator[Utterance]) -> Sizes:
    rows, last, known = [], ("", None), (Recording(0.0, 0, 1, False), 0)
    for index, one in enumerate(utterances, first):
        if (one.audio, one.offset) != last:
            file = manifest.audio_file(index, one)
            last, known = (one.audio, one.offset), (describe(file), bytes_of(file))
        recording, size = known
        part = recording.seconds > one.duration_s + LONGER_S
        cut = part and cut_segments and recording.can_be_cut
        channels = 1 if one.channel is not None else recording.channels
        most = round((one.duration_s + 1 + 2 * MARGIN_S) * recording.bytes_a_second * channels) + 16384
        rows.append(((most if cut else size) + len(one.text.encode()) * 3 + OVERHEAD, cut, part and not cut))
    sizes, cuts, parts = zip(*rows, strict=True)
    return Sizes(np.array(sizes, np.int64), np.array(cuts, bool), np.array(parts, bool))


def divide(
    sizes: Int64[np.ndarray, " utterances"], order: Int64[np.ndarray, " utterances"], most: int
) -> list[np.ndarray]:
    """The utterances of each shard, in `order`: as many as take `most` bytes, at least one."""
    shards, filled = list[list[int]]([[]]), 0
    for index in order.tolist():
        if shards[-1] and filled + sizes[index] > most:
            shards.append([])
            filled = 0
        shards[-1].append(index)
        filled += int(sizes[index])
    return [np.array(shard, np.int64) for shard in shards]
