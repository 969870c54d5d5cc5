"""Damage to records of JSON, and to tables of columns: well-formed, and yet not what is needed."""

import json
from typing import Any

from .table import JSON, Case, damages

KEYED = ("manifest", "table-json", "lhotse", "hyp-json")  # one object a line


def record(case: Case) -> tuple[int, dict[str, Any]]:
    """A random line of objects, or the one object of the file: the number of its line from 0, and the object."""
    lines = case.lines
    at = case.place(len(lines)) if case.kind in KEYED else 0
    return at, json.loads(lines[at] if case.kind in KEYED else case.text)


def put(case: Case, at: int, text: str) -> None:
    """Put `text` there."""
    if case.kind in KEYED:
        lines = case.lines
        lines[at] = text + "\n"
        case.lines = lines
    else:
        case.text = text


@damages(JSON, unseen=JSON)
def key_missing(case: Case) -> None:
    """One key is missing; some are optional."""
    at, row = record(case)
    del row[case.rng.choice(list(row))]
    put(case, at, json.dumps(row))


@damages(JSON, unseen=("hyp-json", "report"))
def key_unknown(case: Case) -> None:
    """A key that nobody knows; other programs' are passed over in hypotheses."""
    at, row = record(case)
    put(case, at, json.dumps(row | {case.rng.choice(["txet", "", "__class__", "a\nb", "x" * 500]): 1}))


@damages(JSON, unseen=("report",))
def key_repeated(case: Case) -> None:
    """A key stands there twice, with two values."""
    at, row = record(case)
    key = case.rng.choice(list(row))
    put(case, at, json.dumps(row)[:-1] + f', {json.dumps(key)}: "another"}}')


@damages(JSON, unseen=JSON)
def value_of_another_type(case: Case) -> None:
    """A value is a list, an object, null, a truth value, a number or a text; null for an optional one is right."""
    at, row = record(case)
    value = case.rng.choice([None, True, [], [1, 2], {}, {"a": {"b": []}}, 7, -1.5, "", "text", [[[[]]]]])
    row[case.rng.choice(list(row))] = value
    put(case, at, json.dumps(row))


@damages(JSON)
def deep_json(case: Case) -> None:
    """Brackets in brackets, a hundred thousand deep."""
    case_text = '{"id": ' + "[" * 100_000 + "]" * 100_000 + "}"
    put(case, case.place(len(case.lines)), case_text)


@damages(JSON, unseen=("report",))
def half_a_surrogate_pair(case: Case) -> None:
    """A text with half of a surrogate pair, which UTF-8 cannot write."""
    at, row = record(case)
    texts = [key for key, value in row.items() if isinstance(value, str)]
    row[case.rng.choice(texts)] = "a \ud83d b"
    put(case, at, json.dumps(row))


@damages(JSON)
def a_list_of_all(case: Case) -> None:
    """One list of objects in the place of a line an object."""
    objects = [json.loads(line) for line in case.lines] if case.kind in KEYED else [json.loads(case.text)]
    case.text = json.dumps(objects, indent=1)


@damages(("manifest",), unseen=("manifest",))
def path_elsewhere(case: Case) -> None:
    """The audio is a device, the user's secrets, a URL, a command, a path with NUL or of 5,000 characters."""
    at, row = record(case)
    elsewhere = ["/dev/zero", "../../../../etc/passwd", "http://localhost:9/a.wav", f"touch {case.marker} |"]
    elsewhere += ["a\0.wav", "a/" * 2500, ".", "", "concat:a.wav|a.wav", "-i", "a.wav\n"]
    row["audio"] = case.rng.choice(elsewhere)
    put(case, at, json.dumps(row))


@damages(("manifest",))
def times_that_lie(case: Case) -> None:
    """A segment that ends behind its file, begins before it, or is empty."""
    at, row = record(case)
    lies = [{"duration_s": 100.0}, {"start_s": -1.0}, {"start_s": 7.0}, {"duration_s": 0}, {"duration_s": -0.0}]
    lies += [{"start_s": 1e300}, {"duration_s": 1e300}, {"duration_s": 10**400}, {"start_s": True}]
    put(case, at, json.dumps(row | case.rng.choice(lies)))


@damages(("table",), unseen=("table",))
def column_changed(case: Case) -> None:
    """A column is renamed, missing or there twice."""
    head, *rest = case.lines
    names = head.strip().split(",")
    at = case.place(len(names))
    change = case.rng.choice(["", "audoi", "text", "AUDIO", "x" * 200, None])
    names = [*names[:at], *([change] if change is not None else []), *names[at + 1 :]]
    case.lines = [",".join(names) + "\n", *rest]


@damages(("table",), unseen=("table",))
def quotes_that_do_not_end(case: Case) -> None:
    """A quote is opened and never closed, or stands in a field."""
    lines = case.lines
    at = case.place(len(lines))
    lines[at] = lines[at].replace(",", case.rng.choice([',"', ',a"b', '"",']), 1)
    case.lines = lines


@damages(("table", "kaldi"))
def command_for_audio(case: Case) -> None:
    """A command in the place of the audio."""
    command = f"touch {case.marker} |"
    if case.kind == "kaldi":
        case.path = case.folder / "kaldi" / "wav.scp"
        case.text = f"rec {command}\n"
    else:
        case.text = case.text.replace("a.wav", command)


@damages(("kaldi",), unseen=("kaldi",))
def segment_that_lies(case: Case) -> None:
    """Times in the wrong order, behind the end, missing, or no numbers."""
    case.path = case.folder / "kaldi" / "segments"
    times = case.rng.choice(
        ["1 0.5", "0 99", "-1 0.3", "nan nan", "0 inf", "0.1", "a b", "0 1 2", "0 -1", "1e300 2e300"]
    )
    lines = case.lines
    at = case.place(len(lines))
    lines[at] = f"{lines[at].split()[0]} rec {times}\n"
    case.lines = lines
