"""The recordings of a folder, by their names and, where a name says nothing, by their first bytes."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hybrid_asr.audio.formats import AudioError, beginning
from hybrid_asr.audio.mpeg import is_mpeg
from hybrid_asr.common.files import A_FOLDER, MISSING, expand_home, read_problem, why_missing

# What libsndfile or ffmpeg reads; containers of films are among them, since a recorder may write one for sound alone.
_SNDFILE = "wav wave bwf rf64 w64 flac ogg oga opus mp3 mp2 aif aiff aifc au snd caf sph nist wv1 wv2 voc ircam sf avr"
_FFMPEG = "m4a m4b aac adts wma asf amr awb mka webm weba spx wv ape tta tak mpc ac3 eac3 dts mpga gsm 3ga ra rm"
_FILMS = "mp4 m4v mov mkv avi wmv flv 3gp 3g2 ogv mpg mpeg mts m2ts"
AUDIO_SUFFIXES = frozenset(f".{name}" for names in (_SNDFILE, _FFMPEG, _FILMS) for name in names.split())
_OF_SYSTEMS = {"thumbs.db", "desktop.ini", "__macosx"}  # what systems leave in folders, as hidden files elsewhere
_BEGINNINGS = (b"fLaC", b"OggS", b"NIST_1A", b"ID3", b".snd", b"caff", b"#!AMR", b"riff", b"wvpk", b"MAC ", b"TTA1")
_EBML, _ASF = b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11"
_FORMS = {b"RIFF": (b"WAVE", b"AVI "), b"RIFX": (b"WAVE",), b"RF64": (b"WAVE",), b"FORM": (b"AIFF", b"AIFC", b"8SVX")}


class FolderContent(NamedTuple):
    """What a folder holds: recordings in their order, other files counted by suffix, folders that cannot be read."""

    recordings: list[Path]
    others: Counter[str]
    unreadable: list[AudioError]

    def passed_over(self) -> str:
        """What is passed over, for people: `3 files that are no audio by their name (.txt 2, .json 1)`; or nothing."""
        count = self.others.total()
        if not count:
            return ""
        kinds = ", ".join(f"{suffix} {number}" for suffix, number in self.others.most_common(5))
        more = len(self.others) - 5
        files = "1 file that is" if count == 1 else f"{count} files that are"
        return f"{files} no audio by {'its' if count == 1 else 'their'} name ({kinds}{f', {more} more' * (more > 0)})"


def recordings_in(folder: Path) -> FolderContent:
    """Look through a folder and all below it, symbolic links followed; one that leads back up is not entered again.

    Hidden files and folders (`.DS_Store`, `._a.wav`) and what systems leave (`Thumbs.db`) are no content.
    """
    content = FolderContent([], Counter(), [])
    for path in _files(folder, (), content.unreadable):
        suffix = path.suffix.lower()
        if suffix in AUDIO_SUFFIXES or (not suffix and _begins_as_audio(path)):
            content.recordings.append(path)
        else:
            content.others[suffix or "without a suffix"] += 1
    content.recordings.sort()
    return content


def _files(folder: Path, above: Sequence[tuple[int, int]], unreadable: list[AudioError]) -> Iterator[Path]:
    """All that is no folder; `above` are the folders on the way here, by device and inode."""
    try:
        status = folder.stat()
        entries = list(os.scandir(folder))
    except OSError as error:
        unreadable.append(AudioError(f"{folder}: cannot be read: {error.strerror}; check its permissions"))
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in _OF_SYSTEMS:
            continue
        path = folder / entry.name
        if _is_folder(entry):
            yield from _files(path, (*above, here), unreadable)
        else:
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle: reading it will say so
        return False


def _begins_as_audio(path: Path) -> bool:
    """Whether a file without a suffix holds audio by its first bytes; text, programs and archives do not."""
    if read_problem(path):
        return False
    head = beginning(path)
    return (
        head.startswith((*_BEGINNINGS, _EBML, _ASF))
        or head[8:12] in _FORMS.get(head[:4], ())
        or head[4:8] == b"ftyp"
        or is_mpeg(head, path)
    )


def find_recordings(
    paths: Iterable[str | Path], *, refuse: Callable[[Path, AudioError], None], tell: Callable[[str], None]
) -> list[Path]:
    """Files as they are named, folders as their recordings, by name; `~` is the home folder.

    `refuse` gets each path that is not there, cannot be read, or is a folder without recordings; `tell` what is passed
    over in a folder.
    """
    files: list[Path] = []
    for given in paths:
        path = expand_home(given)
        problem = read_problem(path)
        if not str(given).strip():
            refuse(path, AudioError("an empty name was given: name audio files or folders; is a variable empty?"))
        elif problem == A_FOLDER:
            files += _recordings(path, refuse, tell)
        elif problem == MISSING:
            refuse(path, AudioError(f"{path}: no such file or folder; {why_missing(path)}"))
        elif problem:
            refuse(path, AudioError(f"{path}: {problem}; name a sound file, or check the path and its permissions"))
        else:
            files.append(path)
    return files


def _recordings(
    folder: Path, refuse: Callable[[Path, AudioError], None], tell: Callable[[str], None]
) -> Sequence[Path]:
    content = recordings_in(folder)
    for error in content.unreadable:
        refuse(folder, error)
    passed_over = content.passed_over()
    if content.recordings and passed_over:
        tell(f"passed over in {folder}: {passed_over}")
    elif not content.recordings and not content.unreadable:
        held = f"it holds {passed_over}" if passed_over else "it is empty, or holds hidden files alone"
        refuse(folder, AudioError(f"{folder}: no audio files in this folder: {held}; name a folder with recordings"))
    return content.recordings
