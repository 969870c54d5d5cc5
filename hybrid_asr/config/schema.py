"""`@config` dataclasses and `parse`, which checks a plain tree against one and names every bad key by its path."""

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, dataclass_transform, overload

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from hybrid_asr.common.errors import UserError
from hybrid_asr.config.words import example, hint, hints_below, suggest

T = TypeVar("T")
SHOWN = 7  # bad keys that a message shows; the others are counted


class ConfigError(UserError):
    """A configuration that cannot be used; the message names each bad key by its path, one line a key."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
def config(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that refuses unknown keys, coercion, NaN and infinity when parsed."""
    cls.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # type: ignore[attr-defined]
    return dataclasses.dataclass(frozen=True, kw_only=True)(cls)


def is_config(cls: Any) -> bool:
    """Whether `config` made this class, so that `parse` refuses what it should."""
    return isinstance(cls, type) and dataclasses.is_dataclass(cls) and "__pydantic_config__" in vars(cls)


@overload
def parse(cls: type[T], tree: Any, *, where: str = "", sources: Mapping[str, str] | None = None) -> T: ...
@overload
def parse(cls: Any, tree: Any, *, where: str = "", sources: Mapping[str, str] | None = None) -> Any: ...


def parse(cls: Any, tree: Any, *, where: str = "", sources: Mapping[str, str] | None = None) -> Any:
    """Check the plain `tree` (dicts, lists, scalars) against `cls`, a `@config` class or a union of them, and build it.

    Strict checks go through JSON, where a list may become a tuple, a whole number a float, and nothing else is coerced.
    Raises ConfigError that names every bad key by its path, prefixed with `where`, suggests the nearest right one, and
    ends with the key's entry in `sources` (dotted path -> where it was written, `""` for all others), if there is one.
    """
    try:
        text = json.dumps(tree)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where or 'configuration'}: only text, numbers, lists and keys are allowed here: {error}"
        ) from None
    try:
        return _adapter(cls).validate_json(text)
    except ValidationError as error:
        problems: dict[str, list[str]] = {}
        for problem in error.errors():
            path, message = _describe_problem(cls, problem, where)
            dotted = ".".join(([where] if where else []) + path) or "configuration"
            problems.setdefault(dotted, []).append(message + _source_note(path, sources or {}))
        lines = [
            f"{dotted}: {' or '.join(dict.fromkeys(messages))}"
            for dotted, messages in problems.items()
            if not any(deeper.startswith(f"{dotted}.") for deeper in problems)  # of the alternative that is not meant
        ]
        more = [f"... and {len(lines) - SHOWN} more, {len(lines)} in all"] if len(lines) > SHOWN else []
        raise ConfigError("\n".join(lines[:SHOWN] + more)) from None


@functools.cache
def _adapter(cls: Any) -> TypeAdapter:
    """pydantic's schema of a type, which takes longer to make than to use."""
    return TypeAdapter(cls)


def plain(value: Any) -> Any:
    """Turn a configuration back into dicts, lists and scalars: `parse(type(value), plain(value)) == value`."""
    return json.loads(_adapter(type(value)).dump_json(value, by_alias=True))


def field_types(annotation: Any) -> dict[str, Any]:
    """The fields, with their types, of a `@config` class; of a union, those of all its members."""
    fields: dict[str, Any] = {}
    for member in _members(annotation):
        if dataclasses.is_dataclass(member):
            hints = typing.get_type_hints(member, include_extras=True)
            fields |= {_key(field.name, hints[field.name]): hints[field.name] for field in dataclasses.fields(member)}
    return fields


def _key(name: str, annotation: Any) -> str:
    """A field's key in a file: its alias where it has one, since `from` cannot be a field's name."""
    extras = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is typing.Annotated else ()
    return next((extra.alias for extra in extras if isinstance(extra, FieldInfo) and extra.alias), name)


def all_paths(annotation: Any, above: str = "") -> Iterator[str]:
    """The dotted paths of all sections and settings below a `@config` class; of a union, those of all its members."""
    for key, inner in field_types(annotation).items():
        yield f"{above}{key}"
        yield from all_paths(inner, f"{above}{key}.")


def _members(annotation: Any) -> list[Any]:
    """The alternatives of a union; a plain type is its own only alternative."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _members(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [inner for member in typing.get_args(annotation) for inner in _members(member)]
    return [annotation]


def _kind(member: Any) -> str | None:
    """The tag by which a member of a union is chosen."""
    values = typing.get_args(field_types(member).get("kind"))
    return values[0] if values else None


def _follow_step(annotation: Any, step: str | int) -> tuple[Any, bool]:
    """The type that one step of pydantic's location leads to from `annotation`, and whether the user wrote that step.

    Besides keys and indices, pydantic names the chosen alternative of a union: by its tag, class or type's name.
    """
    members = [member for member in _members(annotation) if member is not type(None)]
    if len(members) > 1:
        chosen = str(step).partition("[")[0]  # of tuple[WeightedManifest, ...]
        return next((m for m in members if chosen in (_kind(m), getattr(m, "__name__", ""))), Any), False
    member = members[0] if members else Any
    if dataclasses.is_dataclass(member):
        return field_types(member).get(str(step), Any), True
    inner = [arg for arg in typing.get_args(member) if arg is not Ellipsis]
    if typing.get_origin(member) is tuple and isinstance(step, int):
        return inner[min(step, len(inner) - 1)], True
    return (inner[-1] if inner else Any), True


def _resolve_location(cls: Any, location: Sequence[str | int]) -> tuple[list[str], Any, Any]:
    """The user's path to a problem, the type expected there, and the type of the section that contains it."""
    path: list[str] = []
    expected = parent = cls
    for step in location:
        inner, is_key = _follow_step(expected, step)
        if is_key:
            path.append(str(step))
            parent = expected
        expected = inner
    return path, expected, parent


def _describe_problem(cls: Any, problem: Any, where: str) -> tuple[list[str], str]:
    """The path of one problem without pydantic's own tags, and what is wrong there and what would be right."""
    path, expected, parent = _resolve_location(cls, problem["loc"])
    given, details = problem["input"], problem.get("ctx", {})
    match problem["type"]:
        case "unexpected_keyword_argument":
            kind = _kind(parent) if len(_members(parent)) == 1 else None
            of_kind = f" of kind '{kind}'" if kind else ""
            dotted = ".".join([where, *path] if where else path)
            everywhere = dict.fromkeys(all_paths(cls, f"{where}." if where else ""))
            here = field_types(parent)
            below = hints_below(path[-1], given, here, everywhere) if isinstance(given, dict) else ""
            if path[-2:-1] and path[-2].isdigit():  # an entry of a list: its keys stand nowhere else
                return path, f"unknown key; {suggest(path[-1], here)}"
            return path, f"unknown key{of_kind}; {below or hint(dotted, here, everywhere)}"
        case "missing":
            return path, f"required, but not given{example('.'.join([where, *path] if where else path))}"
        case "union_tag_not_found":
            return [*path, "kind"], f"required, but not given; {suggest('', _kinds(expected))}"
        case "union_tag_invalid":
            return [*path, "kind"], f"unknown kind '{details['tag']}'; {suggest(details['tag'], _kinds(expected))}"
        case "literal_error":
            wanted = [str(value) for member in _members(expected) for value in typing.get_args(member)]
            nearest = f"; {suggest(str(given), wanted)}" if wanted else ""
            return path, f"{problem['msg']}, got {json.dumps(given)}{nearest}"
        case "dataclass_type" | "dict_type":
            fields = field_types(expected)
            return path, f"expected keys, got {json.dumps(given)}" + (f"; {suggest('', fields)}" if fields else "")
        case "value_error":
            return path, str(details["error"])
        case _:
            return path, f"{problem['msg']}, got {json.dumps(given)}"


def _kinds(annotation: Any) -> list[str]:
    """The tags of a union's members."""
    return [kind for kind in map(_kind, _members(annotation)) if kind]


def _source_note(path: Sequence[str], sources: Mapping[str, str]) -> str:
    """Where the key at `path` was written: its own entry, those below it, the nearest above it, or that of all."""
    for end in range(len(path), 0, -1):
        dotted = ".".join(path[:end])
        origins = dict.fromkeys(source for key, source in sources.items() if f"{key}.".startswith(f"{dotted}."))
        if origins:
            return f" ({', '.join(origins)})" if end == len(path) else f" ({next(iter(origins))})"
    return f" ({sources['']})" if "" in sources else ""
