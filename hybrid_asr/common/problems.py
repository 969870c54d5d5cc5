"""Mistakes found in files, shown together; and what a reader tells without refusing the file."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hybrid_asr.common.errors import UserError, printable

SHOWN = 5  # bad lines that a message shows; the others are counted
Tell = Callable[[str], None]
_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")  # as torchrun, srun and Lightning number processes


class Problems:
    """Mistakes found in files, shown together: the first few, file by file and line by line, all of them counted."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self._problems: list[tuple[int, int, str]] = []
        self._unseen = 0

    def add(self, file: Path, line: int, what: str) -> None:
        """Note that line `line` of `file` has the problem `what`, which ends with the remedy."""
        order = self._files.setdefault(str(file), len(self._files))
        self._problems.append((order, line, f"{file}:{line}: {what}"))

    def add_unseen(self, count: int) -> None:
        """Note `count` further problems, of lines behind SHOWN others that were added."""
        self._unseen += count

    def raise_any(self, error: type[UserError]) -> None:
        """Raise `error` if anything was noted."""
        if self._problems:
            shown = [text for *_, text in sorted(self._problems)[:SHOWN]]
            everything = len(self._problems) + self._unseen
            more = everything - len(shown)
            raise error("\n".join(shown) + (f"\n... and {more} more, {everything} in all" if more else ""))


def tell_user(text: str) -> None:
    """Print a line, which begins with `note: ` or `warning: `; of processes that train together, one does."""
    if all(os.environ.get(name, "0") == "0" for name in _RANKS):
        print(printable(text), file=sys.stderr)


def examples(items: Sequence[str], separator: str = ", ") -> str:
    """The first few of `items`, and how many more there are."""
    more = len(items) - SHOWN
    return separator.join(items[:SHOWN]) + (f" and {more} more" if more > 0 else "")
