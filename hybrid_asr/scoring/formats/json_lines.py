"""JSON lines: one object a line, a list of objects, or one of texts by their ids; ours, NeMo's and others'."""

import json
from functools import partial
from typing import Any

from hybrid_asr.common.files import RepeatedKey, unique_keys
from hybrid_asr.scoring.formats.fields import find_fields, is_field
from hybrid_asr.scoring.formats.source import Line, Source, Transcripts

_EXAMPLE = '{"id": "...", "text": "..."}'


def read_json_lines(source: Source) -> Transcripts:
    """The texts in JSON lines; see `fields` for their names. Raises ScoringError for a line that cannot be used."""
    whole = _whole(source)
    if whole is not None and (texts := _texts_by_id(whole)) is not None:
        return source.by_id((1, key, Line(text)) for key, text in texts.items())
    entries = source.each(_listed(source) or source.lines if whole is None else [(1, whole)], partial(_entry, source))
    fields = find_fields(source, (name for _, entry in entries for name in entry))

    def one(number: int, entry: dict[str, Any]) -> tuple[int, str, Line]:
        key, text = _name(source, number, entry, fields.id), _string(source, number, entry, fields.text)
        named = fields.speaker is not None and entry.get(fields.speaker) is not None
        speaker = _name(source, number, entry, fields.speaker) if named and fields.speaker else None
        source.passed_over.update(name for name in entry if name not in fields)
        return number, key, Line(text, speaker)

    return source.by_id(source.each(entries, one))


def _entry(source: Source, number: int, content: Any) -> tuple[int, dict[str, Any]]:
    """The object in a line, or the one that was parsed already."""
    entry = _parsed(source, number, content) if isinstance(content, str) else content
    if not isinstance(entry, dict):
        source.refuse(number, f"is not a JSON object; every line must be like {_EXAMPLE}")
    return number, entry


def _whole(source: Source) -> dict[str, Any] | None:
    """The object that the file is as a whole, of one line or several."""
    text = source.text.strip()
    if not (text.startswith("{") and (len(source.lines) == 1 or source.lines[0][1] == "{")):
        return None
    return _parsed(source, 1, text)


def _texts_by_id(entry: dict[str, Any]) -> dict[str, str] | None:
    """An object whose keys are the ids, with the texts; None for one with the name of a field among them."""
    texts = {key: text for key, text in entry.items() if isinstance(text, str)}
    return texts if texts and texts.keys() == entry.keys() and not any(map(is_field, texts)) else None


def _listed(source: Source) -> list[tuple[int, Any]]:
    """The objects of a file that is one list; their lines are not known, so they are counted."""
    if not source.text.lstrip().startswith("["):
        return []
    entries = _parsed(source, 1, source.text)
    if not isinstance(entries, list) or not entries:
        source.refuse(1, f"is a JSON list without an object; give a list of objects like {_EXAMPLE}")
    return list(enumerate(entries, start=1))


def _parsed(source: Source, number: int, content: str) -> Any:
    try:
        return json.loads(content, object_pairs_hook=unique_keys)
    except (ValueError, RecursionError) as error:
        what = "too many brackets in each other" if isinstance(error, RecursionError) else _json_problem(error)
        source.refuse(number, f"is not JSON: {what}; every line must be one object")


def _json_problem(error: ValueError) -> str:
    if isinstance(error, RepeatedKey):
        return f"the key '{error}' occurs twice"
    return f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else "a number without end"


def _name(source: Source, number: int, entry: dict[str, Any], key: str) -> str:
    """An id or a speaker, which may be a whole number."""
    value = entry.get(key)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _string(source, number, entry, key)


def _string(source: Source, number: int, entry: dict[str, Any], key: str) -> str:
    """The text under `key`."""
    if key not in entry:
        source.refuse(number, f"has no '{key}'; every line must be like {_EXAMPLE}")
    value = entry[key]
    if not isinstance(value, str):
        remedy = 'write "" where nothing is said' if value is None else "put it in quotes"
        source.refuse(number, f"'{key}' is {json.dumps(value)[:40]}, not a text; {remedy}")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        source.refuse(number, f"'{key}' holds half of a surrogate pair; the program that wrote it broke a character")
    return value
