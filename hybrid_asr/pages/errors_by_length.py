"""Error rates over the length of utterances: where a model that reads a whole utterance at once begins to fail."""

from collections.abc import Mapping, Sequence

import numpy as np

from hybrid_asr.pages.charts import Chart, Drawing, Series, draw
from hybrid_asr.scoring.intervals import rate_intervals
from hybrid_asr.scoring.scores import Metric, UtteranceScore

GROUPS = 10  # of lengths, at most
LEAST = 10  # utterances in a group


def rates_by_length(named: Mapping[str, Sequence[UtteranceScore]], metric: Metric) -> Drawing | None:
    """The rate of each decoding, by its name, over the number of reference words, with 95 % intervals over utterances.

    Neighboring lengths are put together until a group has a tenth of the utterances, and at least ten; a point lies at
    the mean length of its group. Characters are counted where they are the metric. None without two groups.
    """
    series = [_series(name, rows, metric) for name, rows in named.items()]
    if not any(len(line.x) > 1 for line in series):
        return None
    unit = "word" if metric == "wer" else "character"
    texts = [
        f"{line.name}: "
        + ", ".join(f"{rate:.1f} % at {length:.1f}" for length, rate in zip(line.x, line.y, strict=True))
        for line in series
    ]
    title = f"{metric.upper()} by length of the utterance"
    chart = Chart(title, "%", series, x_name=f"{unit}s in the reference", summary=f"{title}. {'; '.join(texts)}")
    return draw(chart)


def _series(name: str, rows: Sequence[UtteranceScore], metric: Metric) -> Series:
    counts = [row.counts(metric) for row in rows]
    errors = np.array([count.errors for count in counts])[:, None]
    lengths = np.array([count.reference for count in counts])[:, None]
    points = []
    for group in group_lengths(lengths[:, 0]):
        rate, (pair,) = errors[group].sum() / lengths[group].sum(), rate_intervals(errors[group], lengths[group])
        points.append((lengths[group].mean(), rate, *(pair or (rate, rate))))
    x, rates, low, high = np.array(points, dtype=float).reshape(-1, 4).T
    return Series(name, x, 100 * rates, 100 * low, 100 * high, dots=True)


def group_lengths(lengths: np.ndarray) -> list[np.ndarray]:
    """The indices of utterances of neighboring lengths, the shortest first; empty references are left out.

    Utterances of equal length stay together; what is left at the end belongs to the last group.
    """
    wanted = max(LEAST, -(-int((lengths > 0).sum()) // GROUPS))
    groups: list[np.ndarray] = []
    pending = np.zeros(0, dtype=np.int64)
    for length in np.unique(lengths[lengths > 0]):
        pending = np.concatenate([pending, np.flatnonzero(lengths == length)])
        if len(pending) >= wanted:
            groups.append(pending)
            pending = pending[:0]
    if len(pending) and groups:
        groups[-1] = np.concatenate([groups[-1], pending])
    elif len(pending):
        groups.append(pending)
    return groups
