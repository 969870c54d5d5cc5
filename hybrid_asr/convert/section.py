"""Read the configuration of another toolkit without ignoring any key: what is not supported is reported."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from hybrid_asr.common.errors import UserError

T = TypeVar("T")
_TOO_LARGE = 1e9  # no number of a configuration is that large


class ConvertError(UserError):
    """A model of another toolkit that cannot be imported, or one of ours that the other cannot express."""


class Section:
    """The keys of one section of a foreign configuration, each read once with its toolkit's default.

    Errors are collected in `problems`, so that a user sees all of them at once.
    """

    def __init__(self, name: str, tree: Any, problems: list[str]) -> None:
        """`name` is the section's dotted path, empty for the whole file; a section that is null has no keys."""
        self.name, self.problems = name, problems
        if tree is not None and not isinstance(tree, Mapping):
            problems.append(f"{name}: expected keys and values, got {shown(tree)}")
        self.tree: Mapping[str, Any] = tree if isinstance(tree, Mapping) else {}
        self._read: set[str] = set()

    def value(self, key: str, default: Any = None) -> Any:
        """The value at `key`, of any type."""
        self._read.add(key)
        return self.tree.get(key, default)

    def section(self, key: str) -> "Section":
        """The section at `key`."""
        return Section(self._path(key), self.value(key), self.problems)

    def number(self, key: str, default: int | float, *, least: int | float = 0) -> int | float:
        """A number of at least `least`; null is the default."""
        value = self.value(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < _TOO_LARGE:
            self.refuse(key, f"expected a number of at least {least:g}")
            return max(default, least)
        return value

    def count(self, key: str, default: int, *, least: int = 1) -> int:
        """A whole number of at least `least`; null is the default."""
        value = self.number(key, default, least=least)
        if value != int(value):
            self.refuse(key, "expected a whole number")
        return int(value)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.value(key, default)
        if not isinstance(value, bool):
            self.refuse(key, "expected true or false")
        return bool(value)

    def choice(self, key: str, default: Any, known: Mapping[Any, T], remedy: str) -> T:
        """Our name of the value, looked up in `known`; other values are refused with the remedy."""
        value = self.value(key, default)
        for theirs, ours in known.items():
            if type(theirs) is type(value) and theirs == value:
                return ours
        self.refuse(key, f"supported: {', '.join(map(shown, known))}; {remedy}")
        return next(iter(known.values()))

    def require(self, key: str, default: Any, only: Any, remedy: str) -> None:
        """Refuse any value but `only`."""
        self.choice(key, default, {only: None}, remedy)

    def without(self, keys: Iterable[str], remedy: str) -> None:
        """Refuse values at `keys` unless they switch off what they name: null, false, zero or empty."""
        for key in keys:
            if self.value(key):
                self.refuse(key, f"not supported; {remedy}")

    def training_only(self, *keys: str) -> None:
        """Ignore keys that affect training alone."""
        self._read.update(keys)

    def close(self, remedy: str) -> None:
        """Refuse every key that was not read, unless its value switches something off."""
        for key in self.tree.keys() - self._read:
            if self.tree[key] not in (None, False, "", [], {}):
                self.refuse(key, f"an unknown setting; {remedy}")

    def refuse(self, key: str, why: str) -> None:
        """Add to `problems` that the value at `key` cannot be used."""
        value = shown(self.tree[key]) if key in self.tree else "not given"
        self.problems.append(f"{self._path(key)} is {value}: {why}")

    def _path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else str(key)


def shown(value: Any) -> str:
    """A value as YAML writes it, cut to 60 characters."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)[:60] if isinstance(value, str) else str(value)[:60]
