"""Reading a foreign configuration such that no key of it is passed over: what is not supported is named."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from hybrid_asr.common.errors import UserError

T = TypeVar("T")
_ENDLESS = 1e9


class ConvertError(UserError):
    """A model of another toolkit that cannot become ours, or one of ours that the other cannot express."""


class Section:
    """The keys of one section of a foreign configuration, each read once with its toolkit's default.

    What is wrong is collected in `problems`, so that a user sees all of it at once.
    """

    def __init__(self, name: str, tree: Any, problems: list[str]) -> None:
        """`name` is the section's dotted path, empty for the whole file; a section that is null has no keys."""
        self.name, self.problems = name, problems
        if tree is not None and not isinstance(tree, Mapping):
            problems.append(f"{name}: keys and values should stand here, got {shown(tree)}")
        self.tree: Mapping[str, Any] = tree if isinstance(tree, Mapping) else {}
        self._read: set[str] = set()

    def value(self, key: str, default: Any = None) -> Any:
        """Whatever stands at `key`."""
        self._read.add(key)
        return self.tree.get(key, default)

    def section(self, key: str) -> "Section":
        """The section at `key`."""
        return Section(self._path(key), self.value(key), self.problems)

    def number(self, key: str, default: int | float, *, least: int | float = 0) -> int | float:
        """A number of at least `least`; null is the default."""
        found = self.value(key)
        found = default if found is None else found
        if isinstance(found, bool) or not isinstance(found, int | float) or not least <= found < _ENDLESS:
            self.refuse(key, f"a number of at least {least:g} should stand here")
            return max(default, least)
        return found

    def count(self, key: str, default: int, *, least: int = 1) -> int:
        """A whole number of at least `least`; null is the default."""
        found = self.number(key, default, least=least)
        if found != int(found):
            self.refuse(key, "a whole number should stand here")
        return int(found)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        found = self.value(key, default)
        if not isinstance(found, bool):
            self.refuse(key, "true or false should stand here")
        return bool(found)

    def choice(self, key: str, default: Any, known: Mapping[Any, T], remedy: str) -> T:
        """What `known` makes of the value; anything else is refused with the remedy."""
        found = self.value(key, default)
        for value, ours in known.items():
            if type(value) is type(found) and value == found:
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
        """Pass over keys that do not act outside of training."""
        self._read.update(keys)

    def close(self, remedy: str) -> None:
        """Refuse every key that was not read, unless its value switches something off."""
        for key in self.tree.keys() - self._read:
            if self.tree[key] not in (None, False, "", [], {}):
                self.refuse(key, f"an unknown setting; {remedy}")

    def refuse(self, key: str, why: str) -> None:
        """Note that the value at `key` cannot be used."""
        told = shown(self.tree[key]) if key in self.tree else "not given"
        self.problems.append(f"{self._path(key)} is {told}: {why}")

    def _path(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else str(key)


def shown(value: Any) -> str:
    """A value as it stands in YAML, shortly."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)[:60] if isinstance(value, str) else str(value)[:60]
