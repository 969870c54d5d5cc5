"""The heat map of attention: which weights become the picture of each head, and how it is drawn.

One head is large, over the spectrogram's time axis, all heads are small below it; `head_weights` gives what is drawn.

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

from hybrid_asr.attention.capture import AttentionKind, Weights, over_frequency, over_time
from hybrid_asr.attention.utterance_view import END, START, UtteranceView
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
    "bands": "From band to band of frequency, 1 is the lowest: rows are queries, columns keys",
}


class HeadIndex(NamedTuple):
    """One head, counted from 0."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"layer {self.layer + 1}, head {self.head + 1}"


def head_weights(weights: Weights, *, frames: int) -> dict[HeadIndex, Float[Tensor, "rows columns"]]:
    """The weights that become the picture of each head, of a batch of one utterance that has `frames` encoder frames.

    Padding is cut off; attention between patches is summed over their bands of frequency, so that it is over time.
    """
    drawn = {}
    for layer, values in weights.layers.items():
        real = values[0] if weights.of == "labels" else values[0, ..., : frames * weights.bands]
        if weights.of == "encoder":
            real = over_time(real[:, : real.shape[2]], weights.bands)
        drawn |= {HeadIndex(layer, head): matrix for head, matrix in enumerate(real)}
    return drawn


def band_weights(weights: Weights, layer: int, *, frames: int) -> Float[Tensor, "heads bands bands"] | None:
    """The weights from band to band of frequency of each head of a layer; None of attention that has no bands."""
    if weights.bands == 1:
        return None
    size = frames * weights.bands
    return over_frequency(weights.layers[layer][0, :, :size, :size], weights.bands)


class _Picture(NamedTuple):
    """What all panels of a picture need."""

    view: UtteranceView
    of: AttentionKind
    chosen: HeadIndex
    heads: dict[HeadIndex, Tensor]
    bands: Tensor | None
    colors: dict[str, Any]  # of `color_scale`
    small_title: str  # of the small pictures
    width: float  # inches


class _Panel(NamedTuple):
    """A horizontal part of the picture: what draws it into a subfigure, and its height in inches."""

    draw_into: Callable[[Any], None]
    height: float


def draw(view: UtteranceView, weights: Weights, chosen: HeadIndex, path: Path, *, title: str, text: str) -> set[str]:
    """Write the picture to `path`, a .png or .svg; `title` and `text` are lines above it. Raises OSError.

    Returns the characters that no installed font has, which are boxes in a .png; a .svg leaves letters to the viewer.
    """
    import matplotlib

    file_format = path.suffix.lower().removeprefix(".")
    metadata = {"Title": title, "Description": text} | ({"Date": None} if file_format == "svg" else {})
    with (
        matplotlib.rc_context(matplotlib_style()),
        atomic_path(path) as temporary,
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        drawn = figure(view, weights, chosen, title=title, text=text)
        drawn.savefig(temporary, format=file_format, dpi=110, metadata=metadata)
    matches = [re.match(r"Glyph (\d+) .* missing", str(warning.message)) for warning in caught]
    return {chr(int(match[1])) for match in matches if match and file_format == "png"}


def _picture(view: UtteranceView, weights: Weights, chosen: HeadIndex) -> _Picture:
    heads, bands = head_weights(weights, frames=view.frames), band_weights(weights, chosen.layer, frames=view.frames)
    width = 9.0 if weights.of == "labels" else min(max(6.0 + 1.1 * view.seconds, 9.0), 22.0)
    small = "All heads" if len(weights.layers) == weights.layer_count else f"Layer {chosen.layer + 1}, all heads"
    return _Picture(view, weights.of, chosen, heads, bands, color_scale(), small, width)


def figure(view: UtteranceView, weights: Weights, chosen: HeadIndex, *, title: str, text: str) -> Any:
    """All panels, one below the other, as a figure of matplotlib."""
    from matplotlib.figure import Figure

    picture = _picture(view, weights, chosen)
    panels = [_large(picture)]
    if len(picture.heads) > 1:
        panels.append(_small(picture, picture.heads))
    if picture.bands is not None:
        bands = {HeadIndex(picture.chosen.layer, head): matrix for head, matrix in enumerate(picture.bands)}
        panels.append(_small(picture, bands, of="bands"))
    heading = "\n".join([title, *textwrap.wrap(text, round(picture.width * 12))])
    heights, heading_height = [panel.height for panel in panels], 0.1 + 0.17 * (1 + heading.count("\n"))
    drawn = Figure(figsize=(picture.width, heading_height + sum(heights)), layout="constrained")
    drawn.suptitle(heading, x=0.01, ha="left", fontsize=10)
    subfigures = drawn.subfigures(len(panels), 1, height_ratios=heights, squeeze=False)[:, 0]
    for panel, subfigure in zip(panels, subfigures, strict=True):
        panel.draw_into(subfigure)
    return drawn


def _large(picture: _Picture) -> _Panel:
    """The chosen head below everything that shares its time axis."""
    view, rows = picture.view, len(picture.heads[picture.chosen])
    above: list[tuple[Callable[[Any, _Picture], None], float]] = []
    if picture.of != "labels":
        above.append((_spectrogram, 1.3))
        if view.spikes is not None:
            above.append((_spikes, 1.0))
        if view.alignment is not None:
            above.append((_alignment, 0.55))
    size = min(0.6 * picture.width, 8.0) if picture.of == "encoder" else _height(rows)
    heights = [*(height for _, height in above), size + 0.45]

    def draw_into(subfigure: Any) -> None:
        grid = subfigure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=[1, 0.012])
        for row, (draw_panel, _) in enumerate(above):
            axes = subfigure.add_subplot(grid[row, 0])
            draw_panel(axes, picture)
            axes.set_xlim(0, view.seconds)
            axes.tick_params(labelbottom=False)
        axes = subfigure.add_subplot(grid[-1, 0])
        image = _image(axes, picture, picture.heads[picture.chosen], of=picture.of)
        _name_axes(axes, picture, size)
        bar = subfigure.colorbar(image, cax=subfigure.add_subplot(grid[-1, 1]))
        bar.set_label("weight")

    return _Panel(draw_into, sum(heights) + 0.25 * len(above))


def _height(rows: int) -> float:
    """Inches for rows that have names."""
    return max(1.0, min(rows * ROW_IN, LARGE_IN), min(rows * LEAST_ROW_IN, LARGEST_IN))


def _spectrogram(axes: Any, picture: _Picture) -> None:
    view = picture.view
    raw = view.raw
    low, high = np.percentile(raw, [1.0, 99.5])
    extent = (0, len(raw) * view.feature_s, 0, raw.shape[1])
    grays = {"cmap": "Grays", "vmin": low, "vmax": high}
    axes.imshow(raw.T, aspect="auto", origin="lower", interpolation="none", extent=extent, **grays)
    axes.set_ylabel("bin")
    caption(axes, "Log-mel spectrogram")


def _spikes(axes: Any, picture: _Picture) -> None:
    view = picture.view
    assert view.spikes is not None
    names, values = view.spikes
    edges = np.arange(values.shape[1] + 1) * view.frame_s
    for row, (name, curve) in enumerate(zip(names[:-2], values, strict=False)):
        color = f"C{row % 8}" if name.strip() else "0.7"
        axes.fill_between(edges, np.append(curve, curve[-1:]), step="post", color=color, alpha=0.6, linewidth=0)
    axes.stairs(values[-2], edges, color="0.45", linestyle=":", linewidth=1.0)
    axes.stairs(values[-1], edges, color=MARK, linestyle="--", linewidth=0.9)
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 1])
    axes.set_ylabel("posterior")
    caption(axes, "CTC posteriors: labels of the text (filled), blank (dotted), best other label (dashed)")


def _alignment(axes: Any, picture: _Picture) -> None:
    view = picture.view
    assert view.alignment is not None
    for index, (piece, span) in enumerate(zip(view.pieces, view.alignment.spans, strict=True)):
        left, width = span.start * view.frame_s, (span.end - span.start) * view.frame_s
        color = "#1c5fa8" if piece.strip() else "0.75"
        axes.barh(0.85, width, 0.3, left=left, align="center", color=color, edgecolor="white", linewidth=0.7)
        axes.text(
            left + width / 2, (0.5, 0.15)[index % 2], display_label(piece), ha="center", va="center", clip_on=False
        )
    axes.set_ylim(-0.1, 1)
    axes.set_yticks([])
    caption(axes, "CTC alignment of the text")


def _image(axes: Any, picture: _Picture, values: Tensor, *, of: AttentionKind | Literal["bands"]) -> Any:
    """The weights: columns over time in seconds where they are frames, else over their numbers."""
    rows, columns = values.shape
    end = columns * picture.view.frame_s * picture.view.frames / columns if of in ("decoder", "encoder") else columns
    bottom = end if of == "encoder" else rows
    image = axes.imshow(
        values.numpy(),
        aspect="auto",
        interpolation="none",
        extent=(0, end, bottom, 0),
        **picture.colors,
    )
    if of in ("decoder", "encoder"):
        axes.set_xlim(0, picture.view.seconds)
    if of == "encoder":
        axes.set_ylim(picture.view.seconds, 0)
    return image


def _name_axes(axes: Any, picture: _Picture, height: float) -> None:
    """Labels of the large picture's axes: characters and seconds."""
    view, predicted = picture.view, [*picture.view.pieces, END]
    caption(axes, f"{TITLES[picture.of]}: {picture.chosen}")
    match picture.of:
        case "decoder":
            label_axis(
                axes.yaxis, [row + 0.5 for row in range(len(predicted))], predicted, 72 * height / len(predicted)
            )
            axes.set_ylabel("predicted label")
            axes.set_xlabel("time (s)")
            if view.alignment is not None:
                outline(axes, view.alignment.spans, view.frame_s)
        case "encoder":
            spans = [] if view.alignment is None else view.alignment.spans
            middles = [(span.start + span.end) / 2 * view.frame_s for span in spans]
            seconds = axes.secondary_yaxis("right") if spans else axes
            seconds.set_ylabel("time of the query frame (s)")
            if spans:
                label_axis(axes.yaxis, middles, view.pieces, 72 * height / view.seconds)
                axes.set_ylabel("label that CTC aligns there")
            axes.set_xlabel("time of the key frame (s)")
        case "labels":
            previous = [START, *view.pieces]
            row_points = 72 * height / len(predicted)
            label_axis(axes.yaxis, [row + 0.5 for row in range(len(predicted))], predicted, row_points)
            label_axis(
                axes.xaxis,
                [column + 0.5 for column in range(len(previous))],
                previous,
                72 * (picture.width - 1.5) / len(previous) / 1.2,
            )
            axes.tick_params(axis="x", rotation=90 if max(map(len, view.pieces), default=1) > 1 else 0)
            axes.set_ylabel("predicted label")
            axes.set_xlabel("previous label (key)")
        case _:
            assert_never(picture.of)


def _small(
    picture: _Picture, heads: dict[HeadIndex, Tensor], *, of: AttentionKind | Literal["bands"] | None = None
) -> _Panel:
    """All heads, a layer a line where its heads fit into one; the chosen one is framed."""
    of = of or picture.of
    columns = min(CELLS, 1 + max(index.head for index in heads))
    lines = -(-len(heads) // columns)
    size = 1.25 if of == "decoder" else min(max(picture.width / columns, 1.2), 2.2)

    def draw_into(subfigure: Any) -> None:
        subfigure.suptitle(TITLES["bands"] if of == "bands" else picture.small_title, x=0.01, ha="left", fontsize=9)
        grid = subfigure.subplots(lines, columns, squeeze=False).flatten()
        for axes, (index, matrix) in zip(grid, heads.items(), strict=False):  # the last line may have cells left
            _image(axes, picture, matrix, of=of)
            _mark(axes, index, chosen=index == picture.chosen)
            axes.tick_params(labelsize=6, length=2)
            if of in ("decoder", "labels"):
                axes.set_yticks([])
            if of == "labels":
                axes.set_xticks([])
            if of == "bands":
                middles = [number + 0.5 for number in range(len(matrix))]
                for axis in (axes.xaxis, axes.yaxis):
                    axis.set_ticks(middles, [str(number + 1) for number in range(len(matrix))])
        for axes in grid[len(heads) :]:
            axes.set_visible(False)
        if of in ("decoder", "encoder"):
            subfigure.supxlabel("time (s)", fontsize=7)

    return _Panel(draw_into, 0.35 + lines * (size + 0.15))


def _mark(axes: Any, index: HeadIndex, *, chosen: bool) -> None:
    axes.set_title(str(index), fontsize=7, pad=2, fontweight="bold" if chosen else "normal")
    if chosen:
        for side in axes.spines.values():
            side.set(color=MARK, linewidth=2)
