"""The page of `hybrid-asr check`: what was found in the sets of a recipe, histograms, the strangest utterances."""

import datetime
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from hybrid_asr import __version__
from hybrid_asr.common.environment import environment
from hybrid_asr.data.audio_set import AudioOfSet
from hybrid_asr.data.findings import Findings, Severity
from hybrid_asr.data.label_counts import LabelCounts
from hybrid_asr.data.strange import FIVE, strangest
from hybrid_asr.pages.audio_clips import BUDGET, AudioClips, Clip
from hybrid_asr.pages.charts import LINES, Chart, Drawing, Series, draw
from hybrid_asr.pages.kit import attempt, render

STRANGEST = 20
_SHOWN_REJECTS = 100
_BINS = 40
_REACH = 4.0
_SEVERITIES: tuple[Severity, ...] = ("refused", "warning", "note")


class DataPage(NamedTuple):
    """What the page is made of; maps have an entry a set, `counts` none where there is no tokenizer."""

    recipe: str
    findings: Findings
    audio: Mapping[str, AudioOfSet]
    counts: Mapping[str, LabelCounts]
    characters: Mapping[str, np.ndarray]
    facts: Mapping[str, str]


class Listed(NamedTuple):
    """One of the strangest utterances, to be looked at and listened to."""

    set: str
    id: str
    text: str
    distance: float
    reasons: Sequence[str]
    clip: Clip


class RejectRow(NamedTuple):
    """An utterance that is better left out, and why."""

    where: str
    kind: str
    reason: str


class SetRow(NamedTuple):
    """A set in numbers; levels are medians in dB below full scale."""

    name: str
    utterances: int
    hours: float
    shortest: float
    longest: float
    speakers: int | None
    level: float
    silent: float


def data_page(page: DataPage) -> str:
    """The page as text. A part that cannot be made is a note."""
    found = page.findings.found
    rejects = page.findings.rejects
    return render(
        "data_page.html",
        recipe=page.recipe,
        refused=page.findings.refused,
        groups=[(severity, [one for one in found if one.severity == severity]) for severity in _SEVERITIES],
        sets=[_set_row(page, name) for name in page.findings.sets],
        charts=attempt(lambda: histograms(page)),
        strange=attempt(lambda: list_strangest(page)),
        rejects=[RejectRow(page.findings.name(one), one.kind, one.reason) for one in rejects[:_SHOWN_REJECTS]],
        rejected=len({(one.set, one.index) for one in rejects}),
        facts=page.facts,
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
        version=__version__,
        maker=environment(),
    )


def _set_row(page: DataPage, name: str) -> SetRow:
    manifest, rows = page.findings.sets[name], page.audio[name].rows
    read = np.isfinite(rows["level"])
    return SetRow(
        name,
        len(manifest),
        float(manifest.durations.sum() / 3600),
        float(manifest.durations.min(initial=np.inf)),
        float(manifest.durations.max(initial=0.0)),
        len(page.counts[name].speakers) if name in page.counts else None,
        float(np.median(rows["level"][read])) if read.any() else float("nan"),
        float(np.median(rows["silent"][read])) if read.any() else float("nan"),
    )


def histograms(page: DataPage) -> list[Drawing]:
    """How durations, labels, labels a second, speaking rates and levels are distributed in each set."""
    sets = list(page.findings.sets)[:LINES]
    durations = {name: page.findings.sets[name].durations for name in sets}
    labels = {name: page.counts[name].labels for name in sets if name in page.counts}
    density = {name: counts / durations[name] for name, counts in labels.items()}
    drawn = [
        histogram("Durations", "s", durations),
        histogram("Labels of an utterance", "labels", labels),
        histogram("Labels a second", "labels a second", density),
        histogram("Speaking rate", "characters a second that is not silent", {n: speaking_rate(page, n) for n in sets}),
        histogram("Level", "dB below full scale", {name: page.audio[name].rows["level"] for name in sets}),
    ]
    return [one for one in drawn if one is not None]


def speaking_rate(page: DataPage, name: str) -> np.ndarray:
    """The characters a second of what is not silent; NaN where audio was not read."""
    spoken = page.findings.sets[name].durations * (1 - page.audio[name].rows["silent"])
    return page.characters[name] / np.maximum(spoken, 1e-3)


def histogram(title: str, unit: str, sets: Mapping[str, np.ndarray]) -> Drawing | None:
    """The share of each set's utterances in bins of equal width, as filled steps; None without a number.

    The first and the last bin hold what is far outside, four times the range of the middle half beyond it, so that one
    outlier does not hide the others.
    """
    finite = {name: values[np.isfinite(values)].astype(float) for name, values in sets.items()}
    finite = {name: values for name, values in finite.items() if len(values)}
    if not finite:
        return None
    every = np.concatenate(list(finite.values()))
    first, third = np.percentile(every, [25, 75])
    reach = _REACH * max(third - first, 1e-6)
    low, high = max(every.min(), first - reach), min(every.max(), third + reach)
    edges = np.linspace(low, max(high, low + 1e-6), _BINS + 1)
    series = []
    for name, values in finite.items():
        share = 100 * np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / len(values)
        x, y = np.repeat(edges, 2)[1:-1], np.repeat(share, 2)
        series.append(Series(name, x, y, low=np.zeros_like(y), high=y))
    middles = ", ".join(f"{name} {np.median(values):.3g}" for name, values in finite.items())
    summary = f"{title}: median {middles}; from {every.min():.3g} to {every.max():.3g}"
    return draw(Chart(title, "% of a set", series, x_name=unit, summary=summary))


def list_strangest(page: DataPage) -> list[Listed]:
    """The strangest utterances of all sets, each beside the others of its own set."""
    ranked = []
    for name, manifest in page.findings.sets.items():
        rows, characters = page.audio[name].rows, page.characters[name]
        values = (characters / manifest.durations, rows["level"], rows["silent"], rows["clipped"], manifest.durations)
        columns = {one.name: np.asarray(row, dtype=float) for one, row in zip(FIVE, values, strict=True)}
        ranked += [(name, one) for one in strangest(columns, STRANGEST)]
    ranked.sort(key=lambda pair: -pair[1].distance)
    listed, left = [], BUDGET
    for name, one in ranked[:STRANGEST]:
        manifest = page.findings.sets[name]
        utterance = manifest[one.index]
        alone = AudioClips(manifest.select(np.array([one.index])), budget=left)
        made = attempt(lambda clips=alone, key=utterance.id: clips.clip(key))
        clip = made if isinstance(made, Clip) else Clip("", made.text)
        left -= len(clip.uri)
        listed.append(Listed(name, utterance.id, utterance.text, one.distance, one.reasons, clip))
    return listed
