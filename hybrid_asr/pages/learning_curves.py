"""Learning curves, and how much augmentation was measured, from the rows of metrics.csv."""

from typing import NamedTuple

import numpy as np

from hybrid_asr.pages.charts import Chart, Drawing, Series, draw
from hybrid_asr.pages.run_status import Rows, number
from hybrid_asr.run.config import RunConfig

SPEED = "plan.speed_"
ATTENTION = {
    "monotonicity": "↑",
    "diagonality": "↑",
    "coverage": "↑",
    "overlap": "↓",
    "entropy": "↓",
}  # the direction of good values


class Augmentation(NamedTuple):
    """One line of the table: what the recipe configures and what was measured, as texts."""

    name: str
    configured: str
    measured: str


def curves(rows: Rows) -> list[Drawing]:
    """Losses, validation, attention, learning rate and gradient, as far as there are numbers for them."""
    columns = sorted({name for row in rows for name in row if name.startswith("valid.")})
    rates = [column(rows, name, factor=100.0) for kind in ("wer", "cer") for name in columns if name.endswith(kind)]
    losses = [("train.loss", "joint loss"), ("train.ctc", "CTC"), ("train.attention", "attention")]
    attention = [column(rows, f"attention.{name}", f"{name} {way}") for name, way in ATTENTION.items()]
    charts = [
        Chart("Training loss", "nats per label", [column(rows, name, title) for name, title in losses], scale="log"),
        Chart("Error rates on the validation set", "%", [series for series in rates if len(series.x)]),
        Chart("Attention of the leading head", "arrows point to a diagonal", attention),
        Chart("Its distance from the CTC alignment", "s", [column(rows, "attention.ctc_distance_s", "distance ↓")]),
        Chart("Learning rate", "", [column(rows, "train.lr", "learning rate")]),
        Chart("Gradient norm before clipping", "", [column(rows, "train.gradient_norm", "gradient norm")], scale="log"),
    ]
    return [drawn for chart in charts if (drawn := draw(chart)) is not None]


def column(rows: Rows, name: str, title: str = "", *, factor: float = 1.0) -> Series:
    """A column of the metrics over the steps, times `factor`, without its empty cells."""
    filled = [row for row in rows if row.get(name)]
    x = np.array([float(row["step"]) for row in filled])
    y = np.array([factor * number(row[name]) for row in filled])
    if not title:
        _, decoder, metric = name.split(".")
        title = f"{metric.upper()} ({decoder})"
    return Series(title, x, y)


def augmentation(cfg: RunConfig, rows: Rows) -> list[Augmentation]:
    """What is configured, and what was measured from the epoch on from which it applies."""
    augment, spec = cfg.augment, cfg.augment.spec
    masking = [row for row in rows if number(row.get("epoch")) > spec.from_epoch]
    begins = f" from epoch {spec.from_epoch + 1} on" if spec.from_epoch else ""
    return [
        Augmentation(
            "Speed",
            ", ".join(f"{speed:g}" for speed in augment.speeds) if len(augment.speeds) > 1 else "off",
            _speeds(rows),
        ),
        Augmentation(
            "Joined utterances",
            f"{augment.join_share:.0%} of them, up to {augment.join_max_s:g} s" if augment.join_share else "off",
            _share(rows, "plan.joined_share", "of the utterances"),
        ),
        Augmentation(
            "Time masks (SpecAugment)",
            f"{spec.time_masks} of up to {spec.time_width} frames, at most {spec.time_share:.0%} of an utterance each"
            f"{begins}"
            if spec.time_masks
            else "off",
            _share(masking, "train.time_masked", "of the frames"),
        ),
        Augmentation(
            "Frequency masks (SpecAugment)",
            f"{spec.freq_masks} of up to {spec.freq_width} bins{begins}" if spec.freq_masks else "off",
            _share(masking, "train.frequency_masked", "of the bins"),
        ),
    ]


def _share(rows: Rows, name: str, of: str) -> str:
    values = column(rows, name, name).y
    values = values[np.isfinite(values)]
    return f"{values.mean():.1%} {of}" if len(values) else "not recorded"


def _speeds(rows: Rows) -> str:
    names = sorted({name for row in rows for name in row if name.startswith(SPEED)})
    counts = {name.removeprefix(SPEED): np.nansum(column(rows, name, name).y) for name in names}
    total = sum(counts.values())
    return ", ".join(f"{speed}: {count / total:.0%}" for speed, count in counts.items()) if total else "not recorded"
