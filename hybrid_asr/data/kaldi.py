"""A Kaldi data folder to utterances of train, valid and test.

Audio paths become absolute. All errors of a folder are collected and named by file and line.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from hybrid_asr.common.files import MISSING, read_problem
from hybrid_asr.data.manifest import Utterance
from hybrid_asr.data.prepared import Prepared, ReadingOptions, into_sets
from hybrid_asr.data.splits import is_set_name, set_name
from hybrid_asr.data.table_checks import (
    AudioDurations,
    BadLines,
    LineError,
    Row,
    TableError,
    collect_errors,
    read_lines,
    resolved,
)

KALDI_FILES = "a Kaldi folder has wav.scp and text, and may have segments and utt2spk"


def read_kaldi(folder: Path | str, options: ReadingOptions | None = None) -> Prepared:
    """Read Kaldi's `wav.scp`, `text` and, where they are, `segments` and `utt2spk` from `folder`, or from its
    subfolders train, valid (or dev) and test.

    Paths in wav.scp are relative to where it lies or, as in Kaldi, to the current folder. Sets that are not there are
    held out of train, see `splits.hold_out`. Raises TableError; a wav.scp with commands is refused, they are not run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise TableError(f"{folder}: there is no such folder; {KALDI_FILES}")
    subfolders: dict[Path, str | None] = {folder: None}
    if not (folder / "wav.scp").is_file() and (folder / "train").is_dir():
        found = sorted(path for path in folder.iterdir() if path.is_dir() and is_set_name(path.name))
        subfolders = {path: set_name(path.name) for path in found}
    problems, durations, rows = BadLines(), AudioDurations(), []
    for subfolder, subset in subfolders.items():
        rows += [row._replace(subset=subset) for row in _kaldi_rows(problems, subfolder, durations)]
    return into_sets(problems, rows, folder, options, durations.messages())


def _kaldi_rows(problems: BadLines, folder: Path, durations: AudioDurations) -> Iterator[Row]:
    """The utterances of one folder; every line of each of its files must belong to one."""
    recordings = {name: rest for _, name, rest in _kaldi_lines(problems, folder / "wav.scp")}
    texts = {name: (line, rest) for line, name, rest in _kaldi_lines(problems, folder / "text")}
    has_segments, has_speakers = (os.path.lexists(folder / name) for name in ("segments", "utt2spk"))
    speakers = {name: rest for _, name, rest in _kaldi_lines(problems, folder / "utt2spk")} if has_speakers else {}
    source = folder / ("segments" if has_segments else "wav.scp")
    utterances = set()
    for line, name, rest in _kaldi_lines(BadLines() if source.name == "wav.scp" else problems, source):
        utterances.add(name)
        with collect_errors(problems, source, line):
            recording, start, end = _segment(rest) if has_segments else (name, 0.0, None)
            if recording not in recordings:
                raise LineError(f"recording '{recording}' is not in wav.scp; add it, or remove the line")
            if name not in texts:
                raise LineError(f"utterance '{name}' has no transcript in text; add it, or remove the line")
            if has_speakers and name not in speakers:
                raise LineError(f"utterance '{name}' has no speaker in utt2spk; add it")
            audio = _kaldi_audio(folder, recordings[recording])
            duration_s = durations.of_segment(audio, start, end)
            yield Row(
                Utterance(
                    id=name,
                    audio=str(audio),
                    start_s=start,
                    duration_s=duration_s,
                    text=texts[name][1],
                    speaker=speakers.get(name),
                ),
                None,
                source,
                line,
            )
    for name, (line, _) in texts.items():
        if name not in utterances:
            problems.add(
                folder / "text", line, f"utterance '{name}' is not in {source.name}; add it, or remove the line"
            )


def _kaldi_lines(problems: BadLines, path: Path) -> Iterator[tuple[int, str, str]]:
    """Number, first word and rest of each line; a line without a rest, or with a repeated first word, is an error."""
    seen: dict[str, int] = {}
    for line, text in enumerate(read_lines(path, needed_for=KALDI_FILES), 1):
        if not text.strip():
            continue
        name, *rest = text.split(maxsplit=1)
        if not rest:
            problems.add(path, line, f"nothing follows '{name}'; complete the line, or remove it")
        elif seen.setdefault(name, line) != line:
            problems.add(path, line, f"'{name}' is also on line {seen[name]}; keep one of them")
        else:
            yield line, name, rest[0].strip()


def _segment(text: str) -> tuple[str, float, float | None]:
    """Recording, start and end; Kaldi writes an end of -1 for the end of the recording."""
    recording, *times = text.split()
    try:
        start, end = (float(time) for time in times)
    except ValueError:
        raise LineError(f"'{text}' is not RECORDING START END; correct it") from None
    if not (math.isfinite(start) and math.isfinite(end)):
        raise LineError(f"the times {start} and {end} are no seconds; correct them")
    return recording, start, None if end == -1 else end


def _kaldi_audio(folder: Path, entry: str) -> Path:
    if entry.endswith("|"):
        raise LineError(
            f"wav.scp has a command, which is not run: {entry} Write its output to a file and name that in wav.scp"
        )
    beside = folder / entry
    elsewhere = read_problem(beside) == MISSING and read_problem(entry) is None
    return resolved(Path(entry) if elsewhere else beside)
