"""Rows for `metrics.csv` and the other loggers: what a few updates came to, on all devices together."""

from typing import Any

import lightning as L
import torch


def log_row(trainer: L.Trainer, row: dict[str, Any], step: int) -> None:
    """Give a row to all loggers. An OSError names at least the logger's folder: TensorBoard writes in a thread."""
    for logger in trainer.loggers:
        try:
            logger.log_metrics(row, step=step)
        except OSError as error:
            if error.filename is None:
                error.filename = f"{logger.save_dir}/{logger.name}"
            raise


def train_row(trainer: L.Trainer, window: dict[str, float]) -> dict[str, float]:
    """Means over a window of steps, and over devices: losses in nats per label, shares of what was masked."""
    if trainer.world_size > 1:
        names = sorted(window)
        total = torch.tensor([window[name] for name in names], dtype=torch.float64, device=trainer.strategy.root_device)
        torch.distributed.all_reduce(total)
        window = dict(zip(names, total.tolist(), strict=True))
    finite = window["steps"] - window["skipped"]  # an update that was left out has no loss
    row = {}
    if finite:
        row = {f"train.{name}": window[name] / finite * trainer.world_size for name in ("loss", "ctc", "attention")}
        row["train.gradient_norm"] = window["gradient_norm"] / finite
    row["train.infeasible"] = window["infeasible"]
    for name in ("time_masked", "frequency_masked"):
        row[f"train.{name}"] = window.get(name, 0.0) / max(window["parts"], 1.0)
    row["train.skipped"] = window["skipped"] / trainer.world_size
    row["train.unread"] = window["unread"]
    return row
