"""The pictures of attention that a training left: a few of them, evenly over its epochs, embedded in the run's page."""

import base64
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hybrid_asr.common.errors import UserError
from hybrid_asr.training.attention_pictures import find_pictures

SHOWN = 6
BUDGET = 600_000  # characters of all of them together
MOST_TITLE = 300  # characters


class Epoch(NamedTuple):
    """A picture as the page holds it, and the numbers that stand in its title."""

    number: int
    uri: str
    numbers: str
    size: tuple[int, int]


class Epochs(NamedTuple):
    """The pictures that are shown, and how many the run has in all."""

    shown: list[Epoch]
    total: int


def find_epochs(folder: Path) -> Epochs:
    """Pictures evenly from the first epoch to the last one, as many as fit. Raises UserError if not one does."""
    pictures = [(number, path) for number, path in find_pictures(folder).items() if path.is_file()]
    for count in range(min(SHOWN, len(pictures)), 0, -1):
        chosen = [pictures[index] for index in _evenly(len(pictures), count)]
        if sum(_characters(path.stat().st_size) for _, path in chosen) <= BUDGET:
            return Epochs(
                [epoch for number, path in chosen if (epoch := _read(number, path)) is not None], len(pictures)
            )
    if pictures:
        _, last = pictures[-1]
        raise UserError(f"{last}: {last.stat().st_size:,} bytes are too many for this page")
    return Epochs([], 0)


def _evenly(size: int, count: int) -> list[int]:
    """Indices from the first to the last; the last one alone if it is but one."""
    return np.linspace(size - 1, 0, count).round().astype(int)[::-1].tolist()


def _characters(size: int) -> int:
    """The characters of so many bytes in base64."""
    return 4 * -(-size // 3)


def _read(number: int, path: Path) -> Epoch | None:
    """A picture; None where the file is not a whole PNG."""
    from PIL import Image

    try:
        content = path.read_bytes()
        image = Image.open(io.BytesIO(content), formats=["PNG"])
        image.load()  # one that was cut off opens
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    title = str(image.info.get("Title", ""))[:MOST_TITLE]
    uri = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return Epoch(number, uri, title.removeprefix(f"Epoch {number}: "), image.size)
