"""What README, docs/ and the recipes' READMEs say to type, and the paths that they name."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("recipes/*/README.md"))]
DOCUMENTS = {path.relative_to(ROOT).as_posix(): path for path in [*PAGES, ROOT / "CHANGELOG.md"]}
_FENCE = re.compile(r"^```(?P<language>\w*)$")


class Block(NamedTuple):
    """A fenced block: its language ("" for commands), the number of its first line, its lines."""

    language: str
    line: int
    lines: list[str]


class Command(NamedTuple):
    """A command as it is printed, continuation lines joined; `where` is document:line."""

    where: str
    text: str


def blocks(document: str) -> Iterator[Block]:
    """The fenced blocks of a document."""
    inside: Block | None = None
    for number, line in enumerate(DOCUMENTS[document].read_text(encoding="utf-8").splitlines(), 1):
        if fence := _FENCE.match(line):
            if inside is not None:
                yield inside
            inside = None if inside is not None else Block(fence["language"], number + 1, [])
        elif inside is not None:
            inside.lines.append(line)
    assert inside is None, f"{document}: a fence that does not end"


def commands(document: str) -> list[Command]:
    """The commands of a document: every line of its blocks that have no language."""
    found: list[Command] = []
    for block in blocks(document):
        if block.language:
            continue
        pending = ""
        for number, line in enumerate(block.lines, block.line):
            pending += line.removesuffix("\\")
            if pending.strip() and not line.endswith("\\"):
                found.append(Command(f"{document}:{number}", pending.strip()))
                pending = ""
    return found


def named_paths(document: str) -> Iterator[tuple[str, str]]:
    """What stands in backticks or a link and looks like a path, with its place."""
    for number, line in enumerate(DOCUMENTS[document].read_text(encoding="utf-8").splitlines(), 1):
        for text in re.findall(r"`([^`]+)`", line):
            yield from ((f"{document}:{number}", word) for word in text.split() if "/" in word)
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", line):
            yield f"{document}:{number}", f"]({link}"
