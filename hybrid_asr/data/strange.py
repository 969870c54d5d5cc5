"""The strangest utterances of a set, by how far they are from the others: a robust distance in five measures.

The distance in a measure is that from the set's median, in units of 1.4826 times the median of all such distances
(MAD), which is a standard deviation where the measure is normal; that unit is never less than what a listener would
call a difference. An utterance is as strange as the largest of its five distances.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

_NOTABLE = 3.5  # distances that are named (Iglewicz and Hoaglin, 1993); always the largest one


class Measure(NamedTuple):
    """One of the five: its least unit, how a value reads, and whether distances are those of logarithms."""

    name: str
    least: float
    text: Callable[[float], str]
    logarithm: bool = False


FIVE = (
    Measure("rate", 0.15, lambda value: f"{value:.3g} characters a second", logarithm=True),
    Measure("level", 3.0, lambda value: f"{value:.0f} dBFS"),
    Measure("silence", 0.1, lambda value: f"{value:.0%} silence"),
    Measure("clipping", 0.002, lambda value: f"{value:.2%} of the samples clipped"),
    Measure("length", 0.3, lambda value: f"{value:.2f} s long", logarithm=True),
)


class Strange(NamedTuple):
    """An utterance, its distance, and what is strange about it, beside the median of its set."""

    index: int
    distance: float
    reasons: tuple[str, ...]


def strangest(columns: dict[str, Float64[np.ndarray, " utterances"]], count: int) -> list[Strange]:
    """The `count` strangest of a set, the strangest first; `columns` has the values of FIVE by name.

    An utterance with a value that is not a number, as of audio that cannot be read, is left out.
    """
    usable: Int64[np.ndarray, " some"] = np.flatnonzero(
        np.all([np.isfinite(columns[one.name]) for one in FIVE], axis=0)
    )
    if not len(usable):
        return []
    values = np.stack([columns[one.name][usable] for one in FIVE])
    scaled = np.stack(
        [np.log(np.maximum(row, 1e-3)) if one.logarithm else row for one, row in zip(FIVE, values, strict=True)]
    )
    away = np.abs(scaled - np.median(scaled, axis=1, keepdims=True))
    least = np.array([one.least for one in FIVE])
    distances = away / np.maximum(1.4826 * np.median(away, axis=1), least)[:, None]
    medians, order = np.median(values, axis=1), np.argsort(-distances.max(axis=0), kind="stable")[:count]
    return [
        Strange(
            int(usable[i]),
            float(distances[:, i].max()),
            tuple(
                f"{FIVE[k].text(values[k, i])} (median {FIVE[k].text(medians[k])})"
                for k in np.argsort(-distances[:, i], kind="stable")
                if distances[k, i] >= min(_NOTABLE, distances[:, i].max())
            ),
        )
        for i in order
    ]
