"""Plain text for people: rates, tables, and alignments that line up in any script."""

import unicodedata
from collections.abc import Sequence

from hybrid_asr.scoring.align import Step, Unit, align
from hybrid_asr.scoring.intervals import Interval, Rate
from hybrid_asr.scoring.scores import UNITS, Confusion, Metric, SpeakerScore, UtteranceScore

MARKS = {"equal": "", "substitute": "S", "delete": "D", "insert": "I"}
ABSENT = "*"
TOO_FEW = "too few utterances for an interval"
UNKNOWN_SPEAKERS = (
    "Note: not over speakers, who are unknown or fewer than three: for other speakers the intervals are too narrow"
)


def percent(rate: float) -> str:
    """A fraction in per cent."""
    return f"{100 * rate:.2f} %"


def interval(ci95: Interval) -> str:
    """A 95 % interval in per cent."""
    return f"[{100 * ci95.low:.2f}, {100 * ci95.high:.2f}]"


def rate_line(name: str, rate: Rate, utterances: int, speakers: int) -> str:
    """One rate with its intervals, where there are any, that over speakers first."""
    units = [("speakers", speakers, rate.ci95_speakers), ("utterances", utterances, rate.ci95)]
    found = [f"over {number} {noun} {interval(ci95)}" for noun, number, ci95 in units if ci95]
    return f"{name}  {percent(rate.value)}  {'95 % interval ' + ', '.join(found) if found else TOO_FEW}"


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 word, 2 words."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def speaker_table(speakers: Sequence[SpeakerScore], metric: Metric, *, most: int = 20) -> str:
    """The speakers with the highest rates, the worst first."""
    if not speakers:
        return ""
    unit = UNITS[metric]
    rows = [["speaker", "utterances", f"{unit}s", "errors", metric.upper()]]
    for item in speakers[:most]:
        counts = item.counts(metric)
        rows.append([item.speaker, *map(str, (item.utterances, counts.reference, counts.errors)), percent(counts.rate)])
    title = f"Speakers ({_shown(most, len(speakers))}), the worst first"
    return f"{title}\n{table(rows)}"


def confusion_table(confusions: Sequence[Confusion], *, most: int = 10) -> str:
    """The most frequent errors."""
    if not confusions:
        return ""
    rows = [["in the reference", "written", "times"]]
    rows += [[_visible(item.reference), _visible(item.hypothesis), str(item.count)] for item in confusions[:most]]
    return f"Most frequent errors ({_shown(most, len(confusions))} kinds; {ABSENT} is nothing)\n{table(rows)}"


def alignments(rows: Sequence[UtteranceScore], metric: Metric, *, most: int) -> str:
    """The aligned errors of the utterances that have the most."""
    unit = UNITS[metric]
    wrong = sorted((row for row in rows if row.counts(metric).errors), key=lambda row: -row.counts(metric).errors)
    if not wrong or most < 1:
        return ""
    parts = [f"Utterances with errors ({_shown(most, len(wrong))}), the most errors first"]
    for row in wrong[:most]:
        counts = row.counts(metric)
        speaker = f", speaker {row.speaker}" if row.speaker else ""
        head = f"{row.id}{speaker}: {counted(counts.errors, 'error')} in {counted(counts.reference, unit)}"
        parts.append(f"{head}\n{alignment(align(row.reference, row.hypothesis, unit), unit)}")
    return "\n\n".join(parts)


def alignment(steps: Sequence[Step], unit: Unit) -> str:
    """Three lines: REF, HYP, and S, D or I below each error; `*` where a side has no unit."""
    columns = [_column(step) for step in steps]
    separator = " " if unit == "word" else ""
    lines = [separator.join(column[i] for column in columns) for i in range(3)]
    return "\n".join(f"{name} {line}".rstrip() for name, line in zip(("REF:", "HYP:", "    "), lines, strict=True))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; cells that start with a digit stand to the right."""
    widths = [max(width(cell) for cell in column) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(_padded(*pair) for pair in zip(row, widths, strict=True)).rstrip() for row in rows)


def width(text: str) -> int:
    """The columns that a terminal gives `text`: two for wide East Asian characters, none for marks and joiners."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _column(step: Step) -> list[str]:
    """One column of an alignment, its cells equally wide."""
    mark = MARKS[step.kind]
    size = max(1, width(step.reference), width(step.hypothesis))
    return [(cell + " " * (size - width(cell))) if cell else ABSENT * size for cell in step[1:]] + [mark.ljust(size)]


def _visible(unit: str) -> str:
    """A unit that can be seen, even if it is absent or a space."""
    return "␣" if unit == " " else unit or ABSENT


def _padded(cell: str, size: int) -> str:
    gap = " " * (size - width(cell))
    return gap + cell if cell[:1].isdigit() else cell + gap


def _shown(most: int, number: int) -> str:
    return f"{most} of {number}" if most < number else str(number)
