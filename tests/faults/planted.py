"""The planted faults: mistakes in code that still runs and looks right, each with the tests that must notice it.

They are kinds of mistakes that cost a point of error rate, or make a result too good, and that nobody sees. A fault is
an entry of `<package>.yaml` in this folder: its name, its tests, the text `before` and the text `after`. Which file it
changes is found by what it replaces: the one place in the files of that package, or else of all that can be changed,
where the text before stands. So a file that moves needs no edit here, and a text that stands twice must be made longer.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
CHANGEABLE = ("hybrid_asr", "recipes", "tools", "tests/stress")


class Fault(NamedTuple):
    """In the file of `package` that holds `before`, it becomes `after`; then one of `tests` must fail."""

    name: str
    package: str
    before: str
    after: str
    tests: tuple[str, ...]


class FaultError(ValueError):
    """A fault that cannot be planted: the text before is missing, or stands in several places."""


def read_faults(folder: Path = HERE) -> list[Fault]:
    """All faults, package by package."""
    return [
        Fault(name, path.stem, entry["before"], entry["after"], tuple(entry["tests"]))
        for path in sorted(folder.glob("*.yaml"))
        for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items()
    ]


def locate(fault: Fault, root: Path = CHECKOUT) -> Path:
    """The file, relative to `root`, that the fault changes. Raises FaultError unless it is exactly one place."""
    for folders in (_folders(fault.package), CHANGEABLE):
        counts = {path: text.count(fault.before) for path, text in _texts(root, folders) if fault.before in text}
        if sum(counts.values()) == 1:
            return next(iter(counts))
        if counts:
            places = ", ".join(f"{path} ({count} times)" for path, count in counts.items())
            raise FaultError(f"{fault.name}: the text before must stand once, it stands in {places}; make it longer")
    raise FaultError(
        f"{fault.name}: the text before stands nowhere in {', '.join(CHANGEABLE)}; "
        f"adapt it in tests/faults/{fault.package}.yaml\n{fault.before}"
    )


def package_of(file: str | Path) -> str | None:
    """The package of a file (relative to the checkout) that faults can change, None for any other file."""
    match Path(file).parts:
        case "hybrid_asr", name, *_:
            return Path(name).stem
        case ("recipes" | "tools") as folder, *_:
            return folder
        case "tests", "stress", *_:
            return "stress"
    return None


def _folders(package: str) -> tuple[str, ...]:
    """Where the files of a package lie; a loose module of the library is a package of one file."""
    if package in ("recipes", "tools"):
        return (package,)
    return ("tests/stress",) if package == "stress" else (f"hybrid_asr/{package}", f"hybrid_asr/{package}.py")


@cache
def _texts(root: Path, folders: tuple[str, ...]) -> list[tuple[Path, str]]:
    return [
        (path.relative_to(root), path.read_text(encoding="utf-8"))
        for folder in folders
        for path in _modules(root / folder)
    ]


def _modules(path: Path) -> Iterator[Path]:
    if path.suffix == ".py":
        yield from (path for path in [path] if path.is_file())
    else:
        yield from sorted(path.rglob("*.py"))
