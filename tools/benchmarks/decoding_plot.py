# pyright: reportMissingImports=false
"""What decoding costs against beam, batch, length of the audio and vocabulary: the cases, and the picture of them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.benchmarks.decoding_work import Case, Mode

LABELS_PER_SECOND = 4


class Point(NamedTuple):
    """One measurement: seconds per utterance, median, least and most."""

    panel: str
    line: str
    x: float
    seconds: tuple[float, float, float]


class Line(NamedTuple):
    """One contestant's way through a panel; `only` limits it to panels, `most` to values of x."""

    worker: str
    mode: Mode
    color: str
    only: tuple[str, ...] = ()
    most: Mapping[str, float] = {}


BEAM, BATCH, AUDIO, VOCABULARY = "beam", "batch", "seconds of audio, 4 labels each", "vocabulary"
PANELS: dict[str, Sequence[float]] = {
    BEAM: (1, 2, 5, 10, 20, 40),
    BATCH: (1, 2, 4, 8, 16, 32),
    AUDIO: (2, 5, 10, 20, 40, 60),
    VOCABULARY: (100, 500, 2000, 5000, 10000),
}
LINES = {
    "ESPnet, whole vocabulary": Line("ESPnet 202511", "joint_full", "#e0a030", (VOCABULARY,), {VOCABULARY: 5000}),
    "ESPnet": Line("ESPnet 202511", "joint", "#c05020", most={AUDIO: 20}),
    "ours, whole vocabulary": Line("ours", "joint_full", "#7050b0"),
    "ours": Line("ours", "joint", "#1060a0"),
    "ours, bf16": Line("ours, bf16", "joint", "#20a0a0"),
}


def case_at(panel: str, x: float, mode: Mode) -> Case:
    """The work at one place of a panel: all else is as in the table, in batches of 8; long audio has more labels."""
    usual = Case(mode, batch=8)
    if panel == BEAM:
        return usual._replace(beam=int(x))
    if panel == BATCH:
        return usual._replace(batch=int(x))
    if panel == VOCABULARY:
        return usual._replace(units=int(x))
    return usual._replace(seconds=float(x), labels=round(LABELS_PER_SECOND * x))


def places() -> Iterator[tuple[str, float, dict[str, Line]]]:
    """Every place that is measured, and the lines that pass it."""
    for panel, values in PANELS.items():
        for x in values:
            passing = {
                name: line
                for name, line in LINES.items()
                if (not line.only or panel in line.only) and x <= line.most.get(panel, x)
            }
            yield panel, x, passing


def draw(points: Sequence[Point], to: Sequence[Path], *, title: str, command: str) -> None:
    """Write the picture, a panel for each quantity and both axes logarithmic; `command` goes into the file."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "hybrid-asr", "svg.fonttype": "none", "font.family": "sans-serif"})
    from matplotlib import pyplot

    panels = [panel for panel in PANELS if any(point.panel == panel for point in points)]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(3.6 * len(panels), 4.1), sharey=True, squeeze=False)
    for axis, panel in zip(axes[0], panels, strict=True):
        _panel(axis, panel, [point for point in points if point.panel == panel])
    axes[0][0].set_ylabel("seconds per utterance, without the encoder")
    named = {}
    for axis in axes[0]:
        named |= dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    order = [name for name in LINES if name in named]
    figure.legend([named[name] for name in order], order, loc="lower center", ncol=len(order), frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    for path in to:
        metadata = {"Description": command, "Date": None} if path.suffix == ".svg" else {"Description": command}
        figure.savefig(path, metadata=metadata, dpi=110)
    pyplot.close(figure)


def _panel(axis, panel: str, points: Sequence[Point]) -> None:
    for name in LINES:
        mine = sorted((point for point in points if point.line == name), key=lambda point: point.x)
        if not mine:
            continue
        xs = [point.x for point in mine]
        middle, least, most = zip(*(point.seconds for point in mine), strict=True)
        axis.plot(xs, middle, marker="o", markersize=3.5, linewidth=1.4, color=LINES[name].color, label=name)
        axis.fill_between(xs, least, most, color=LINES[name].color, alpha=0.15, linewidth=0)
    ticks = sorted({point.x for point in points})
    axis.set(xscale="log", yscale="log", xlabel=panel)
    axis.set_xticks(ticks, [f"{x:g}" if x < 1000 else f"{x / 1000:g}k" for x in ticks])
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.minorticks_off()
    axis.grid(True, which="major", linewidth=0.4, alpha=0.6)
