"""Attention as a picture: one head large, over the spectrogram's time axis, and all heads as small ones.

Axes: H heads, Q queries, K keys.
"""

import re
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, assert_never

import numpy as np
from jaxtyping import Float
from torch import Tensor

from hybrid_asr.attention.utterance_view import END, START, UtteranceView
from hybrid_asr.attention.weights import AttentionKind, Weights, over_frequency, over_time
from hybrid_asr.common.files import atomic_path
from hybrid_asr.pages.figure_style import (
    MARK,
    caption,
    color_scale,
    display_label,
    label_axis,
    matplotlib_style,
    outline,
)

FORMATS = (".png", ".svg")
ROW_IN, LEAST_ROW_IN = 0.19, 0.088  # the height of a row of the large picture, in inches; the least that has a name
LARGE_IN, LARGEST_IN = 9.0, 18.0  # the height to which rows are high, and to which all have names
CELLS = 8  # small pictures side by side
TITLES: dict[AttentionKind | Literal["bands"], str] = {
    "decoder": "Decoder cross-attention",
    "encoder": "Encoder self-attention",
    "labels": "Decoder self-attention over the labels",
    "bands": "From band to band of frequency, 1 is the lowest: a row is the band that looks",
}


class HeadIndex(NamedTuple):
    """One head, counted from 0."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"layer {self.layer + 1}, head {self.head + 1}"


def head_weights(weights: Weights, *, frames: int) -> dict[HeadIndex, Float[Tensor, "rows columns"]]:
    """What is drawn of each head of the only utterance; that of patches is summed up over their bands of frequency."""
    found = {}
    for layer, values in weights.layers.items():
        real = values[0] if weights.of == "labels" else values[0, ..., : frames * weights.bands]
        if weights.of == "encoder":
            real = over_time(real[:, : real.shape[2]], weights.bands)
        found |= {HeadIndex(layer, head): one for head, one in enumerate(real)}
    return found


def bands(weights: Weights, layer: int, *, frames: int) -> Float[Tensor, "heads bands bands"] | None:
    """From band to band of frequency, of each head of a layer; None of attention that has no bands."""
    if weights.bands == 1:
        return None
    size = frames * weights.bands
    return over_frequency(weights.layers[layer][0, :, :size, :size], weights.bands)


class _Sheet(NamedTuple):
    """What all parts of a picture need."""

    one: UtteranceView
    of: AttentionKind
    chosen: HeadIndex
    heads: dict[HeadIndex, Tensor]
    bands: Tensor | None
    colors: dict[str, Any]  # of `shades`
    small: str  # what the small pictures are
    width: float  # inches


class _Part(NamedTuple):
    """A horizontal part of the picture: what fills it, and its height in inches."""

    fill: Callable[[Any], None]
    height: float


def draw(one: UtteranceView, weights: Weights, chosen: HeadIndex, path: Path, *, title: str, text: str) -> set[str]:
    """Write the picture to `path`, a .png or .svg; `title` and `text` are lines above it. Raises OSError.

    Gives the characters that no font here has: boxes in a .png; a .svg leaves letters to the fonts of who looks at it.
    """
    import matplotlib

    form = path.suffix.lower().removeprefix(".")
    about = {"Title": title, "Description": text} | ({"Date": None} if form == "svg" else {})
    with (
        matplotlib.rc_context(matplotlib_style()),
        atomic_path(path) as temporary,
        warnings.catch_warnings(record=True) as told,
    ):
        warnings.simplefilter("always")
        figure(one, weights, chosen, title=title, text=text).savefig(temporary, format=form, dpi=110, metadata=about)
    found = [re.match(r"Glyph (\d+) .* missing", str(one.message)) for one in told]
    return {chr(int(match[1])) for match in found if match and form == "png"}


def _sheet(one: UtteranceView, weights: Weights, chosen: HeadIndex) -> _Sheet:
    heads, below = head_weights(weights, frames=one.frames), bands(weights, chosen.layer, frames=one.frames)
    width = 9.0 if weights.of == "labels" else min(max(6.0 + 1.1 * one.seconds, 9.0), 22.0)
    small = "All heads" if len(weights.layers) == weights.there else f"Layer {chosen.layer + 1}, all heads"
    return _Sheet(one, weights.of, chosen, heads, below, color_scale(), small, width)


def figure(one: UtteranceView, weights: Weights, chosen: HeadIndex, *, title: str, text: str) -> Any:
    """All parts, one below the other, as a figure of matplotlib."""
    from matplotlib.figure import Figure

    sheet = _sheet(one, weights, chosen)
    parts = [_large(sheet)]
    if len(sheet.heads) > 1:
        parts.append(_small(sheet, sheet.heads))
    if sheet.bands is not None:
        below = {HeadIndex(sheet.chosen.layer, head): one for head, one in enumerate(sheet.bands)}
        parts.append(_small(sheet, below, of="bands"))
    heading = "\n".join([title, *textwrap.wrap(text, round(sheet.width * 12))])
    room = 0.1 + 0.17 * (1 + heading.count("\n"))
    sheets = Figure(figsize=(sheet.width, room + sum(part.height for part in parts)), layout="constrained")
    sheets.suptitle(heading, x=0.01, ha="left", fontsize=10)
    places = sheets.subfigures(len(parts), 1, height_ratios=[part.height for part in parts], squeeze=False)[:, 0]
    for part, place in zip(parts, places, strict=True):
        part.fill(place)
    return sheets


def _large(sheet: _Sheet) -> _Part:
    """The chosen head below everything that shares its time axis."""
    one, rows = sheet.one, len(sheet.heads[sheet.chosen])
    above: list[tuple[Callable[[Any, _Sheet], None], float]] = []
    if sheet.of != "labels":
        above.append((_spectrogram, 1.3))
        if one.spikes is not None:
            above.append((_spikes, 1.0))
        if one.alignment is not None:
            above.append((_alignment, 0.55))
    size = min(0.6 * sheet.width, 8.0) if sheet.of == "encoder" else _height(rows)
    heights = [*(height for _, height in above), size + 0.45]

    def fill(part: Any) -> None:
        grid = part.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=[1, 0.012])
        for row, (paint, _) in enumerate(above):
            axes = part.add_subplot(grid[row, 0])
            paint(axes, sheet)
            axes.set_xlim(0, one.seconds)
            axes.tick_params(labelbottom=False)
        axes = part.add_subplot(grid[-1, 0])
        image = _image(axes, sheet, sheet.heads[sheet.chosen], of=sheet.of)
        _name_axes(axes, sheet, size)
        bar = part.colorbar(image, cax=part.add_subplot(grid[-1, 1]))
        bar.set_label("weight")

    return _Part(fill, sum(heights) + 0.25 * len(above))


def _height(rows: int) -> float:
    """Inches for rows that have names."""
    return max(1.0, min(rows * ROW_IN, LARGE_IN), min(rows * LEAST_ROW_IN, LARGEST_IN))


def _spectrogram(axes: Any, sheet: _Sheet) -> None:
    raw, one = sheet.one.raw, sheet.one
    low, high = np.percentile(raw, [1.0, 99.5])
    extent = (0, len(raw) * one.feature_s, 0, raw.shape[1])
    grays = {"cmap": "Grays", "vmin": low, "vmax": high}
    axes.imshow(raw.T, aspect="auto", origin="lower", interpolation="none", extent=extent, **grays)
    axes.set_ylabel("bin")
    caption(axes, "Log-mel spectrogram")


def _spikes(axes: Any, sheet: _Sheet) -> None:
    one = sheet.one
    assert one.spikes is not None
    names, values = one.spikes
    edges = np.arange(values.shape[1] + 1) * one.frame_s
    for row, (name, curve) in enumerate(zip(names[:-2], values, strict=False)):
        color = f"C{row % 8}" if name.strip() else "0.7"
        axes.fill_between(edges, np.append(curve, curve[-1:]), step="post", color=color, alpha=0.6, linewidth=0)
    axes.stairs(values[-2], edges, color="0.45", linestyle=":", linewidth=1.0)
    axes.stairs(values[-1], edges, color=MARK, linestyle="--", linewidth=0.9)
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 1])
    axes.set_ylabel("posterior")
    caption(axes, "CTC posteriors: labels of the text (filled), blank (dotted), best other label (dashed)")


def _alignment(axes: Any, sheet: _Sheet) -> None:
    one = sheet.one
    assert one.alignment is not None
    for place, (piece, span) in enumerate(zip(one.pieces, one.alignment.spans, strict=True)):
        left, width = span.start * one.frame_s, (span.end - span.start) * one.frame_s
        color = "#1c5fa8" if piece.strip() else "0.75"
        axes.barh(0.85, width, 0.3, left=left, align="center", color=color, edgecolor="white", linewidth=0.7)
        axes.text(
            left + width / 2, (0.5, 0.15)[place % 2], display_label(piece), ha="center", va="center", clip_on=False
        )
    axes.set_ylim(-0.1, 1)
    axes.set_yticks([])
    caption(axes, "CTC alignment of the text")


def _image(axes: Any, sheet: _Sheet, values: Tensor, *, of: AttentionKind | Literal["bands"]) -> Any:
    """The weights: columns over time in seconds where they are frames, else over their numbers."""
    rows, columns = values.shape
    end = columns * sheet.one.frame_s * sheet.one.frames / columns if of in ("decoder", "encoder") else columns
    bottom = end if of == "encoder" else rows
    image = axes.imshow(
        values.numpy(),
        aspect="auto",
        interpolation="none",
        extent=(0, end, bottom, 0),
        **sheet.colors,
    )
    if of in ("decoder", "encoder"):
        axes.set_xlim(0, sheet.one.seconds)
    if of == "encoder":
        axes.set_ylim(sheet.one.seconds, 0)
    return image


def _name_axes(axes: Any, sheet: _Sheet, height: float) -> None:
    """Labels of the large picture's axes: characters and seconds."""
    one, written = sheet.one, [*sheet.one.pieces, END]
    caption(axes, f"{TITLES[sheet.of]}: {sheet.chosen}")
    match sheet.of:
        case "decoder":
            label_axis(axes.yaxis, [row + 0.5 for row in range(len(written))], written, 72 * height / len(written))
            axes.set_ylabel("label that is written")
            axes.set_xlabel("time (s)")
            if one.alignment is not None:
                outline(axes, one.alignment.spans, one.frame_s)
        case "encoder":
            spans = [] if one.alignment is None else one.alignment.spans
            middles = [(span.start + span.end) / 2 * one.frame_s for span in spans]
            seconds = axes.secondary_yaxis("right") if spans else axes
            seconds.set_ylabel("time of the frame that looks (s)")
            if spans:
                label_axis(axes.yaxis, middles, one.pieces, 72 * height / one.seconds)
                axes.set_ylabel("what CTC hears there")
            axes.set_xlabel("time of the frame that is looked at (s)")
        case "labels":
            read = [START, *one.pieces]
            room = 72 * height / len(written)
            label_axis(axes.yaxis, [row + 0.5 for row in range(len(written))], written, room)
            label_axis(
                axes.xaxis, [row + 0.5 for row in range(len(read))], read, 72 * (sheet.width - 1.5) / len(read) / 1.2
            )
            axes.tick_params(axis="x", rotation=90 if max(map(len, one.pieces), default=1) > 1 else 0)
            axes.set_ylabel("label that is written")
            axes.set_xlabel("label before that is looked at")
        case _:
            assert_never(sheet.of)


def _small(
    sheet: _Sheet, heads: dict[HeadIndex, Tensor], *, of: AttentionKind | Literal["bands"] | None = None
) -> _Part:
    """All heads, a layer a line where its heads fit into one; the chosen one is framed."""
    of = of or sheet.of
    columns = min(CELLS, 1 + max(place.head for place in heads))
    lines = -(-len(heads) // columns)
    size = 1.25 if of == "decoder" else min(max(sheet.width / columns, 1.2), 2.2)

    def fill(part: Any) -> None:
        part.suptitle(TITLES["bands"] if of == "bands" else sheet.small, x=0.01, ha="left", fontsize=9)
        grid = part.subplots(lines, columns, squeeze=False).flatten()
        for axes, (place, head) in zip(grid, heads.items(), strict=False):  # the last line may have room left
            _image(axes, sheet, head, of=of)
            _mark(axes, place, chosen=place == sheet.chosen)
            axes.tick_params(labelsize=6, length=2)
            if of in ("decoder", "labels"):
                axes.set_yticks([])
            if of == "labels":
                axes.set_xticks([])
            if of == "bands":
                middles = [number + 0.5 for number in range(len(head))]
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_ticks(middles, [str(number + 1) for number in range(len(head))])
        for axes in grid[len(heads) :]:
            axes.set_visible(False)
        if of in ("decoder", "encoder"):
            part.supxlabel("time (s)", fontsize=7)

    return _Part(fill, 0.35 + lines * (size + 0.15))


def _mark(axes: Any, place: HeadIndex, *, chosen: bool) -> None:
    axes.set_title(str(place), fontsize=7, pad=2, fontweight="bold" if chosen else "normal")
    if chosen:
        for side in axes.spines.values():
            side.set(color=MARK, linewidth=2)
