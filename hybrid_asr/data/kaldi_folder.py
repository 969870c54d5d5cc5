"""One Kaldi data folder: its files by their first words, and the utterances that these make together."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hybrid_asr.audio.io import AudioInfo
from hybrid_asr.common.files import MISSING, read_problem
from hybrid_asr.data.manifest import Utterance
from hybrid_asr.data.pipe_programs import Source
from hybrid_asr.data.pipes import ARCHIVE, parse_entry
from hybrid_asr.data.table_checks import (
    BAD_TIMES,
    NO_AUDIO,
    NO_TEXT,
    AudioDurations,
    BadLines,
    LineError,
    Row,
    collect_errors,
    find_audio,
    first_few,
    read_lines,
    resolved,
)

KALDI_FILES = "a Kaldi folder has wav.scp and text, and may have segments and utt2spk"
READ = ("wav.scp", "text", "segments", "utt2spk", "spk2utt", "utt2lang", "reco2file_and_channel")
NO_RECORDING = "a recording that cannot be read"
_NARROW_HZ = 16000  # a command that resamples to less takes away what the usual models hear


class Listing:
    """What follows the first word of each line of a file, by that word; and which of these words were asked for."""

    def __init__(self, problems: BadLines, path: Path, *, optional: bool = False, empty: bool = False) -> None:
        """Read `path`; where `optional`, it may be missing, and where `empty`, nothing need follow the first word."""
        self.path, self.exists = path, not optional or read_problem(path) != MISSING
        self.lines: dict[str, tuple[int, str]] = {}
        self._asked: set[str] = set()
        for line, text in enumerate(read_lines(path, needed_for=KALDI_FILES) if self.exists else [], 1):
            name, *rest = text.split(maxsplit=1)[:2] or ("",)
            if name and not rest and not empty:
                what = f"nothing follows '{name}'; complete the line, or remove it"
                problems.add(path, line, what, id=name, row=text)
            elif name in self.lines:
                what = f"'{name}' is also on line {self.lines[name][0]}; keep one of them"
                problems.add(path, line, what, id=name, row=text)
            elif name:
                self.lines[name] = line, "".join(rest).strip()

    def get(self, name: str) -> str | None:
        """What follows `name`, which counts as asked for."""
        self._asked.add(name)
        return self.lines[name][1] if name in self.lines else None

    def unasked(self) -> list[str]:
        """The words that nobody asked for, in the order of the file."""
        return [name for name in self.lines if name not in self._asked]


class _Recording(NamedTuple):
    """A line of wav.scp: its file, and which channel the line itself chooses."""

    path: Path
    source: Source
    info: AudioInfo


class DataFolder:
    """The utterances of one folder. Every line of its files belongs to one, or is noted as a problem, or is told."""

    def __init__(self, folder: Path, problems: BadLines, durations: AudioDurations) -> None:
        self.folder, self._problems, self._durations = folder, problems, durations
        self._wav_scp = Listing(problems, folder / "wav.scp")
        self._text = Listing(problems, folder / "text", empty=True)
        self._segments = Listing(problems, folder / "segments", optional=True)
        self._speakers = Listing(problems, folder / "utt2spk", optional=True)
        self._languages = Listing(problems, folder / "utt2lang", optional=True)
        self._sides = Listing(problems, folder / "reco2file_and_channel", optional=True)
        self._speaker_of = self._read_speakers()
        self._recordings: dict[str, _Recording | None] = {}
        self._narrowed: list[str] = []
        self._archived: str | None = None

    def rows(self) -> Iterator[Row]:
        """The utterances, in the order of segments or, without it, of wav.scp."""
        source = self._segments if self._segments.exists else self._wav_scp
        for name, (line, rest) in source.lines.items():
            with collect_errors(self._problems, source.path, line, id=name, row=f"{name} {rest}"):
                yield Row(self._utterance(name, rest), None, source.path, line, f"{name} {rest}")
        for name in self._text.unasked():
            what = f"utterance '{name}' is not in {source.path.name}; add it, or remove the line"
            line, rest = self._text.lines[name]
            self._problems.add(self._text.path, line, what, id=name, row=f"{name} {rest}")

    def messages(self) -> list[str]:
        """What of the folder was not used, and what is in doubt, as lines for the terminal; after `rows`."""
        messages = []
        for listing in (self._wav_scp, self._speakers, self._languages, self._sides):
            if names := listing.unasked():
                lines = "line belongs" if len(names) == 1 else "lines belong"
                messages.append(f"note: {listing.path}: {len(names)} {lines} to no utterance: {first_few(names)}")
        known = self._segments if self._segments.exists else self._wav_scp
        if unknown := [name for name in self._speaker_of if not self._speakers.exists and name not in known.lines]:
            utterances = "1 utterance is" if len(unknown) == 1 else f"{len(unknown)} utterances are"
            messages.append(f"note: {self.folder}/spk2utt: {utterances} not in {known.path.name}: {first_few(unknown)}")
        if self._narrowed:
            what = "command lowers" if len(self._narrowed) == 1 else "commands lower"
            what = f"{len(self._narrowed)} {what} the rate below {_NARROW_HZ} Hz, which the file keeps here"
            messages.append(f"warning: {self._wav_scp.path}: {what}: {first_few(self._narrowed)}")
        used = {part for one in self._recordings.values() if one for part in (one.path, *one.path.parents)}
        found = sorted(path for path in self.folder.iterdir() if path.name not in READ and resolved(path) not in used)
        if found:
            names = [path.name + "/" * path.is_dir() for path in found]
            messages.append(f"note: {self.folder}: passed over: {first_few(names)}")
        return messages

    def _utterance(self, name: str, rest: str) -> Utterance:
        text, language = self._text.get(name), self._languages.get(name)
        speaker = self._speaker_of.get(name)
        self._speakers.get(name)
        recording, start, end, channel = _segment(rest) if self._segments.exists else (name, 0.0, None, None)
        found = self._recording(recording)
        if text is None:
            raise LineError(f"utterance '{name}' has no transcript in text; add it, or remove the line", NO_TEXT)
        if self._speaker_of and speaker is None:
            raise LineError(f"utterance '{name}' has no speaker in utt2spk; add it")
        if self._languages.exists and language is None:
            raise LineError(f"utterance '{name}' has no language in utt2lang; add it")
        return Utterance(
            id=name,
            audio=str(found.path),
            start_s=start,
            duration_s=self._durations.of_segment(found.path, start, end),
            text=text,
            speaker=speaker,
            language=language,
            channel=self._channel(recording, found, channel),
        )

    def _read_speakers(self) -> dict[str, str]:
        """The speaker of each utterance by utt2spk, with which spk2utt must agree, or by spk2utt alone."""
        speakers = {name: rest for name, (_, rest) in self._speakers.lines.items()}
        given = dict(speakers)
        spk2utt = Listing(self._problems, self.folder / "spk2utt", optional=True)
        for speaker, (line, rest) in spk2utt.lines.items():
            for name in rest.split():
                known = speakers.setdefault(name, speaker)
                if known != speaker:
                    where = "utt2spk" if name in given else "another line"
                    what = f"utterance '{name}' is of speaker '{speaker}' here, of '{known}' in {where}; correct one"
                    self._problems.add(spk2utt.path, line, what, id=name, row=f"{speaker} {rest}")
        return given if self._speakers.exists else speakers

    def _recording(self, name: str) -> _Recording:
        """A recording by its name; what is wrong with it is noted once, at its line of wav.scp."""
        entry = self._wav_scp.get(name)
        if entry is None:
            raise LineError(f"recording '{name}' is not in wav.scp; add it, or remove the line", NO_RECORDING)
        line = self._wav_scp.lines[name][0]
        if not self._segments.exists:
            self._recordings[name] = self._open(name, entry)
        elif name not in self._recordings:
            self._recordings[name] = None
            with collect_errors(self._problems, self._wav_scp.path, line, id=name, row=f"{name} {entry}"):
                self._recordings[name] = self._open(name, entry)
        found = self._recordings[name]
        if found is None:
            raise LineError(f"recording '{name}' cannot be read, see wav.scp:{line}", NO_RECORDING)
        return found

    def _open(self, name: str, entry: str) -> _Recording:
        source = self._parsed(name, entry)
        try:
            path = find_audio(self.folder, source.path)
            info = self._durations.of_file(path)
            if isinstance(source.channel, int) and source.channel > info.channels:
                raise LineError(f"audio {path} has no channel {source.channel}; correct the line", NO_AUDIO)
        except LineError as error:
            if not entry.endswith("|"):
                raise
            which = f"channel {source.channel} of it" if isinstance(source.channel, int) else "it"
            raise LineError(f"{error} (of '{entry}', {which} would be read)", error.kind) from None
        if source.rate and source.rate < min(info.rate, _NARROW_HZ):
            self._narrowed.append(name)
        return _Recording(path, source, info)

    def _parsed(self, name: str, entry: str) -> Source:
        """What an entry stands for; how to unpack an archive is said once."""
        try:
            return parse_entry(entry)
        except LineError as error:
            first, self._archived = self._archived, self._archived or (name if error.kind == ARCHIVE else None)
            if first is None or error.kind != ARCHIVE:
                raise
            raise LineError(
                f"'{entry}' lies in a Kaldi archive, as '{first}' does; write it to a file", ARCHIVE
            ) from None

    def _channel(self, name: str, recording: _Recording, of_segment: int | None) -> int | None:
        """The channel of a recording, from 1, that its command, its segment or reco2file_and_channel names."""
        side = self._sides.get(name)
        channels = recording.info.channels
        if recording.source.channel == "mean" or (channels == 1 and of_segment is None):
            return None
        if isinstance(recording.source.channel, int):
            return recording.source.channel
        channel = of_segment if of_segment is not None else _side(side) if side is not None else None
        if channel is not None and channel > channels:
            raise LineError(f"audio {recording.path} has no channel {channel}; correct the line", NO_AUDIO)
        return channel


def _segment(text: str) -> tuple[str, float, float | None, int | None]:
    """Recording, start, end and channel; Kaldi writes an end of -1 for the recording's, and counts channels from 0."""
    recording, *times = text.split()
    try:
        start, end = (float(time) for time in times[:2])
        channel = int(times[2]) + 1 if times[2:] else None
    except ValueError:
        raise LineError(f"'{text}' is not RECORDING START END; correct it") from None
    if times[3:] or (channel is not None and channel < 1):
        raise LineError(f"'{text}' is not RECORDING START END, or these and a CHANNEL from 0 on; correct it")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise LineError(f"the times {start} and {end} are no seconds; correct them", BAD_TIMES)
    return recording, start, None if end == -1 else end, channel


def _side(text: str) -> int:
    """The channel of `FILE A`: A is the first, B the second."""
    side = text.split()[-1].upper()
    if len(side) == 1 and "A" <= side <= "H":
        return ord(side) - ord("A") + 1
    if side.isdecimal() and side != "0":
        return int(side)
    raise LineError(f"reco2file_and_channel names the channel '{side}', which is neither A nor B; correct it")
