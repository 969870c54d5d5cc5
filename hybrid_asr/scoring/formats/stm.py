"""stm: `file channel speaker begin end <labels> words`, NIST's references of recordings; labels may be missing.

A segment whose words are IGNORE_TIME_SEGMENT_IN_SCORING is not scored: what is recognized there does not count.
"""

import math
import re
from functools import partial

from hybrid_asr.scoring.formats.source import Recording, Segment, Segments, Source

_IGNORED = "ignore_time_segment_in_scoring"
_LABELS = re.compile(r"<[^<>\s]*>")


def read_stm(source: Source) -> Segments:
    """The segments in an stm file. Raises ScoringError for a line that is none or occurs twice, and where no
    segment is scored.
    """
    segments = source.each(source.uncommented, partial(_segment, source))
    numbered = zip((number for number, _ in source.uncommented), segments, strict=True)
    source.by_id((number, segment.id, segment.line) for number, segment in numbered)
    if not any(segment.scored for segment in segments):
        source.refuse(1, "no segment is to be scored; check the file")
    return Segments(segments)


def is_segment(content: str) -> bool:
    """Whether a line can be one of stm."""
    fields = content.split(maxsplit=5)
    return len(fields) >= 5 and _seconds(fields[3]) is not None and _seconds(fields[4]) is not None


def has_labels(content: str) -> bool:
    """Whether a line of stm has the field of labels, which no other format has at this place."""
    fields = content.split(maxsplit=6)
    return len(fields) > 5 and _LABELS.fullmatch(fields[5]) is not None


def _segment(source: Source, number: int, content: str) -> Segment:
    if not is_segment(content):
        source.refuse(number, f"is not 'file channel speaker begin end words', as lines of stm are; {_other(source)}")
    file, channel, speaker, begin, end, *rest = content.split(maxsplit=5)
    begin_s, end_s = float(begin), float(end)
    if end_s < begin_s:
        source.refuse(number, f"the segment ends at {end} s, before it begins at {begin} s; correct its times")
    text = rest[0] if rest else ""
    if has_labels(content):
        text = text.partition(">")[2].strip()
        source.passed_over["labels"] += 1
    scored = text.casefold() != _IGNORED
    line = source.line(number, text if scored else "", speaker)
    return Segment(Recording(file, channel), begin_s, end_s, line, scored, f"{file}-{channel}-{begin}-{end}")


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _other(source: Source) -> str:
    return f"correct it, or give {source.option('format')}"
