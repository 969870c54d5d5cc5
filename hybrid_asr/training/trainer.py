"""From configuration to a Lightning trainer: devices, precision, loggers."""

import importlib
import logging
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

import lightning as L
import numpy as np
import torch
from jaxtyping import UInt8
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger

from hybrid_asr.common.errors import UserError
from hybrid_asr.training.config import CsvLoggerConfig, LoggerConfig, TensorBoardConfig, TrainerConfig, WandbConfig


def build_loggers(cfg: LoggerConfig, folder: Path, *, first_step: int = 0, run_id: str | None = None) -> list[Logger]:
    """The loggers beside `metrics.csv`, which go on behind `first_step`; nothing is written yet.

    `run_id` is the same for all processes that train a run, and tells Weights & Biases what it continues.
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


def check_devices(cfg: TrainerConfig) -> None:
    """Raise UserError for GPUs that are not here."""
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if cfg.accelerator == "gpu" and not found:
        raise UserError(
            "trainer.accelerator: no GPU is visible here; use presets.trainer=cpu or trainer.accelerator=auto"
        )
    if cfg.accelerator != "cpu" and 0 < found < cfg.devices:
        raise UserError(
            f"trainer.devices: {cfg.devices} GPUs are wanted, {found} are visible here; use at most {found}"
        )


def build_trainer(
    cfg: TrainerConfig, *, updates: int, accumulate: int, callbacks: list[L.Callback], loggers: list[Logger]
) -> L.Trainer:
    """A trainer for `updates` updates over one stream of batches; epochs and checkpoints are our callbacks' work."""
    many = cfg.devices * cfg.nodes > 1
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)  # it advertises
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hints are not about our trainings
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*`isinstance.treespec, LeafSpec.` is deprecated.*")
    return L.Trainer(
        accelerator=cfg.accelerator,
        devices=cfg.devices,
        num_nodes=cfg.nodes,
        strategy="ddp" if many else "auto",
        precision="bf16-mixed" if cfg.precision == "bf16" else "32-true",
        max_epochs=1,
        max_steps=updates,
        accumulate_grad_batches=accumulate,
        logger=loggers,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
        log_every_n_steps=1,
    )
