"""Audio by what is heard: a hash of decoded samples, whatever file holds them, and the utterances that share one."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt64

_STEPS = 32768.0  # of 16 bits: floats, 24 bits and 16 bits of one recording have the same hash


class Place(NamedTuple):
    """An utterance: its set and its number there."""

    set: str
    index: int


def content_hash(samples: Float32[np.ndarray, " samples"], rate: int) -> int:
    """A hash of decoded samples (full scale 1) at their own `rate`: that of a WAV file is that of its FLAC.

    A copy in a lossy format, at another rate or cut otherwise has another hash.
    """
    steps = np.rint(np.clip(samples, -_STEPS, _STEPS) * _STEPS).astype("<i4")
    return int.from_bytes(hashlib.blake2b(steps.tobytes(), digest_size=8, key=str(rate).encode()).digest(), "little")


def same_content(hashes: Mapping[str, UInt64[np.ndarray, " utterances"]]) -> list[tuple[Place, ...]]:
    """The groups of utterances of one content, over all sets; 0 stands for audio that is compared with none."""
    names = list(hashes)
    every = np.concatenate([hashes[name] for name in names])
    number = np.concatenate([np.full(len(hashes[name]), place) for place, name in enumerate(names)])
    within = np.concatenate([np.arange(len(hashes[name])) for name in names])
    order = np.argsort(every, kind="stable")
    ordered = every[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    sizes = np.diff(np.append(starts, len(ordered)))
    shared = (sizes > 1) & (ordered[starts] != 0)
    groups = [
        tuple(Place(names[number[i]], int(within[i])) for i in order[start : start + size])
        for start, size in zip(starts[shared].tolist(), sizes[shared].tolist(), strict=True)
    ]
    return sorted(groups, key=lambda group: (names.index(group[0].set), group[0].index))
