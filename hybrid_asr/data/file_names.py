"""Files whose names are spelled otherwise than a table spells them: in capitals, or in another form of Unicode.

File systems of macOS and Windows find them all the same: there `Clip.WAV` is `clip.wav`, and an accent may be a
character of its own (NFD) or not (NFC).
"""

import functools
import os
import unicodedata
from collections.abc import Mapping
from pathlib import Path


def spelled_otherwise(path: Path) -> Path | None:
    """The only file or folder that `path` may mean, where its parts are compared without case and form; else None."""
    there = next((folder for folder in path.parents if os.path.isdir(folder)), None)
    if there is None:
        return None
    found = there
    for part in path.relative_to(there).parts:
        if part == ".." or os.path.lexists(found / part):
            found = found / part
            continue
        names = _names(found, _changed(found)).get(_plain(part), ())
        if len(names) != 1:
            return None
        found = found / names[0]
    return found


def how_otherwise(written: Path, found: Path) -> str:
    """What differs between two names."""
    forms = (unicodedata.normalize("NFC", str(path)) for path in (written, found))
    return "whose accents are other characters of Unicode" if len({*forms}) == 1 else "in other capitals"


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _changed(folder: Path) -> int | None:
    """When a folder was last changed, None for one that cannot be read."""
    try:
        return os.stat(folder).st_mtime_ns
    except (OSError, ValueError):
        return None


@functools.lru_cache(maxsize=16)
def _names(folder: Path, changed: int | None) -> Mapping[str, tuple[str, ...]]:
    """The names in a folder by their plain form; a table may lack thousands of files of one folder."""
    names: dict[str, tuple[str, ...]] = {}
    try:
        listed = [] if changed is None else os.listdir(folder)
    except OSError:
        listed = []
    for name in listed:
        names[_plain(name)] = (*names.get(_plain(name), ()), name)
    return names
