"""Records of Lhotse's manifests, cuts, recordings and supervisions, as utterances: one for each supervision.

The format is described at https://lhotse.readthedocs.io, "Representing a corpus" and "Cuts"; lhotse is not needed.
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from hybrid_asr.data.manifest import Utterance
from hybrid_asr.data.pipe_programs import Source
from hybrid_asr.data.pipes import parse_entry
from hybrid_asr.data.table_checks import (
    BAD_TIMES,
    CUT_S,
    NO_AUDIO,
    NO_TEXT,
    AudioDurations,
    LineError,
    check_characters,
    find_audio,
)

Record = dict[str, Any]
FEATURES_ONLY, AUGMENTED = "features without audio", "audio that is changed on reading"
KNOWN = {
    "cut": {"id", "type", "start", "duration", "channel", "supervisions", "recording"},
    "recording": {"id", "sources", "sampling_rate", "num_samples", "duration", "channel_ids", "transforms"},
    "source": {"type", "channels", "source"},
    "supervision": {
        *("id", "recording_id", "start", "duration", "channel", "channel_id", "text", "language", "speaker")
    },
}
_LONGEST_S = 1e9
_KINDS: dict[str, tuple[type, ...]] = {"text": (str,), "a number": (int, float), "a list": (list,), "a record": (dict,)}


class Part(NamedTuple):
    """A supervision with its recording, its start there in seconds, and its channels there (None: all)."""

    recording: Record
    supervision: Record
    start_s: float
    channels: Any


def supervision_part(supervision: Record, recording: Record) -> Part:
    """A supervision of a set of supervisions: its times are those of the recording. Raises LineError."""
    channels = supervision.get("channel", supervision.get("channel_id", 0))
    return Part(recording, supervision, field(supervision, "start", "a number"), channels)


class LhotseReader:
    """Makes utterances of the records of one folder.

    `passed_over` counts the fields that are not used; `lengths` are recordings whose files last otherwise than stated.
    """

    def __init__(self, folder: Path, durations: AudioDurations) -> None:
        self.passed_over: Counter[str] = Counter()
        self.lengths: dict[str, str] = {}
        self._folder, self._durations = folder, durations

    def cut_parts(self, cut: Record) -> list[Part]:
        """The parts of a cut that have a transcript, with the times of their supervisions. Raises LineError."""
        kind, name = cut.get("type", "MonoCut"), field(cut, "id", "text")
        if kind not in ("MonoCut", "MultiCut", "Cut"):
            raise LineError(f"cut '{name}' is a {kind}; write its audio to a file (lhotse: save_audio)", AUGMENTED)
        self._pass_over("cut", cut)
        if cut.get("recording") is None:
            raise LineError(f"cut '{name}' has no recording; add the recordings to the cuts", FEATURES_ONLY)
        if not cut.get("supervisions"):
            raise LineError(f"cut '{name}' has no supervision, so no transcript; leave it out", NO_TEXT)
        parts = []
        for supervision in field(cut, "supervisions", "a list"):
            start = field(cut, "start", "a number") + field(supervision, "start", "a number")
            channels = supervision.get("channel", supervision.get("channel_id"))
            if channels is None or kind == "MonoCut":
                channels = cut.get("channel", channels)
            parts.append(Part(field(cut, "recording", "a record"), supervision, start, channels))
        return parts

    def utterance(self, part: Part) -> Utterance:
        """The utterance of a part. Raises LineError."""
        recording, supervision = part.recording, part.supervision
        self._pass_over("supervision", supervision)
        self._pass_over("recording", recording)
        name = field(supervision, "id", "text")
        check_characters(value for value in supervision.values() if isinstance(value, str))
        if supervision.get("text") is None:
            raise LineError(f"supervision '{name}' has no text; add what is said, or leave it out", NO_TEXT)
        self.passed_over.update(_transforms(recording))
        path, channel = self._audio(recording, _channel_list(recording, part.channels))
        start = round(part.start_s, 6)
        end = round(start + field(supervision, "duration", "a number"), 6)
        return Utterance(
            id="_".join(name.split()),
            audio=str(path),
            start_s=start,
            duration_s=round(self._durations.of_segment(path, start, end, channel=channel), 6),
            text=field(supervision, "text", "text"),
            speaker=_optional(supervision, "speaker"),
            language=_optional(supervision, "language"),
            channel=channel,
        )

    def _audio(self, recording: Record, wanted: list[int]) -> tuple[Path, int | None]:
        """The file that has the channels `wanted`, counted from 0 over all sources, and the one of it, from 1.

        None where these are all of its channels: their mean.
        """
        sources = [one for one in field(recording, "sources", "a list") if set(_channels(one)) & set(wanted)]
        if len(sources) != 1 or not set(wanted) <= set(_channels(sources[0])):
            where = f"in {len(sources)} files" if len(sources) > 1 else "in no file"
            raise LineError(f"the channels {wanted} of '{recording.get('id')}' are {where}; name one of them", NO_AUDIO)
        self._pass_over("source", sources[0])
        inside = _channels(sources[0])
        source = _source(sources[0])
        path = find_audio(self._folder, source.path)
        self._compare_lengths(recording, self._durations.of_file(path).duration_s)
        if source.rate:
            self.passed_over[f"resampling to {source.rate:g} Hz by a command"] += 1
        if isinstance(source.channel, int):
            return path, source.channel
        if source.channel == "mean" or self._durations.of_file(path).channels == 1:
            return path, None
        if len(wanted) > 1 and set(wanted) != set(inside):
            raise LineError(f"the channels {wanted} are some of {inside}; name one of them, or all", NO_AUDIO)
        if len(wanted) > 1:
            return path, None
        channel = inside.index(wanted[0]) + 1
        return path, channel

    def _compare_lengths(self, recording: Record, seconds: float) -> None:
        stated = recording.get("duration")
        if isinstance(stated, int | float) and abs(stated - seconds) > CUT_S:
            self.lengths[str(recording.get("id"))] = f"'{recording.get('id')}' {stated:g} s, in truth {seconds:.2f} s"

    def _pass_over(self, kind: str, record: Record) -> None:
        used = KNOWN[kind]
        self.passed_over.update(f"{kind}.{name}" for name, value in record.items() if name not in used and value)


def field(record: Any, name: str, kind: str) -> Any:
    """A field that must be there and be of `kind`. Raises LineError."""
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, _KINDS[kind]) or isinstance(value, bool):
        raise LineError(f"'{name}' is {value!r}, it must be {kind}; correct it")
    if isinstance(value, int | float) and not abs(value) < _LONGEST_S:
        raise LineError(f"'{name}' is not a number of seconds; correct it", BAD_TIMES)
    return value


def _optional(record: Record, name: str) -> str | None:
    return field(record, name, "text") or None if record.get(name) is not None else None


def _channels(source: Any) -> list[int]:
    channels = field(source, "channels", "a list")
    if not all(isinstance(channel, int) for channel in channels):
        raise LineError(f"'channels' is {channels}, it must be whole numbers; correct it")
    return channels


def _channel_list(recording: Record, channels: Any) -> list[int]:
    """The channels of a supervision as a list, the first of the recording where it names none."""
    if channels is None:
        return [channel for source in field(recording, "sources", "a list") for channel in _channels(source)]
    return _channels({"channels": channels if isinstance(channels, list) else [channels]})


def _source(source: Record) -> Source:
    """The file of an audio source."""
    kind, what = source.get("type"), field(source, "source", "text")
    match kind:
        case "file":
            return Source(what)
        case "url":
            return parse_entry(what if "://" in what else f"https://{what}")
        case "command":
            return parse_entry(f"{what.strip().removesuffix('|')}|")
        case "shar":
            raise LineError("the audio lies in a Lhotse Shar archive, which is not read; save it to files", NO_AUDIO)
        case _:
            raise LineError(f"a source of type '{kind}' is not read; save the audio to files", NO_AUDIO)


def _transforms(recording: Record) -> list[str]:
    """What Lhotse would do to the audio that is done here anyway: to resample. Raises LineError for other changes."""
    transforms = recording.get("transforms") or []
    names = [str(one.get("name")) if isinstance(one, dict) else str(one) for one in transforms]
    changing = [name for name in names if name != "Resample"]
    if changing:
        what = f"lhotse would change the audio of '{recording.get('id')}' ({', '.join(changing)})"
        raise LineError(
            f"{what}; leave such copies out (training perturbs by itself), or save them to files", AUGMENTED
        )
    return [f"resampling to {recording.get('sampling_rate')} Hz"] if names else []
