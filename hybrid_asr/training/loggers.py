"""The loggers beside `metrics.csv`: TensorBoard, Weights & Biases."""

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

import numpy as np
from jaxtyping import UInt8
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger

from hybrid_asr.common.errors import UserError
from hybrid_asr.training.config import CsvLoggerConfig, LoggerConfig, TensorBoardConfig, WandbConfig


def build_loggers(cfg: LoggerConfig, folder: Path, *, first_step: int = 0, run_id: str | None = None) -> list[Logger]:
    """The loggers beside `metrics.csv`, which go on behind `first_step`; nothing is written yet.

    `run_id` is the same for all processes that train a run, and by it Weights & Biases knows what it continues.
    Raises UserError where a package is missing.
    """
    match cfg:
        case CsvLoggerConfig():
            return []
        case TensorBoardConfig():
            _require("tensorboard")
            _quiet_writer()
            purge = first_step + 1 if first_step else None  # hides what an earlier process wrote of later steps
            return [TensorBoardLogger(folder, name="tensorboard", version="", purge_step=purge)]
        case WandbConfig():
            _require("wandb")
            offline = cfg.mode == "offline"
            known = {"project": cfg.project, "name": folder.name, "save_dir": folder, "id": run_id}
            return [WandbLogger(**known, resume="allow", offline=offline)]
        case _:
            assert_never(cfg)


def show_picture(loggers: Sequence[Logger], name: str, pixels: UInt8[np.ndarray, "height width 3"], step: int) -> None:
    """Give a picture to the loggers that show pictures."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, pixels, step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(name, [pixels], step=step)


def _quiet_writer() -> None:
    """Spare the user the traceback of TensorBoard's thread on a full disk: the next row raises the same error."""
    former = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not (isinstance(args.exc_value, OSError) and type(args.thread).__name__ == "_AsyncWriterThread"):
            former(args)

    threading.excepthook = hook


def _require(package: str) -> None:
    """Refuse a logger whose package, an extra of the same name, cannot be imported."""
    try:
        importlib.import_module(package)
    except ImportError as error:
        remedy = f"run pip install 'hybrid-asr[{package}]', or use presets.logger=csv"
        raise UserError(f"logger.kind: {package} is not installed; {remedy}") from error
