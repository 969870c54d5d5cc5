"""What every page is made with: the HTML in templates/, numbers as text, parts that may fail, packed arrays.

A page is one file: style and script are in it, and its content security policy lets nothing else run or load, so that
a transcript is text and nothing more.
"""

import base64
import functools
import hashlib
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import jinja2
import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup

from hybrid_asr.common.errors import UserError

T = TypeVar("T")
_FOLDER = Path(__file__).resolve().parent / "templates"


class Note(NamedTuple):
    """A text in the place of a part of the page that could not be made: why, and how to get it."""

    text: str


def attempt(make: Callable[[], T]) -> T | Note:
    """Make a part of a page; an error becomes a note in its place, and the other parts are not affected."""
    try:
        return make()
    except UserError as error:
        return Note(str(error))
    except Exception as error:  # a page is a by-product of hours of training: no mistake in it may cost the rest
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return Note(f"This part could not be made: {type(error).__name__} at {where}: {str(error)[:300]}")


def render(template: str, *, scripts: tuple[str, ...] = (), **values: object) -> str:
    """A page as text, from a template in templates/. `scripts` are files beside it; nothing else can run."""
    script = "\n".join(_read(name) for name in scripts)
    return (
        _environment()
        .get_template(template)
        .render(style=Markup(_read("style.css")), script=Markup(script), script_digest=_digest(script), **values)
    )


@functools.cache
def _environment() -> jinja2.Environment:
    """The templates, which are compiled once a process."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "duration": duration, "number": number}
    environment.tests["note"] = lambda value: isinstance(value, Note)
    return environment


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """The digest by which the content security policy lets this script run."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def percent(fraction: float, digits: int = 2) -> str:
    """A fraction in per cent, without the sign."""
    return f"{100 * fraction:.{digits}f}"


def duration(seconds: float) -> str:
    """Seconds as text: 41 s, 37 min, 5 h 02 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def number(value: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def pack(values: UInt8[np.ndarray, "..."]) -> str:
    """Bytes for a page: deflated, then base64; the script's `inflate` reads them."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(values).tobytes(), 9)).decode()


def quantize_root(values: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """Fractions to bytes by their square roots, so that 0.001 is still seen; (byte / 255)² is within 0.004 of them."""
    return np.rint(255 * np.sqrt(np.clip(values, 0.0, 1.0))).astype(np.uint8)


def quantize_range(values: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """Numbers to bytes between their 1st and 99.5th percentile."""
    low, high = np.percentile(values, [1.0, 99.5])
    return np.rint(255 * np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)).astype(np.uint8)
