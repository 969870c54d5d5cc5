"""What all heat maps of attention share: colors, fonts, labels on an axis, outlines of the CTC alignment.

matplotlib is imported where something is drawn, since that takes half a second.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from hybrid_asr.decoding.ctc_align import LabelSpan

COLORS = ("#ffffff", "#c6dbef", "#4286c6", "#08306b")
MARK = "#d95f02"  # outlines of the CTC alignment, and the frame of the chosen head
FONTS = ("DejaVu Sans", "Noto Sans", "Noto Sans CJK SC", "Noto Sans Thai", "Noto Sans Devanagari", "Noto Sans Arabic")
LABEL_PT, LEAST_PT = 9.0, 5.0  # the size of a label's text


def matplotlib_style() -> dict[Any, Any]:
    """Settings of matplotlib, for `rc_context` around everything that draws."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return {
        "font.family": [name for name in FONTS if name in installed],
        "font.size": 8.0,
        "text.parse_math": False,  # a transcript may have dollars
        "svg.fonttype": "none",  # letters stay letters
        "svg.hashsalt": "hybrid-asr",  # the same picture is the same file
    }


def color_scale() -> dict[str, Any]:
    """How imshow turns weights into colors: by square roots, from 0 to 1 in all pictures, so that uniform is pale."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    return {"cmap": LinearSegmentedColormap.from_list("ours", COLORS), "norm": PowerNorm(0.5, 0.0, 1.0)}


def caption(axes: Any, text: str) -> None:
    """A small title above the left end of `axes`."""
    axes.set_title(text, loc="left", fontsize=8, pad=3)


def label_axis(axis: Any, positions: Sequence[float], pieces: Sequence[str], points: float) -> None:
    """A label at each position where it does not touch the one before; one unit of the axis is `points` long."""
    kept: list[int] = []
    for number, position in enumerate(positions):
        if not kept or (position - positions[kept[-1]]) * points >= LEAST_PT + 1:
            kept.append(number)
    gaps = [(positions[after] - positions[before]) * points for before, after in itertools.pairwise(kept)]
    axis.set_ticks([positions[number] for number in kept], [display_label(pieces[number]) for number in kept])
    axis.set_tick_params(labelsize=min(LABEL_PT, max(LEAST_PT, 0.9 * min(gaps, default=LABEL_PT))), length=2)


def outline(axes: Any, spans: Sequence[LabelSpan], frame_s: float, *, width: float = 0.8) -> None:
    """Where CTC puts each label, in axes of seconds and rows, by lines that are `width` points wide."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    boxes = [
        Rectangle((span.start * frame_s, row), (span.end - span.start) * frame_s, 1) for row, span in enumerate(spans)
    ]
    axes.add_collection(PatchCollection(boxes, facecolor="none", edgecolor=MARK, linewidth=width))


def display_label(piece: str) -> str:
    """A label as it is shown: a space is ␣, an empty text ∅."""
    return piece.replace(" ", "␣") or "∅"
