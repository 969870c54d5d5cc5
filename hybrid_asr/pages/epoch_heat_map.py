"""The heat map of the leading head after an epoch, in a few utterances side by side: small, since it is drawn often.

Positions are set by hand: with matplotlib's own layout it would take 0.38 s in place of 0.27 s.

Axes: R rows, T encoder frames.
"""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from hybrid_asr.attention.diagnosis import Diagnosis, KeptWeights
from hybrid_asr.attention.utterance_view import END
from hybrid_asr.common.files import atomic_path
from hybrid_asr.pages import figure_style

DPI = 100
COLORS_KEPT = 256  # of the anti-aliased thousands: the file is half as large, and the difference is not visible
WIDTH_IN, LEAST_IN, MOST_IN, ROW_IN = 2.1, 1.8, 3.6, 0.11  # of a panel; its height is that of its rows
ABOVE_IN, LINE_IN, BELOW_IN, RIGHT_IN = 0.38, 0.16, 0.42, 0.2
TITLE_LETTERS = 12  # in an inch
NAME_IN, ID_IN = 0.7, 2.1  # the widest name of a label, beside the panel, and of an utterance, above it
UNITS = {"ctc_distance_s": "s from CTC"}


class _Panel(NamedTuple):
    """One utterance, the names of its rows, and the inches that these take on its left."""

    utterance: KeptWeights
    weights: Float[np.ndarray, "rows time"]
    names: dict[int, str]
    margin: float


def draw_epoch(diagnosis: Diagnosis, epoch: int, path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """Write the leading head's weights in the utterances that were kept to `path`, a .png; returns its pixels.

    A row is a label of the transcript, or the end; a column is an encoder frame. Raises OSError.
    """
    import matplotlib
    from PIL import Image, PngImagePlugin

    title = describe(diagnosis, epoch)
    with matplotlib.rc_context(figure_style.matplotlib_style()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that no font here has is a box
        pixels = _render(diagnosis, title)
    metadata = PngImagePlugin.PngInfo()
    metadata.add_itxt("Title", title)
    with atomic_path(path, folder="expect") as temporary:
        Image.fromarray(pixels).quantize(COLORS_KEPT).save(temporary, format="png", pnginfo=metadata)
    return pixels


def describe(diagnosis: Diagnosis, epoch: int) -> str:
    """The picture's title: the epoch, the leading head and its numbers over all utterances that were measured."""
    layer, head = diagnosis.heads().leading()
    numbers = {name.removeprefix("attention."): value for name, value in diagnosis.row().items()}
    texts = [
        f"{name} {value:.2f}" if name not in UNITS else f"{value:.2f} {UNITS[name]}" for name, value in numbers.items()
    ]
    return f"Epoch {epoch}: layer {layer + 1}, head {head + 1} leads · {', '.join(texts)}"


def _render(diagnosis: Diagnosis, title: str) -> UInt8[np.ndarray, "height width 3"]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = min(
        max(ROW_IN * max(utterance.weights.shape[2] for utterance in diagnosis.kept_weights), LEAST_IN), MOST_IN
    )
    panels = [_panel(utterance, diagnosis.heads().leading(), height) for utterance in diagnosis.kept_weights]
    width = sum(panel.margin + WIDTH_IN + RIGHT_IN for panel in panels)
    lines = textwrap.wrap(title, int(TITLE_LETTERS * width))
    size = width, ABOVE_IN + LINE_IN * len(lines) + height + BELOW_IN
    figure = Figure(figsize=size, dpi=DPI)
    figure.text(0.08 / size[0], 1 - 0.08 / size[1], "\n".join(lines), ha="left", va="top", fontsize=9)
    left, colors = 0.0, figure_style.color_scale()
    for panel in panels:
        left += panel.margin
        position = (left / size[0], BELOW_IN / size[1], WIDTH_IN / size[0], height / size[1])
        _paint(figure.add_axes(position), panel, height, colors)
        left += WIDTH_IN + RIGHT_IN
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _panel(utterance: KeptWeights, leading: tuple[int, int], height: float) -> _Panel:
    names = row_names(utterance.pieces, 72 * height / (len(utterance.pieces) + 1))
    fitted = {text: _fitted(text, NAME_IN, figure_style.LABEL_PT) for text in set(names.values())}
    margin = 0.17 + max(_inches(figure_style.display_label(text), figure_style.LABEL_PT) for text in fitted.values())
    return _Panel(utterance, utterance.weights[leading], {row: fitted[text] for row, text in names.items()}, margin)


def row_names(labels: Sequence[str], row_points: float) -> dict[int, str]:
    """Names of rows that are `row_points` high: all labels and the end, all but spaces, or words where they begin."""
    pieces = [*labels, END]
    if row_points >= figure_style.LEAST_PT + 1:
        return {row: piece for row, piece in enumerate(pieces) if row_points >= figure_style.LABEL_PT or piece != " "}
    names: dict[int, str] = {}
    begins = 0
    for row, piece in enumerate(pieces):
        if piece == END or piece.startswith(" "):
            begins = row if piece.strip() else row + 1
        names[begins] = names.get(begins, "") + piece
    return {row: word.strip() for row, word in names.items()}


def _paint(axes: Any, panel: _Panel, height: float, colors: dict[str, Any]) -> None:
    utterance, (rows, frames) = panel.utterance, panel.weights.shape
    row_points = 72 * height / rows
    axes.imshow(
        panel.weights, aspect="auto", interpolation="none", extent=(0, frames * utterance.frame_s, rows, 0), **colors
    )
    figure_style.outline(axes, utterance.spans, utterance.frame_s, width=min(0.8, 0.12 * row_points))
    axes.set_xlim(0, utterance.seconds)
    figure_style.label_axis(axes.yaxis, [row + 0.5 for row in panel.names], list(panel.names.values()), row_points)
    axes.locator_params(axis="x", nbins=6)
    axes.tick_params(axis="x", labelsize=7, length=2)
    axes.set_xlabel("time (s)", fontsize=7, labelpad=1)
    figure_style.caption(axes, _fitted(utterance.id, ID_IN, 8.0))


def _fitted(text: str, inches: float, points: float) -> str:
    """A text cut to a width, with an ellipsis."""
    kept = text
    while kept and _inches(figure_style.display_label(kept), points) > inches:
        text = text[: min(len(text) - 1, 60)]
        kept = f"{text}…"
    return kept


def _inches(text: str, points: float) -> float:
    """The width of a line of text."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    return text_to_path.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)[0] / 72
