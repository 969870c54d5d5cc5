"""Which hypothesis belongs to which reference: by the ids of utterances, or by time where the words have times."""

import itertools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, TypeVar

from hybrid_asr.common.problems import SHOWN, Tell, examples
from hybrid_asr.scoring.formats.source import (
    Content,
    Line,
    Recording,
    Segment,
    Segments,
    TimedText,
    TimedTexts,
    Transcripts,
    joined,
    recording_names,
)
from hybrid_asr.scoring.scores import Scored, ScoringError
from hybrid_asr.scoring.text_report import counted

Ids = Literal["exact", "stem"]
Lines = Mapping[str, Line]
Part = TypeVar("Part", Segment, TimedText)


class Named(NamedTuple):
    """What a file holds, what it is called in messages, and the fields of its lines or rows."""

    name: str
    content: Content
    fields: frozenset[str]


def pair(reference: Named, hypothesis: Named, ids: Ids, tell: Tell) -> list[Scored]:
    """The utterances of both files, in the order of the references.

    Words with times are given to the segments that they fall into. All else is paired by ids: segments that are whole
    recordings, or all segments of a recording in a row, by the name of the recording. Raises ScoringError for what only
    one side has; `tell` is told what does not count.
    """
    if isinstance(reference.content, Segments) and isinstance(hypothesis.content, TimedTexts):
        return _by_time(reference, reference.content.segments, hypothesis, hypothesis.content, tell)
    references = _transcripts(reference, hypothesis.content)
    hypotheses = _without_unscored(
        _transcripts(hypothesis, reference.content), reference.content, hypothesis.name, tell
    )
    if ids == "stem":
        references, hypotheses = _by_stem(references, reference.name), _by_stem(hypotheses, hypothesis.name)
    where = f"{reference.name} without a hypothesis in {hypothesis.name}"
    _refuse_unpaired(references, hypotheses, where, "decode the whole set")
    where = f"{hypothesis.name} without a reference in {reference.name}"
    _refuse_unpaired(hypotheses, references, where, "give the references of this set")
    return [_scored(key, line, hypotheses[key]) for key, line in references.items()]


def _scored(key: str, line: Line, hypothesis: Line) -> Scored:
    return Scored(key, line.text, hypothesis.text, line.speaker, line.marked, hypothesis.marked)


def _transcripts(named: Named, other: Content) -> Lines:
    """The lines of a file by ids that the other file may have."""
    match named.content:
        case Transcripts(lines):
            return lines
        case TimedTexts(texts, marked):
            spoken = _by_recording(texts)
            return {name: _in_a_row(spoken[key], marked) for key, name in recording_names(spoken)}
        case Segments(segments) if isinstance(other, Segments) or _has_id_of(segments, other):
            return {segment.id: segment.line for segment in segments if segment.scored}
        case Segments(segments):
            grouped = _by_recording(segments)
            return {name: _whole(named.name, name, grouped[key]) for key, name in recording_names(grouped)}


def _without_unscored(hypotheses: Lines, references: Content, name: str, tell: Tell) -> Lines:
    """The hypotheses without those of segments that are not scored."""
    segments = references.segments if isinstance(references, Segments) else []
    unscored = {segment.id for segment in segments if not segment.scored}
    kept = {key: line for key, line in hypotheses.items() if key not in unscored}
    if len(kept) < len(hypotheses):
        tell(
            f"note: {len(hypotheses) - len(kept)} of {len(hypotheses)} hypotheses of {name} left out: "
            "of segments that are not scored"
        )
    return kept


def _has_id_of(segments: list[Segment], other: Content) -> bool:
    return isinstance(other, Transcripts) and any(segment.id in other.lines for segment in segments)


def _by_recording(items: Iterable[Part]) -> dict[Recording, list[Part]]:
    grouped: dict[Recording, list[Part]] = {}
    for item in items:
        grouped.setdefault(item.recording, []).append(item)
    return grouped


def _in_a_row(texts: list[TimedText], marked: bool) -> Line:
    """All words of a recording as one text."""
    return Line(joined(text.text for text in sorted(texts, key=lambda text: text.middle_s)), None, marked)


def _whole(file: str, recording: str, segments: list[Segment]) -> Line:
    """All segments of a recording as one text."""
    if not all(segment.scored for segment in segments):
        raise ScoringError(
            f"{file}: recording '{recording}' has segments that are not to be scored, and hypotheses without times "
            "cannot leave them out; give a ctm file"
        )
    ordered = [segment.line for segment in sorted(segments, key=lambda segment: segment.begin_s)]
    speakers = {line.speaker for line in ordered}
    return Line(
        joined(line.text for line in ordered),
        ordered[0].speaker if len(speakers) == 1 else None,
        any(line.marked for line in ordered),
    )


def _by_time(
    reference: Named, segments: list[Segment], hypothesis: Named, words: TimedTexts, tell: Tell
) -> list[Scored]:
    """Each word goes to the first segment of its recording that ends behind its middle, or to the last, as in sclite.

    So words between two segments count for the later one, and where that is not scored they do not count.
    """
    references, spoken = _by_recording(segments), _by_recording(words.texts)
    odd = [" ".join(recording) for recording in spoken if recording not in references]
    silent = [" ".join(recording) for recording in references if recording not in spoken]
    if odd:
        others = f"there are {examples(silent)}" if silent else "all others have words"
        raise ScoringError(
            f"{len(odd)} of {counted(len(spoken), 'recording')} of {hypothesis.name} without a reference in "
            f"{reference.name}: {examples(odd)}; file and channel must be written alike ({others})"
        )
    if silent:
        tell(
            f"warning: {len(silent)} of {counted(len(references), 'recording')} of {reference.name} without a word in "
            f"{hypothesis.name}: {examples(silent)}; all their words count as deletions"
        )
    lines: dict[str, Line] = {}
    unscored = 0
    for recording, own in references.items():
        for segment, inside in _words_of(own, spoken.get(recording, [])):
            lines[segment.id] = _in_a_row(inside, words.marked)
            unscored += 0 if segment.scored else len(inside)
    left_out = sum(not segment.scored for segment in segments)
    if left_out:
        tell(
            f"note: {left_out} of {counted(len(segments), 'segment')} of {reference.name} not scored; "
            f"{counted(unscored, 'word')} of {hypothesis.name} there or just before left out"
        )
    return [_scored(segment.id, segment.line, lines[segment.id]) for segment in segments if segment.scored]


def _words_of(segments: list[Segment], words: list[TimedText]) -> Iterator[tuple[Segment, list[TimedText]]]:
    """The segments of a recording, each with its words."""
    ordered = sorted(segments, key=lambda segment: segment.begin_s)
    ends = list(itertools.accumulate((segment.end_s for segment in ordered), max))
    taken: list[list[TimedText]] = [[] for _ in ordered]
    for word in words:
        taken[min(bisect_right(ends, word.middle_s), len(ordered) - 1)].append(word)
    return zip(ordered, taken, strict=True)


def _by_stem(lines: Lines, name: str) -> Lines:
    """The same lines by their ids without folders and the ending of a file."""
    stems: dict[str, Line] = {}
    for key, line in lines.items():
        if _stem(key) in stems:
            raise ScoringError(f"{name}: without folder and ending two utterances are '{_stem(key)}'; give --ids exact")
        stems[_stem(key)] = line
    return stems


def _stem(key: str) -> str:
    path = PurePosixPath(key.replace("\\", "/"))
    return path.stem if path.suffix[1:].isalnum() and not path.suffix[1:].isdigit() else path.name


def _refuse_unpaired(lines: Lines, others: Lines, where: str, remedy: str) -> None:
    missing = [key for key in lines if key not in others]
    if not missing:
        return
    odd = [key for key in others if key not in lines]
    theirs = f" (the other file has {examples(odd)})" if odd else ""
    raise ScoringError(
        f"{len(missing)} of {len(lines)} utterances of {where}: {examples(missing)}; "
        f"{_cause(missing, odd) or remedy}{theirs}"
    )


def _cause(missing: list[str], others: list[str]) -> str:
    """Why ids that were meant alike are not, with the remedy, or nothing."""
    stems, folded = {_stem(key) for key in others}, {key.casefold() for key in others}
    if any(_stem(key) in stems for key in missing):
        return "some differ in folder or ending alone: give --ids stem"
    if any(key.casefold() in folded for key in missing):
        return "some differ in case alone: write the ids of both files alike"
    for key in missing[:SHOWN]:
        for other in others:
            longer, shorter = (key, other) if len(key) > len(other) else (other, key)
            if len(shorter) > 1 and longer.endswith(shorter):
                return f"'{longer}' is '{shorter}' behind '{longer.removesuffix(shorter)}': write both files' ids alike"
            if len(shorter) > 1 and longer.startswith(shorter):
                return f"'{longer}' is '{shorter}' before '{longer.removeprefix(shorter)}': write both files' ids alike"
    return ""
