"""Where the audio of a table's row lies, as other systems write paths, and the id that a path gives."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from hybrid_asr.data.file_names import how_otherwise, spelled_otherwise
from hybrid_asr.data.table_checks import NO_AUDIO, LineError, first_few, resolved

FOLDERS = ("clips", "wav", "wavs", "audio", "audios")  # beside the tables of Common Voice, LJSpeech and others
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".sph", ".aiff", ".webm")
_DRIVE = re.compile(r"([A-Za-z]):[\\/]")


class AudioPaths:
    """Finds the audio files of a table, and counts those that lie elsewhere than the table says."""

    def __init__(self, table: Path, *, root: Path | None = None) -> None:
        """`root` is the folder to which ids are relative, by default that of the table."""
        self._folder = Path(os.path.abspath(table)).parent
        self._folders = list(dict.fromkeys([self._folder, resolved(table).parent]))  # beside a link, and its target
        self._root = self._folder if root is None else Path(os.path.abspath(root))
        self.elsewhere: Counter[str] = Counter()
        """How many files were found where."""

    def find(self, written: str) -> Path:
        """The file, absolute and without links; relative ones lie beside the table. Raises LineError.

        One that is not there is looked for in the usual folders beside the table, and with the usual endings, then with
        other capitals, and with accents in Unicode's other form; if more than one is found, none is chosen. A path that
        leads nowhere is given as it is, and reading it tells.
        """
        _refuse_foreign(written)
        given = [folder / path for path in _as_written(written) for folder in self._folders]
        for path in given:
            if _exists(path):
                return resolved(path)
        likeliest = _as_written(written)[-1]
        found = self._look_around(likeliest) or self._unquoted(likeliest) or self._otherwise(likeliest)
        if len(found) > 1:
            what = f"audio '{written}' may be any of {first_few(list(map(str, found)))}"
            raise LineError(f"{what}; write the path from the table's folder", NO_AUDIO)
        if not found:
            _refuse_drive(written)
            return resolved(given[0])
        ((path, place),) = found.items()
        self.elsewhere[place] += 1
        return path

    def id_of(self, written: str) -> str:
        """The id that a path gives: its parts below the root without the ending, the same however it is written."""
        path = Path(os.path.normpath(_as_written(written)[-1]))
        below = self._folder.relative_to(self._root) if self._folder.is_relative_to(self._root) else Path()
        if not path.is_absolute():
            return _joined(Path(os.path.normpath(below / path)))
        for base in dict.fromkeys([self._root, resolved(self._root), *self._folders]):
            for full in (path, resolved(path)):
                if full.is_relative_to(base):
                    return _joined(full.relative_to(base))
        return _joined(path)

    def _look_around(self, written: str) -> dict[Path, str]:
        """The files that may be meant, each with where it was found."""
        return {resolved(path): place for path, place in self._places(written) if _exists(path)}

    def _unquoted(self, written: str) -> dict[Path, str]:
        """The same where `%20` and the like stand for characters, as in an address."""
        if not re.search("%[0-9A-Fa-f]{2}", written):
            return {}
        return {path: f"{place}, with %20 for a space" for path, place in self._look_around(unquote(written)).items()}

    def _otherwise(self, written: str) -> dict[Path, str]:
        """The same for files whose names differ from what is written in capitals or in the form of Unicode."""
        found = {}
        for path, place in self._places(written):
            near = spelled_otherwise(path)
            if near is not None and _exists(near):
                found[resolved(near)] = f"{place}, by a name {how_otherwise(path, near)}"
        return found

    def _places(self, written: str) -> Iterator[tuple[Path, str]]:
        """Where a file may lie, and that place in words."""
        endings = ("",) if Path(written).suffix.lower() in SUFFIXES else ("", *SUFFIXES)
        for folder in self._folders:
            for beside in ("", *FOLDERS):
                for ending in endings:
                    place = f"in {beside}/ beside the table" if beside else "beside the table"
                    yield folder / beside / f"{written}{ending}", place + (f", with the ending {ending}" * bool(ending))


def _joined(path: Path) -> str:
    """The parts of a path, joined; an ending of a sound file is left out."""
    if re.fullmatch(r"\.([a-zA-Z]\w{1,4}|3gp)", path.suffix):  # not of a name with a point, such as speaker.007
        path = path.with_suffix("")
    return "-".join(part for part in path.parts if part not in (path.anchor, ".", ".."))


def _as_written(written: str) -> list[str]:
    """The paths that this may mean here, the likeliest first: addresses of files, `~`, and backslashes are resolved."""
    address = re.match(r"file:(//(localhost(?=/))?)?(?=.)", written)
    if address:
        return [unquote(written[address.end() :])]
    if written.startswith("~"):
        return [os.path.expanduser(written)]
    drive = _DRIVE.match(written)
    if drive:  # where Linux runs in Windows, drives lie there
        rest = written[3:].replace("\\", "/")
        return [f"/mnt/{drive[1].lower()}/{rest}"]
    return [written, written.replace("\\", "/")] if "\\" in written else [written]


def _refuse_foreign(written: str) -> None:
    scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]+)://", written)
    if scheme and scheme[1].lower() != "file":
        raise LineError(f"audio '{written}' is an address, not a file; download it, and write its path", NO_AUDIO)
    if written.rstrip().endswith("|"):
        raise LineError(f"audio '{written}' is a command, which is not run; write its output to a file", NO_AUDIO)
    if re.match(r"\$\{?\w|\{\w+\}|<\w+>", written) and not os.path.exists(written):
        raise LineError(
            f"audio '{written}' begins with a placeholder; replace it by the folder it stands for", NO_AUDIO
        )


def _refuse_drive(written: str) -> None:
    if _DRIVE.match(written):
        what = f"audio '{written}' is a path of Windows on a drive that is not here"
        raise LineError(f"{what}; write the path from the table's folder, with /", NO_AUDIO)


def _exists(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
