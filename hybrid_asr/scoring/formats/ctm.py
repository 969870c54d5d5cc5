"""ctm: `file channel start duration word [confidence ...]`, the words of recordings with their times.

Alternatives stand between lines whose words are <ALT_BEGIN>, <ALT> and <ALT_END> and whose times are `*`.
"""

import math
from dataclasses import dataclass, field
from functools import partial

from hybrid_asr.scoring.formats.source import Recording, Source, TimedText, TimedTexts
from hybrid_asr.scoring.markup import NOTHING

_BEGIN, _NEXT, _END = "<ALT_BEGIN>", "<ALT>", "<ALT_END>"
_MOST_FIELDS = 8  # confidence, type and speaker behind the word


@dataclass
class _Group:
    """Alternatives that are not closed yet."""

    number: int
    recording: Recording
    first_s: float | None = None
    ways: list[list[str]] = field(default_factory=lambda: [[]])

    def text(self) -> str:
        return "{ " + " / ".join(" ".join(way) or NOTHING for way in self.ways) + " }"


def read_ctm(source: Source) -> TimedTexts:
    """The words in a ctm file. Raises ScoringError for a line that is none, and for alternatives that do not close."""
    texts: list[TimedText] = []
    seen: set[TimedText] = set()  # to find a file that was written twice
    group: _Group | None = None
    for number, recording, middle_s, word in source.each(source.uncommented, partial(_timed_word, source)):
        if group is None and middle_s is not None:
            text = TimedText(recording, middle_s, source.line(number, word).text)
            if text in seen:
                source.refuse(number, f"'{word}' occurs a second time at this time; remove one of them")
            texts.append(text)
            seen.add(text)
        elif group is None and word == _BEGIN:
            group = _Group(number, recording)
        elif group is None or group.recording != recording or (word == _BEGIN and middle_s is None):
            source.refuse(number, f"'{word}' stands outside of alternatives, or in those of another recording")
        elif middle_s is not None:
            group.ways[-1].append(word)
            group.first_s = middle_s if group.first_s is None else group.first_s
        elif word == _NEXT:
            group.ways.append([])
        else:
            if group.first_s is not None:
                texts.append(TimedText(recording, group.first_s, group.text()))
            group = None
    if group is not None:
        source.refuse(group.number, f"{_BEGIN} has no {_END}; add it")
    return TimedTexts(texts, marked=source.marks)


def is_timed_word(content: str) -> bool:
    """Whether a line can be one of ctm."""
    fields = content.split()
    if not 5 <= len(fields) <= _MOST_FIELDS:
        return False
    if fields[2:4] == ["*", "*"]:
        return fields[4].upper() in (_BEGIN, _NEXT, _END)
    times = [_number(time) for time in fields[2:4]]
    confident = len(fields) == 5 or fields[5].upper() == "NA" or _number(fields[5]) is not None
    return confident and all(time is not None and time >= 0 for time in times)


def _timed_word(source: Source, number: int, content: str) -> tuple[int, Recording, float | None, str]:
    """A word and the middle of its time; what delimits alternatives has none, and is in upper case."""
    if not is_timed_word(content):
        what = "is not 'file channel start duration word', as lines of ctm are; correct it"
        source.refuse(number, f"{what}, or give {source.option('format')}")
    file, channel, start, duration, word, *more = content.split()
    if more:
        source.passed_over["confidence"] += 1
    if start == "*":
        return number, Recording(file, channel), None, word.upper()
    return number, Recording(file, channel), float(start) + float(duration) / 2, word


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
