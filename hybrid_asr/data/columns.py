"""Which column of a table means what: published spellings are obeyed, the rest is passed over by name, or doubted.

A name counts without case, spaces and punctuation, so that `Audio Filepath` is `audio_filepath`. The spellings are
those of Common Voice, DeepSpeech and Coqui, SpeechBrain, NeMo, WeNet, fairseq, Hugging Face's folders, SpeechIO, FLEURS
and VoxPopuli.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hybrid_asr.config.words import suggest
from hybrid_asr.data.prepared import ReadingOptions
from hybrid_asr.data.splits import is_set_name
from hybrid_asr.data.table_checks import TableError
from hybrid_asr.data.table_records import Table

REQUIRED = ("audio", "text")
SPELLINGS: Mapping[str, str] = {
    "audio": """audio path file wav flac mp3 wave sound clip recording media uri url audio_path audio_file audio_name
        audio_filepath audio_file_path audio_filename audio_file_name audio_url audio_uri file_path file_name wav_path
        wav_file wav_name wav_filename wav_filepath wav_file_path wave_path wave_file sound_file sound_path clip_path
        clip_name recording_path rel_path relative_path""",
    "text": """text txt transcript transcription transcripts transcriptions transcript_text transcribed_text sentence
        wrd words trans trn normalized_text normalised_text normalized_transcript normalized_transcription raw_text
        raw_transcript raw_transcription reference ref ref_text reference_text tgt_text orthography ground_truth
        human_transcript clean_text spoken_text""",
    "speaker": """speaker speaker_id speaker_name spk spk_id spk_name spkr spkr_id client_id talker talker_id reader
        reader_id narrator narrator_id participant participant_id subject subject_id voice voice_id""",
    "start": """start start_time begin begin_time offset onset segment_start seg_start utterance_start utt_start
        audio_start clip_start speech_start time_start t_start start_timestamp""",
    "end": """end end_time stop stop_time finish segment_end seg_end utterance_end utt_end audio_end clip_end speech_end
        time_end t_end end_timestamp""",
    "duration": "duration dur segment_duration utterance_duration utt_duration",
    "set": "set split subset partition fold data_split dataset_split split_name set_name",
    "language": "language lang locale lang_id language_id lang_code language_code source_lang",
    "id": "id utt_id utterance_id utt utterance key segment_id sample_id clip_id audio_id item_id uid uuid",
    "channel": "channel channel_id chan ch side audio_channel channel_number",
}
TIMES = ("start", "end", "duration")
UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0}
UNITS |= {"ms": 0.001, "msec": 0.001, "msecs": 0.001, "millis": 0.001, "milliseconds": 0.001}
OF_A_FILE = """length audio_length audio_duration clip_duration clip_durations file_duration recording_duration
    wav_duration total_duration channels"""

# words of a name that is not known, and what it then looks like
DOUBTFUL = {
    "a time": """start end begin stop finish offset onset time times timestamp timestamps duration durations seconds
        secs sec ms msec anfang beginn ende zeit dauer début debut fin durée duree temps inicio início comienzo final
        duración duracion duração inizio fine durata tempo einde eind duur początek koniec начало конец длительность
        开始 结束 时长 開始 終了""",
    "a set": "split set subset partition fold teilmenge ensemble conjunto",
    "a speaker": """speaker speakers spk spkr talker narrator client user worker person sprecher sprecherin locuteur
        locutrice hablante locutor falante parlante spreker диктор спикер 说话人 話者""",
    "a channel": "channel chan kanal canal canale",
}
OF_A_SET = "test train heldout holdout is in"  # a column of nothing but such words, as `is_test`, tells a set
# such words describe a speaker or count something: `speaker_gender`, `num_speakers`, `created_time`
HARMLESS = """gender sex age accent accents dialect region country native nationality ethnicity education votes count
    size n num number is has created updated uploaded modified agent type sentence device per"""


class Columns(NamedTuple):
    """The column of each meaning that a table has, the seconds in a unit of its times, and what is passed over."""

    index: dict[str, int]
    scale: dict[str, float]
    passed_over: tuple[str, ...]


def find_columns(table: Table, options: ReadingOptions) -> Columns:
    """The columns that are read.

    Raises TableError for two of one meaning, none of a required one, and those that look like something unread.
    """
    where, header = f"{table.path}:{table.header_line}", table.header
    _check_options(where, header, options)
    _check_repeats(where, header)
    meanings = [_meaning(name, options) for name in header]
    index: dict[str, int] = {}
    for column, meaning in enumerate(meanings):
        if meaning is None:
            continue
        if meaning in index and table.column(index[meaning]) != table.column(column):
            first, second = header[index[meaning]], header[column]
            raise TableError(
                f"{where}: the columns '{first}' and '{second}' both mean {meaning}; "
                f"choose one with --columns {meaning}={second}, or rename the other"
            )
        index.setdefault(meaning, column)
    _check_required(where, header, index)
    rest = [column for column, meaning in enumerate(meanings) if meaning is None]
    _check_doubtful(table, index, [column for column in rest if not _named(header[column], options.ignore_columns)])
    scale = {meaning: _unit(header[index[meaning]]) for meaning in TIMES if meaning in index}
    return Columns(index, scale, tuple(header[column] or f"number {column + 1}" for column in rest))


def bare(name: str) -> str:
    """A name without case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name.lower())


def _meaning(name: str, options: ReadingOptions) -> str | None:
    """What a column means, or None: by the options first, then by its spelling."""
    for meaning, chosen in options.columns.items():
        if bare(chosen) == bare(name):
            return meaning
    if _named(name, options.ignore_columns):
        return None
    meaning = known_meaning(name)
    return None if meaning in options.columns else meaning


def _spelled() -> dict[str, str]:
    """The meaning of every spelling, times with all units."""
    known = {}
    for meaning, spellings in SPELLINGS.items():
        for spelling in spellings.split():
            for unit in UNITS if meaning in TIMES else [""]:
                known[bare(spelling) + unit] = meaning
    return known


_KNOWN = _spelled()


def known_meaning(name: str) -> str | None:
    """What a column of this name means, None for an unknown one."""
    return _KNOWN.get(bare(name))


def _unit(name: str) -> float:
    """Seconds in a unit of the times that this column holds."""
    units = [unit for unit in UNITS if unit and bare(name).endswith(unit)]
    return UNITS[max(units, key=len)] if units else 1.0


def _named(name: str, names: Sequence[str]) -> bool:
    return bare(name) in map(bare, names)


def _check_options(where: str, header: Sequence[str], options: ReadingOptions) -> None:
    for option, names in (("--ignore-columns", options.ignore_columns), ("--columns", options.columns.values())):
        for name in names:
            if not _named(name, header):
                raise TableError(f"{where}: {option}: there is no column '{name}'; {suggest(name, header)}")
    for meaning in options.columns:
        if meaning not in SPELLINGS:
            raise TableError(f"--columns {meaning}=...: unknown meaning; {suggest(meaning, SPELLINGS)}")


def _check_repeats(where: str, header: Sequence[str]) -> None:
    for name in header:
        if name and header.count(name) > 1:
            raise TableError(f"{where}: the column '{name}' occurs {header.count(name)} times; remove one")


def _check_required(where: str, header: Sequence[str], index: Mapping[str, int]) -> None:
    for name in REQUIRED:
        if name not in index:
            shown = ", ".join(header)
            raise TableError(
                f"{where}: there is no column '{name}', only {shown}; rename the right one, or name it with "
                f"--columns {name}=NAME"
            )


_NUMBER = re.compile(r"[\d:]*[.,]?\d+")  # of seconds, or with colons between hours, minutes and seconds


def _check_doubtful(table: Table, index: Mapping[str, int], rest: Sequence[int]) -> None:
    """Refuse columns that are not read, but look like something that decides what is trained on."""
    problems, names = [], []
    for column in rest:
        name = table.header[column]
        looks_like = _look(name, table, column, index)
        near = difflib.get_close_matches(bare(name), SPELLINGS, n=1, cutoff=0.8)
        if looks_like:
            problems.append(f"{table.path}:{table.header_line}: the column '{name}' looks like {looks_like}")
        elif near and near[0] not in index and bare(name) not in map(bare, OF_A_FILE.split()):
            problems.append(f"{table.path}:{table.header_line}: unknown column '{name}', did you mean '{near[0]}'?")
        else:
            continue
        names.append(name)
    if problems:
        remedy = f"rename what is meant ({', '.join(SPELLINGS)}), or pass it over with"
        raise TableError("\n".join([*problems, f"{remedy} --ignore-columns {','.join(names)}"]))


def _look(name: str, table: Table, column: int, index: Mapping[str, int]) -> str | None:
    """What a column looks like by its name or by its values, None where it looks harmless."""
    values = set(table.column(column)) - {""}
    open_end = "start" in index and "end" not in index and "duration" not in index
    if bare(name) in map(bare, OF_A_FILE.split()):
        return "a time" if open_end and bare(name) != "channels" else None
    words = re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()
    words = [word for word in re.split(r"[\W_]+", words) if word]
    if set(words) - {"is", "in"} and set(words) <= set(OF_A_SET.split()) and values:
        return "a set"
    if not set(HARMLESS.split()).intersection(words):
        for looks_like, doubtful in DOUBTFUL.items():
            possible = any(_NUMBER.fullmatch(value) for value in values) if looks_like == "a time" else values
            if possible and not set(doubtful.split()).isdisjoint(words):
                return looks_like
    if all(map(is_set_name, values)) and any(len(value) > 2 for value in values):  # tr, tt and cv are languages, too
        return "a set"
    if open_end and _follows(table.column(index["start"]), table.column(column)):
        return "a time"
    return None


def _follows(starts: Sequence[str], values: Sequence[str]) -> bool:
    """Whether every value is a number after the start of its row, as an end is, and more than one differs."""
    try:
        pairs = [(float(start), float(value)) for start, value in zip(starts, values, strict=True) if value]
    except ValueError:
        return False
    return len({value for _, value in pairs}) > 1 and all(start < value for start, value in pairs)
