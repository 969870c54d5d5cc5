"""What `hybrid-asr check` finds in the sets of a recipe: sentences, and the utterances that are better left out."""

import itertools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float64

from hybrid_asr.common.files import write_text
from hybrid_asr.common.problems import examples
from hybrid_asr.data.audio_check import NO_SOUND
from hybrid_asr.data.audio_set import AudioOfSet
from hybrid_asr.data.check import CheckConfig, Policy
from hybrid_asr.data.content import Place, same_content
from hybrid_asr.data.manifest import Manifest
from hybrid_asr.data.shards import shown

Severity = Literal["refused", "warning", "note"]
CLIPPED = 0.01  # of the samples: from here on it is heard
FASTEST = 40.0  # characters a second: the fastest speakers of any script say some 25
_LONGER_S = 0.1  # that a file may go on behind an utterance that has it for itself


class Finding(NamedTuple):
    """A sentence about a kind of fault: what, which ones, and the remedy; only what is "refused" fails the check."""

    severity: Severity
    kind: str
    text: str


class Reject(NamedTuple):
    """An utterance that nothing is learned from, or that spoils a result; `reason` is a sentence."""

    set: str
    index: int
    kind: str
    reason: str


class Findings:
    """All that is found, in the order in which it was looked for."""

    def __init__(self, sets: Mapping[str, Manifest]):
        self.sets = sets
        self.found: list[Finding] = []
        self.rejects: list[Reject] = []

    def add(self, severity: Severity, kind: str, text: str) -> None:
        """Note a sentence."""
        self.found.append(Finding(severity, kind, text))

    def add_all(self, severity: Severity, kind: str, texts: Iterable[str]) -> None:
        """Note several sentences of a kind."""
        self.found += [Finding(severity, kind, text) for text in texts]

    def reject(self, name: str, index: int, kind: str, reason: str) -> None:
        """Note an utterance of the set `name` that is better left out."""
        self.rejects.append(Reject(name, int(index), kind, reason))

    def name(self, place: Place | Reject) -> str:
        """An utterance in a message."""
        return self.sets[place.set].where(place.index)

    @property
    def refused(self) -> bool:
        """Whether something was found that a training must not begin with."""
        return any(finding.severity == "refused" for finding in self.found)

    def write_rejects(self, path: Path) -> int:
        """Write an object a line for each utterance that is better left out, with all reasons; gives their number.

        Without any, a file of an earlier time is removed.
        """
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        for reject in self.rejects:
            manifest = self.sets[reject.set]
            utterance = manifest[reject.index]
            row = {
                "set": reject.set,
                "file": str(manifest.files[manifest.file_number(reject.index)].path),
                "line": int(manifest.lines[reject.index]),
            }
            row |= {"id": utterance.id, "audio": shown(utterance.audio), "kinds": [], "reasons": []}
            row = rows.setdefault((reject.set, reject.index), row)
            row["kinds"].append(reject.kind)
            row["reasons"].append(reject.reason)
        if rows:
            write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values()))
        else:
            path.unlink(missing_ok=True)
        return len(rows)


def look_at_audio(findings: Findings, audio: Mapping[str, AudioOfSet], *, skip_share: float | None) -> None:
    """Files that cannot be read or do not last as long as their entries, and what is doubtful about others.

    `skip_share` is the share of the training set that may be unreadable, None for none.
    """
    for name, manifest in findings.sets.items():
        of = audio[name]
        for kind, what in (("unreadable", "cannot be read"), ("duration", "end before their entries do")):
            bad = [index for index, measured in of.bad.items() if measured.kind == kind]
            if bad:
                for index in bad:
                    findings.reject(name, index, kind, of.bad[index].error)
                passed = name == "train" and skip_share is not None and len(of.bad) <= skip_share * len(manifest)
                shown = examples([f"{manifest.where(index)}: {of.bad[index].error}" for index in bad], "; ")
                text = f"{_count(len(bad), manifest)} audio files of {name} {what}: {shown}"
                findings.add("warning" if passed else "refused", kind, text)
        _look_at_lengths(findings, name, of)
        if of.told:
            shown = examples([text for texts in of.told.values() for text in texts], "; ")
            findings.add("warning", "doubtful file", f"{_count(len(of.told), manifest)} of {name}: {shown}")


def _look_at_lengths(findings: Findings, name: str, of: AudioOfSet) -> None:
    manifest = findings.sets[name]
    longer = np.flatnonzero(of.alone & (of.rows["file_s"] > manifest.durations + _LONGER_S)).tolist()
    if longer:
        shown = [
            f"{manifest.where(i)} lasts {manifest.durations[i]:.2f} s, its file {of.rows['file_s'][i]:.2f} s"
            for i in longer
        ]
        text = f"{_count(len(longer), manifest)} utterances of {name} leave out the end of a file that no other uses: "
        findings.add("warning", "duration", text + examples(shown, "; ") + "; correct duration_s, or prepare it again")


def look_at_sound(findings: Findings, audio: Mapping[str, AudioOfSet], policy: CheckConfig) -> None:
    """Audio without a sound, and audio that is clipped."""
    for name, manifest in findings.sets.items():
        rows = audio[name].rows
        silent = np.flatnonzero(rows["peak"] < NO_SOUND).tolist()
        reasons = dict.fromkeys(silent, f"no sample is above {NO_SOUND:g} of full scale")
        _useless(findings, name, "silence", "hold no sound", reasons, policy, "record or convert them anew")
        loud = np.flatnonzero(rows["clipped"] > CLIPPED).tolist()
        if loud:
            shown = [f"{manifest.where(index)}: {rows['clipped'][index]:.1%} of its samples" for index in loud]
            text = f"{_count(len(loud), manifest)} utterances of {name} are clipped: {examples(shown, '; ')}"
            findings.add("warning", "clipping", f"{text}; where there is a better source, convert it more quietly")


def look_at_rates(
    findings: Findings, characters: Mapping[str, Float64[np.ndarray, " some"]], policy: CheckConfig
) -> None:
    """Transcripts of more characters than can be said in their time; `characters` has their numbers for each set."""
    for name, manifest in findings.sets.items():
        rates = characters[name] / manifest.durations
        reasons = {
            index: f"{rates[index]:.0f} characters a second: {characters[name][index]:.0f} in "
            f"{manifest.durations[index]:.2f} s"
            for index in np.flatnonzero(rates > FASTEST).tolist()
        }
        what = f"have more text than anybody can say in their time (above {FASTEST:g} characters a second)"
        _useless(findings, name, "rate", what, reasons, policy, "correct the transcripts or the times")


def _useless(
    findings: Findings, name: str, kind: str, what: str, reasons: Mapping[int, str], policy: CheckConfig, remedy: str
) -> None:
    """Utterances that nothing is learned from: refused where they are many in the training set."""
    if not reasons:
        return
    manifest = findings.sets[name]
    for index, reason in reasons.items():
        findings.reject(name, index, kind, reason)
    many = name == "train" and len(reasons) > policy.useless_share * len(manifest)
    shown = examples([f"{manifest.where(index)}: {reason}" for index, reason in reasons.items()], "; ")
    allow = f", leave them out, or allow more with data.check.useless_share (it is {policy.useless_share:g})"
    text = f"{_count(len(reasons), manifest)} utterances of {name} {what}: {shown}; {remedy}{allow if many else ''}"
    findings.add("refused" if many else "warning", kind, text)


def look_for_same_audio(findings: Findings, audio: Mapping[str, AudioOfSet], policy: Policy) -> None:
    """Utterances of one content, in two sets or in one; audio without a sound is compared with none."""
    groups = same_content(
        {name: np.where(of.rows["peak"] < NO_SOUND, np.uint64(0), of.rows["content"]) for name, of in audio.items()}
    )
    pairs: dict[tuple[str, str], list[tuple[Place, Place]]] = {}
    for group in groups:
        firsts = {place.set: place for place in reversed(group)}
        again = [(firsts[place.set], place) for place in group if place != firsts[place.set]]
        for first, second in (*again, *itertools.combinations(reversed(firsts.values()), 2)):
            pairs.setdefault((first.set, second.set), []).append((first, second))
        other = next((place for place in group if place.set != "train"), None)
        for place in group:
            if place.set == "train" and other is not None:
                findings.reject("train", place.index, "same audio", f"the same audio is {findings.name(other)}")
    for (name, other), found in pairs.items():
        _tell_same_audio(findings, name, other, found, policy)


def _tell_same_audio(
    findings: Findings, name: str, other: str, found: Iterable[tuple[Place, Place]], policy: Policy
) -> None:
    shown = [f"{findings.name(first)} is {findings.name(second)}" for first, second in found]
    texts = [[findings.sets[place.set][place.index].text for place in pair] for pair in found]
    other_text = sum(first != second for first, second in texts)
    differ = f" ({other_text} of them with another transcript)" if other_text else ""
    if name == other:
        text = f"{len(shown)} utterances of {name} have the audio of an earlier one{differ}: {examples(shown, '; ')}"
        findings.add("warning", "same audio", f"{text}; they count twice: remove one of each")
        return
    text = f"{len(shown)} utterances of {name} have the audio of one of {other}{differ}: {examples(shown, '; ')}"
    if name != "train":
        findings.add("warning", "same audio", f"{text}; an utterance belongs to one set only")
        return
    allow = ", or allow it with data.check.same_audio=warn" if policy == "refuse" else ""
    remedy = f"the error rate of {other} will be too good; leave them out of {name}{allow}"
    findings.add("refused" if policy == "refuse" else "warning", "same audio", f"{text}; {remedy}")


def _count(count: int, manifest: Manifest) -> str:
    return f"{count} of {len(manifest)}"
