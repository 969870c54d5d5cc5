"""The rows of an epoch: which copies of which utterances, at which speeds, and who is joined with whom.

All is drawn for each utterance from (seed, epoch, its id, its copy) alone. Columns are filled in blocks, so that ten
million utterances need little more memory than the rows themselves.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64

from hybrid_asr.audio.augment import AugmentConfig
from hybrid_asr.data import packing
from hybrid_asr.data.plan import Corpus, Relief, Rows, Source

BLOCK = 1 << 18  # utterances


class Copies(NamedTuple):
    """The utterances of an epoch, each as often as its weight says; every copy has a key, hence draws, of its own."""

    utterances: Int64[np.ndarray, " copies"]
    keys: UInt64[np.ndarray, " copies"]


def count_copies(corpus: Corpus) -> int:
    """The utterances of an epoch, each as often as it is in it; the same in all epochs."""
    if not corpus.sources:
        return len(corpus.durations)
    return sum(source.utterances * math.floor(source.weight) + _chosen_of(source) for source in corpus.sources)


def draw_copies(corpus: Corpus, relief: Relief, *draw_key: int | str) -> Copies:
    """Utterances of weight w: floor(w) times; a share of w - floor(w) of each source, chosen by draw, once more."""
    if all(source.weight == 1 for source in corpus.sources):
        return Copies(np.arange(len(corpus.durations)), corpus.keys)
    drawn = packing.uniform(corpus.keys, *draw_key, "copies") if relief.copies == "drawn" else corpus.durations
    counts, start = np.zeros(len(corpus.durations), np.int64), 0
    for source in corpus.sources:
        some = slice(start, start + source.utterances)
        counts[some] = math.floor(source.weight)
        counts[some][np.argsort(drawn[some], kind="stable")[: _chosen_of(source)]] += 1
        start += source.utterances
    copied = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(copied)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Copies(copied, packing.copy_keys(corpus.keys[copied], number))


def _chosen_of(source: Source) -> int:
    """How many utterances of a source are in an epoch once more than the others."""
    return round(source.utterances * (source.weight - math.floor(source.weight)))


def draw_rows(
    corpus: Corpus, augment: AugmentConfig, relief: Relief, *draw_key: int | str, limit: float, seconds_type: type
) -> tuple[Rows, UInt64[np.ndarray, " rows"]]:
    """The rows of the epoch of `draw_key`, such as (seed, epoch), and the key of each; joined ones last `limit` s."""
    copies, speeds = draw_copies(corpus, relief, *draw_key), np.array(sorted(augment.speeds))
    speed, chosen = np.zeros(len(copies.keys), np.uint8), np.zeros(len(copies.keys), bool)
    for start in range(0, len(speed), BLOCK):
        keys = copies.keys[start : start + BLOCK]
        drawn = (packing.uniform(keys, *draw_key, "speed") * len(speeds)).astype(np.uint8)
        if relief.fastest:
            drawn[packing.uniform(keys, *draw_key, "relief") < relief.fastest] = len(speeds) - 1
        speed[start : start + BLOCK] = drawn
        if share := augment.join_share * relief.joins:
            chosen[start : start + BLOCK] = packing.uniform(keys, *draw_key, "join") < share
    first = second = np.zeros(0, np.int64)
    if chosen.any():
        durations = corpus.durations[copies.utterances]
        first, second = packing.pairs(durations, speeds[speed], copies.keys, chosen, limit, *draw_key, "partner")
    alone = np.ones(len(speed), bool)
    alone[first] = alone[second] = False
    leads = np.concatenate([np.flatnonzero(alone), first])
    rows = Rows(
        first=copies.utterances[leads].astype(np.int32),
        second=np.full(len(leads), -1, np.int32),
        speed=speed[leads],
        seconds=np.zeros(len(leads), seconds_type),
        labels=corpus.labels[copies.utterances[leads]].astype(np.int32),
    )
    singles = len(leads) - len(first)
    rows.second[singles:] = copies.utterances[second]
    rows.labels[singles:] += corpus.labels[rows.second[singles:]].astype(np.int32) + 1
    for start in range(0, len(leads), BLOCK):
        block = slice(start, start + BLOCK)
        joined = np.where(rows.second[block] >= 0, corpus.durations[rows.second[block]], 0.0)
        rows.seconds[block] = (corpus.durations[rows.first[block]] + joined) / speeds[rows.speed[block]]
    return rows, copies.keys[leads]
