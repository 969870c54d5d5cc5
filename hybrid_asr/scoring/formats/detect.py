"""Which format a file has: as an option says, else as it is called, else the only one that its content allows."""

import re
from collections.abc import Iterable
from typing import assert_never

from hybrid_asr.scoring.formats.ctm import is_timed_word, read_ctm
from hybrid_asr.scoring.formats.json_lines import read_json_lines
from hybrid_asr.scoring.formats.kaldi import read_kaldi
from hybrid_asr.scoring.formats.recogs import may_be_recogs, read_recogs
from hybrid_asr.scoring.formats.source import NAMES, SOME, Content, Format, Source
from hybrid_asr.scoring.formats.stm import has_labels, is_segment, read_stm
from hybrid_asr.scoring.formats.tables import may_be_table, read_table
from hybrid_asr.scoring.formats.trn import ends_in_id, read_trn
from hybrid_asr.scoring.scores import ScoringError

_BY_SUFFIX: dict[str, Format] = {
    ".trn": "trn",
    ".stm": "stm",
    ".ctm": "ctm",
    ".json": "jsonl",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
}
_NOT_READ = {  # how files begin that are easily given, what they are
    r"WEBVTT": "subtitles (WebVTT)",
    r"\d+\s*\n\d\d:\d\d:\d\d[,.]\d+ -->": "subtitles (SubRip)",
    r'File type = "ooTextFile"': "one of Praat, such as a TextGrid",
    r"(SPEAKER|SPKR-INFO) \S+ \S+ .*<NA>": "a list of who speaks when (RTTM), without words",
    r"(?i)<(!doctype|html|\?xml)": "a page of the web or XML",
    r"version https://git-lfs": "a pointer of Git LFS, for which 'git lfs pull' gets the file",
}


def read(source: Source) -> Content:
    """What is in a file. Raises ScoringError where its format cannot be told, and for what is damaged."""
    if source.form is None:
        _refuse_others(source)
    source.form = source.form or _by_name(source) or _by_content(source)
    if source.form in ("trn", "stm", "ctm") and not source.uncommented:
        raise ScoringError(f"{source.path}: has comments only; check the file")
    match source.form:
        case "trn":
            return read_trn(source)
        case "stm":
            return read_stm(source)
        case "ctm":
            return read_ctm(source)
        case "kaldi":
            return read_kaldi(source)
        case "jsonl":
            return read_json_lines(source)
        case "csv":
            return read_table(source, ",")
        case "tsv":
            return read_table(source, "\t")
        case "recogs":
            return read_recogs(source)
        case _:
            assert_never(source.form)


def _refuse_others(source: Source) -> None:
    """Raise ScoringError for a file that is known to be something else."""
    for start, what in _NOT_READ.items():
        if re.match(start, source.text.lstrip()):
            raise ScoringError(
                f"{source.path}: this file is {what}; {SOME}, or say how to read it by {source.option('format')}"
            )


def _by_name(source: Source) -> Format | None:
    name = source.path.name.casefold()
    if name == "text":
        return "kaldi"
    return _BY_SUFFIX.get(source.path.suffix.casefold())


def _by_content(source: Source) -> Format:
    first = source.lines[0][1]
    if first.startswith("%WER"):
        source.refuse(1, "is a report of errors, as Kaldi and SpeechBrain write it; give the transcripts themselves")
    if first.startswith(("{", "[")):
        return "jsonl"
    if may_be_recogs(first):
        return "recogs"
    if may_be_table(source, "\t"):
        return "tsv"
    if may_be_table(source, ","):
        return "csv"
    possible = list(_possible(source))
    if len(possible) > 1:
        readings = " or ".join(f"{NAMES[form]} ({_read_so(form, first)})" for form in possible)
        options = " or ".join(f"{source.option('format')} {form}" for form in possible)
        raise ScoringError(f"{source.path}: may be {readings}; say which by {options}")
    return possible[0] if possible else "kaldi"


def _possible(source: Source) -> Iterable[Format]:
    """The formats of lines that all lines have."""
    lines = [content for _, content in source.uncommented]
    ids = [content.split(maxsplit=1)[0] for content in lines]
    closed = [ends_in_id(content) for content in lines]
    segments, words = all(map(is_segment, lines)), all(map(is_timed_word, lines))
    trn = bool(lines) and all(closed)
    if not (segments or words or trn) and 2 * sum(closed) > len(lines):
        number = next(number for (number, _), end in zip(source.uncommented, closed, strict=True) if not end)
        kaldi = f"give {source.option('format')} kaldi if words in parentheses end lines"
        source.refuse(number, f"does not end in '(id)', as most lines of this file do; add it, or {kaldi}")
    if trn:
        yield "trn"
    if segments and lines:
        yield "stm"
    if words and lines:
        yield "ctm"
    certain = (trn and len(lines) > 1) or (segments and all(map(has_labels, lines)))
    if len(set(ids)) == len(ids) and not certain:
        yield "kaldi"


def _read_so(form: Format, line: str) -> str:
    """A line as a format reads it."""
    fields = line.split()
    match form:
        case "stm":
            return f"{fields[0]} from {fields[3]} to {fields[4]} s: '{' '.join(fields[5:])[:40]}'"
        case "ctm":
            return f"{fields[0]} at {fields[2]} s: '{fields[4]}'"
        case "trn":
            return f"{fields[-1]}: '{' '.join(fields[:-1])[:40]}'"
        case _:
            return f"{fields[0]}: '{' '.join(fields[1:])[:40]}'"
