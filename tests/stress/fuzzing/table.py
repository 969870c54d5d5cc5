"""The table of operators: `damages` puts a function there under its name.

An operator is a function that takes a `Case` and changes the file at `case.path`; whatever it draws comes from
`case.rng`, so that a case is the same each time. Its docstring is what `--list` prints.
"""

import dataclasses
import random
from collections.abc import Callable, Iterable
from pathlib import Path

# Groups of kinds (inputs.py), by what their files have in common.
HEADED = ("wav", "float-wav", "sphere", "aiff", "au")  # samples behind a header, without a checksum
SUMMED = ("flac", "ogg", "opus")  # each of their parts has a checksum
AUDIO = (*HEADED, *SUMMED, "mp3", "m4a")
YAML = ("recipe", "preset", "config")
HYP = ("hyp-json", "hyp-kaldi", "hyp-trn", "hyp-ctm", "references", "ref-trn", "ref-stm")
LINES = ("manifest", "table", "table-json", "kaldi", "lhotse", "metrics", *HYP)  # a record a line
JSON = ("manifest", "table-json", "lhotse", "hyp-json", "report")
TEXT = (*LINES, *YAML, "report")
TORCH = ("model", "bpe-model", "last")
ALL = (*AUDIO, *TEXT, *TORCH)


@dataclasses.dataclass
class Case:
    """One file to damage: `path` within `folder`, a copy of the undamaged inputs of `kind`, which lie in `controls`.

    Nobody ever writes `marker`: where it appears, something from a file has been executed.
    """

    kind: str
    path: Path
    folder: Path
    controls: Path
    rng: random.Random

    @property
    def marker(self) -> Path:
        return self.folder / "was-run"

    @property
    def data(self) -> bytearray:
        """The bytes of the file."""
        return bytearray(self.path.read_bytes())

    @data.setter
    def data(self, data: bytes | bytearray) -> None:
        self.path.write_bytes(data)

    @property
    def text(self) -> str:
        """The file as text, its ends of lines as they are."""
        return bytes(self.data).decode()

    @text.setter
    def text(self, text: str) -> None:
        self.data = text.encode()

    @property
    def lines(self) -> list[str]:
        """The lines, each with its end."""
        return self.text.splitlines(keepends=True)

    @lines.setter
    def lines(self, lines: Iterable[str]) -> None:
        self.text = "".join(lines)

    def place(self, size: int) -> int:
        """A random place in `size` things, 0 where there is none."""
        return self.rng.randrange(max(1, size))


@dataclasses.dataclass(frozen=True)
class Operator:
    """A kind of damage, the inputs that it applies to, and those where nothing can tell it from other contents."""

    name: str
    damage: Callable[[Case], None]
    kinds: frozenset[str]
    unseen: frozenset[str]

    @property
    def about(self) -> str:
        """What it does, in a line."""
        return " ".join((self.damage.__doc__ or "").split())


OPERATORS: dict[str, Operator] = {}


def damages(
    kinds: Iterable[str], *, unseen: Iterable[str] = ()
) -> Callable[[Callable[[Case], None]], Callable[[Case], None]]:
    """Add a function to the table, for inputs of `kinds`; of those in `unseen` another result may be read, too."""

    def add(damage: Callable[[Case], None]) -> Callable[[Case], None]:
        name = damage.__name__.replace("_", "-")
        assert name not in OPERATORS, f"two operators are called {name}"
        OPERATORS[name] = Operator(name, damage, frozenset(kinds), frozenset(unseen) & frozenset(kinds))
        return damage

    return add
