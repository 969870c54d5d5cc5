"""Checks of the sets before training: problems that would waste a training or spoil its result are counted and named
before the first step.

Three kinds can be refused or only reported, see CheckConfig; an id that is in two sets is always refused.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from pydantic import Field

from hybrid_asr.common.problems import SHOWN
from hybrid_asr.config.schema import config
from hybrid_asr.data.label_counts import CheckError, LabelCounts
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.oddities import Oddity
from hybrid_asr.data.rows import rows_where
from hybrid_asr.text.labels import describe_missing

Policy = Literal["warn", "refuse"]


@config
class CheckConfig:
    """What stops a training.

    A few utterances that CTC cannot align are ordinary in large corpora: they have no CTC loss, are counted and named.
    Many of them mean wrong transcripts, wrong segments, or units too small for the encoder's frame rate, and training
    would quietly be something else: hence "refuse", for more than `infeasible_share` at speed 1. A speaker of a test
    set in training makes the result too good, but some corpora have one speaker only: hence "warn".
    """

    infeasible: Policy = "refuse"
    infeasible_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    characters: Policy = "refuse"
    """Of training transcripts, that the tokenizer lacks (a lexicon: words); in other sets they are only reported."""
    speakers: Policy = "warn"
    same_audio: Policy = "refuse"
    """Training utterances whose audio, sample by sample, is also in another set; looked for by `hybrid-asr check`."""
    useless_share: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The most training utterances without a sound, or of more text than can be said in their time, that `check`
    passes."""


class Infeasible(NamedTuple):
    """The utterances that CTC cannot align at a speed, with what each would need."""

    speed: float
    indices: Int64[np.ndarray, " some"]


class CheckReport(NamedTuple):
    """The result of the checks: a line for each set, then warnings. `infeasible` has an entry for each speed.

    `refused` is what a training is not begun with.
    """

    sets: tuple[str, ...]
    warnings: tuple[str, ...]
    infeasible: tuple[Infeasible, ...]
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def text(self) -> str:
        """All of it, for the terminal."""
        warnings = [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*self.sets, *warnings, *(f"note: {note}" for note in self.notes)])


def check_training(train: Manifest, others: Mapping[str, Manifest], *args: Any, **options: Any) -> CheckReport:
    """What `inspect_training` finds; raises CheckError where the policy refuses, with everything that it refuses."""
    report = inspect_training(train, others, *args, **options)
    if report.refused:
        raise CheckError("\n".join(report.refused))
    return report


def inspect_training(
    train: Manifest,
    others: Mapping[str, Manifest],
    counts: Mapping[str, LabelCounts],
    *,
    least: Float64[np.ndarray, " needs"] | None,
    shortest: float = 0.0,
    speeds: Iterable[float] = (1.0,),
    left_out: int = 0,
    oddities: Iterable[Oddity] = (),
    policy: CheckConfig,
) -> CheckReport:
    """Look for what should stop a training with the set `train` and the `others`, such as "valid" and "test".

    `counts` has the label counts of all of them by name, training's as "train"; `least` is the table of
    `least_seconds`, None for a model without CTC; `shortest` is the shortest audio, in seconds, that fills an encoder
    frame; `oddities` are those of the transcripts. Raises CheckError for a set without utterances.
    """
    sets = {"train": train, **others}
    empty = [name for name, manifest in sets.items() if len(manifest) == 0]
    if empty:
        raise CheckError(
            f"no utterances in: {', '.join(empty)}; look at the manifests, and at data.min_seconds and data.max_seconds"
        )
    problems = _Problems()
    infeasible, speeds = (), tuple(speeds)
    if least is not None:
        infeasible = tuple(_infeasible(train, counts["train"], least, speed) for speed in sorted({1.0, *speeds}))
        _check_ctc_lengths(problems, train, counts["train"], least, infeasible, shortest, policy)
    for name, manifest in sets.items():
        _check_frame_lengths(problems, name, manifest, shortest, speeds if name == "train" else (), policy)
    for name, manifest in sets.items():
        _check_characters(problems, name, manifest, counts[name], policy.characters if name == "train" else "warn")
    for name, other in combinations(sets, 2):
        _check_ids(problems, name, sets[name], other, sets[other])
        if name == "train":
            _check_speakers(problems, other, counts["train"].speakers & counts[other].speakers, policy.speakers)
    oddities = tuple(oddities)
    problems.refused += [oddity.text for oddity in oddities if oddity.refused]
    problems.warnings += [oddity.text for oddity in oddities if oddity.doubtful and not oddity.refused]
    lines = [_describe(name, manifest, counts[name]) for name, manifest in sets.items()]
    if left_out:
        lines[0] += f", {left_out} left out by data.min_seconds and data.max_seconds"
    notes = [oddity.text for oddity in oddities if not oddity.doubtful]
    notes += [note for name, manifest in others.items() for note in _without_reference(name, manifest, counts[name])]
    return CheckReport(tuple(lines), tuple(problems.warnings), infeasible, tuple(notes), tuple(problems.refused))


class _Problems:
    """The messages that only warn, and those that refuse the training."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.refused: list[str] = []

    def add(self, policy: Policy, text: str, remedy: str) -> None:
        """Note a finding."""
        (self.refused if policy == "refuse" else self.warnings).append(f"{text}; {remedy}")


def _infeasible(train: Manifest, counts: LabelCounts, least: np.ndarray, speed: float) -> Infeasible:
    return Infeasible(
        speed, rows_where(len(train), lambda rows: train.durations[rows] / speed < least[counts.needs[rows]])
    )


def _check_ctc_lengths(
    problems: _Problems,
    train: Manifest,
    counts: LabelCounts,
    least: np.ndarray,
    infeasible: tuple[Infeasible, ...],
    shortest: float,
    policy: CheckConfig,
) -> None:
    """Training utterances that are too short for CTC."""
    for speed, indices in infeasible:
        indices = indices[train.durations[indices] / speed >= shortest]  # others: _check_frame_lengths
        if not len(indices):
            continue
        names = [
            f"{train.where(i)} lasts {train.durations[i] / speed:.2f} s, "
            f"its {counts.labels[i]} labels need {least[counts.needs[i]]:.2f} s"
            for i in indices[:SHOWN].tolist()
        ]
        share = len(indices) / len(train)
        refused = policy.infeasible == "refuse" and speed == 1.0 and share > policy.infeasible_share
        problems.add(
            "refuse" if refused else "warn",
            f"{len(indices)} of {len(train)} training utterances ({share:.1%}) "
            f"are too short for CTC at speed {speed:g}: " + "; ".join(names) + (" ..." if len(indices) > SHOWN else ""),
            "correct or remove them, or use larger units, or an encoder with a smaller stride"
            + (
                ", or allow it with data.check.infeasible=warn"
                if refused
                else "; they have no CTC loss and are counted"
            ),
        )


def _check_frame_lengths(
    problems: _Problems,
    name: str,
    manifest: Manifest,
    shortest: float,
    speeds: Iterable[float],
    policy: CheckConfig,
) -> None:
    """Utterances shorter than one encoder frame; those of the training set at its speeds."""
    speed = max([1.0, *speeds])
    indices = rows_where(len(manifest), lambda rows: manifest.durations[rows] / speed < shortest)
    if not len(indices):
        return
    at_speed = f" at speed {speed:g}" if speed != 1.0 else ""
    names = "; ".join(f"{manifest.where(i)} lasts {manifest.durations[i]:.2f} s" for i in indices[:SHOWN].tolist())
    share = (manifest.durations < shortest).mean()
    refused = name == "train" and policy.infeasible == "refuse" and share > policy.infeasible_share
    smaller = "choose an encoder of smaller frames (model.encoder: joins of a pyramid, patch_frames, or another kind)"
    remedy = f"leave them out with data.min_seconds={np.ceil(round(100 * shortest * speed, 6)) / 100:g}, or {smaller}"
    problems.add(
        "refuse" if refused else "warn",
        f"{len(indices)} of {len(manifest)} utterances of {name} are too short for this encoder{at_speed}, of which "
        f"one frame takes {shortest:.2f} s: {names}{' ...' if len(indices) > SHOWN else ''}",
        (remedy + (", or allow it with data.check.infeasible=warn" if refused else "; nothing is learned from them"))
        if name == "train"
        else f"nothing can be recognized in them; remove them, or {smaller}",
    )


def _check_characters(problems: _Problems, name: str, manifest: Manifest, counts: LabelCounts, policy: Policy) -> None:
    """Transcripts with characters (or words) that the tokenizer lacks."""
    if not len(counts.unwritable):
        return
    shown = describe_missing(counts.lacking, counts.writes, shown=SHOWN)
    remedy = "train a tokenizer on this text"
    if counts.writes == "phonemes":
        shown = f"{len(counts.lacking)} {'word' if len(counts.lacking) == 1 else 'words'}: {shown}"
        remedy = "add the words to the lexicon, tokenizer.lexicon"
    where = ", ".join(manifest.where(index) for index in counts.unwritable[:SHOWN].tolist())
    problems.add(
        policy,
        f"the tokenizer lacks {shown}, in {len(counts.unwritable)} transcripts of {name}: {where}",
        f"correct the transcripts, choose other rules with text.rules, or {remedy}"
        + (", or allow it with data.check.characters=warn" if policy == "refuse" else "; they can never be recognized"),
    )


def _without_reference(name: str, manifest: Manifest, counts: LabelCounts) -> list[str]:
    """Transcripts of a set that is only scored of which the rules leave nothing."""
    indices = np.flatnonzero(counts.labels == 0)
    if not len(indices):
        return []
    names = ", ".join(manifest.where(index) for index in indices[:SHOWN].tolist())
    return [
        f"{len(indices)} of {len(manifest)} transcripts of {name} hold no word by text.rules: {names}"
        f"{', ...' if len(indices) > SHOWN else ''}; whatever is recognized there counts as inserted"
    ]


def _check_ids(problems: _Problems, name: str, first: Manifest, other: str, second: Manifest) -> None:
    """Ids that are in both sets."""
    others = np.sort(second.keys)

    def known(rows: slice) -> np.ndarray:
        places = np.searchsorted(others, first.keys[rows])
        return others[np.minimum(places, len(others) - 1)] == first.keys[rows]

    indices = rows_where(len(first), known)
    if len(indices):
        names = ", ".join(f"'{first[index].id}'" for index in indices[:SHOWN].tolist())
        more = " ..." if len(indices) > SHOWN else ""
        problems.add(
            "refuse",
            f"{len(indices)} ids are both in {name} and in {other}: {names}{more}",
            "an utterance belongs to one set only",
        )


def _check_speakers(problems: _Problems, other: str, both: frozenset[str], policy: Policy) -> None:
    """Training speakers that are also in another set."""
    if both:
        names = ", ".join(sorted(both)[:SHOWN]) + (" ..." if len(both) > SHOWN else "")
        problems.add(
            policy,
            f"{len(both)} speakers are both in train and in {other}: {names}",
            f"the error rate of {other} will be too good; give every speaker to one set"
            + (", or allow it with data.check.speakers=warn" if policy == "refuse" else ""),
        )


def _describe(name: str, manifest: Manifest, counts: LabelCounts) -> str:
    durations = manifest.durations
    return (
        f"{name}: {len(manifest)} utterances, {durations.sum() / 3600:.2f} h, "
        f"{durations.min():.1f} to {durations.max():.1f} s, "
        f"{len(counts.speakers)} speakers, {counts.labels.mean():.1f} labels each"
    )
