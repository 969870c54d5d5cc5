"""What is a good refusal?  The rules, applied to the message alone.

- It names the file: its path as it was given (of recipes and presets: from the current folder).
- It names the place: of text `FILE:LINE`, or the dotted path of a key and the file; of a sound file seconds, bytes,
  samples or a field of the header; of a checkpoint the record, the key or the weight. A cause that concerns the whole
  file (WHOLE) needs none.
- It names the cause: something remains without path, place and remedy, and it is none of the GENERIC phrases.
- It is one message for people: no name of an exception class, no traceback, no representation of an object, no control
  characters, at most 8 lines of 2,000 characters.
"""

import re
from collections.abc import Iterable

from .table import AUDIO, TORCH, YAML

WHOLE = re.compile(
    "|".join(
        (
            *(r"is empty", r"\(0 bytes\)", "no such", "not a run", "a folder", "not a file", "a symbolic link"),
            *("a named pipe", "a device", "is not audio", "begins with", "format is not known", "no samples"),
            *("no utterance", "there are no", r"\d+ utterances are too few", "raw samples", "without a hypothesis"),
            *("without a reference", r"none of the \d+ references", "expected keys and values", "another preset"),
            *("is compressed by", r"not text in UTF-8 but in UTF-16", "a page of the web"),
            *("not a model", r"\d+ bytes", "header promises", "does not state its length", "truncated"),
        )
    )
)
PLACES = {
    "text": re.compile(r":\d+: "),
    "yaml": re.compile(r":\d+: |^[^()\n]+: .*\([^()]*\)$|(^|: )[a-z_]+(\.[^:\n]+)?: ", re.MULTILINE),
    "audio": re.compile(r"of its beginning|\d[\d,.]* (s|Hz|bytes?|samples?|channels?|bits?|pages?|frames?)\b|byte \d"),
    "torch": re.compile(r"[a-z_]+\.[a-z_.\d]+|'[^']+'|record"),
}
GENERIC = (
    r"\bdamaged, or not a checkpoint(?! \(\w)",
    r"\b(unknown|unspecified|internal|system) error\b",
    r"something went wrong",
    r"invalid (file|data|input)\b(?! found)",
    r"ffmpeg says: nothing",
    r"cannot be read: *$",
    r"\((?-i:None)\)|: (?-i:None)\b",
    r"cannot be decoded$",
)
CLASSES = re.compile(
    r"\b([A-Z][a-z]+)+(Error|Exception|Warning)\b|\b\w+\.\w+Error\b|Traceback|<class |object at 0x|Errno"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029\u202e\ud800-\udfff]")


def family(kind: str) -> str:
    """By which rule a place is named."""
    return "audio" if kind in AUDIO else "torch" if kind in TORCH else "yaml" if kind in YAML else "text"


def faults(kind: str, message: str, names: Iterable[str]) -> list[str]:
    """What is wrong with a refusal; `names` are the ways to name the file, of which it must use one."""
    found = []
    named = [name for name in names if name in message]
    if not named:
        found.append("does not name the file")
    without = message
    for name in sorted(named, key=len, reverse=True):
        without = without.replace(name, "FILE")
    lines = without.split("\n")
    if len(lines) > 8 or max(map(len, lines)) > 2000:
        found.append("is too long")
    if CONTROL.search(without):
        found.append("has control characters or broken ones")
    leak = CLASSES.search(without)
    if leak:
        found.append(f"shows Python's '{leak.group()}'")
    cause = without.split(";")[0]
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"FILE\S*", "", cause))
    if len(words) < 2 or any(re.search(phrase, line, re.IGNORECASE) for phrase in GENERIC for line in (cause, without)):
        found.append("names no cause")
    if not PLACES[family(kind)].search(without.removeprefix("FILE: ")) and not WHOLE.search(without):
        found.append("names no place")
    return found
