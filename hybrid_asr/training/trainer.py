"""From configuration to a Lightning trainer: devices and precision."""

import logging
import os
import warnings
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.kubeflow import KubeflowEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.loggers.logger import Logger

from hybrid_asr.common.errors import UserError
from hybrid_asr.training.config import TrainerConfig
from hybrid_asr.training.deterministic import set_deterministic
from hybrid_asr.training.launch_environment import Launch, resolve_devices, unused_tasks, unused_world
from hybrid_asr.training.messages import rank_zero_print
from hybrid_asr.training.save_and_validate import Interrupted
from hybrid_asr.training.signals import NoSignals
from hybrid_asr.training.strategy import build_precision, build_strategy, set_tf32


def check_devices(cfg: TrainerConfig, launch: Launch | None) -> TrainerConfig:
    """The settings with numbers for "auto". Raises UserError for what the launcher has not started, or no GPU is here.

    Prints which GPUs, or processes of a launcher, stay idle since one process trains where no number is given.
    """
    resolved = resolve_devices(cfg, launch)
    if launch is None and resolved.nodes != 1:
        raise UserError(
            f"trainer.nodes={resolved.nodes}: no launcher has started the processes of the other nodes; start with "
            "srun or torchrun --nnodes, which say how many nodes there are, and leave trainer.nodes out"
        )
    devices, visible = resolved.devices, torch.cuda.device_count() if torch.cuda.is_available() else 0
    if cfg.accelerator == "gpu" and not visible:
        raise UserError(
            "trainer.accelerator: no GPU is visible here; use presets.trainer=cpu or trainer.accelerator=auto"
        )
    if cfg.accelerator != "cpu" and isinstance(devices, int) and 0 < visible < devices:
        hidden = " (srun --gpus-per-task hides the others: use --gpus-per-node)" if launch is not None else ""
        raise UserError(f"trainer.devices: {devices} GPUs are wanted, {visible} are visible here{hidden}")
    if launch is None and cfg.devices == "auto":
        if tasks := unused_tasks(launch):
            rank_zero_print(f"SLURM has set {tasks} tasks aside and this one process trains: start it with srun")
        elif world := unused_world(launch):
            rank_zero_print(f"{world} is not used, this one process trains: start as many with torchrun, or unset it")
        elif cfg.accelerator != "cpu" and visible > 1:
            rank_zero_print(f"training on 1 of {visible} GPUs; trainer.devices={visible} takes all")
    return resolved


def cluster_environment(cfg: TrainerConfig, launch: Launch | None) -> ClusterEnvironment | None:
    """How Lightning finds the other processes; None where what it chooses by itself is right.

    It must not put SLURM's job into the queue again: its handler of SIGUSR1 writes `hpc_ckpt_1.ckpt` into the
    current folder. And it must not wait for tasks of an allocation that nobody has started.
    """
    if launch is not None and launch.launcher == "srun":
        os.environ["SLURM_NTASKS_PER_NODE"] = str(cfg.devices)  # not set by srun -n2, and Lightning insists on it
        os.environ["SLURM_NNODES"] = str(cfg.nodes)
        return SLURMEnvironment(auto_requeue=False)
    if launch is not None and launch.launcher == "torchrun":
        return None
    if launch is not None and launch.launcher == "a PyTorchJob":
        return KubeflowEnvironment()
    return LightningEnvironment() if launch is not None or SLURMEnvironment.detect() else None


def build_trainer(
    cfg: TrainerConfig,
    launch: Launch | None,
    *,
    updates: int,
    accumulate: int,
    callbacks: list[L.Callback],
    loggers: list[Logger],
    folder: Path,
    model: torch.nn.Module,
) -> L.Trainer:
    """A trainer for `updates` updates over one stream of batches; epochs and checkpoints are our callbacks' work.

    Lightning writes nothing into `folder`, but within SLURM it would load a stray `hpc_ckpt_1.ckpt` from there.
    """
    assert cfg.devices != "auto" and cfg.nodes != "auto", "check_devices has resolved them"
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)  # it advertises
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hints are not about our trainings
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*`isinstance.treespec, LeafSpec.` is deprecated.*")
    warnings.filterwarnings("ignore", message=".*returned a view tensor.*")  # nobody changes the outputs in place
    warnings.filterwarnings("ignore", message=".*The `srun` command is available on your system but is not used.*")
    warnings.filterwarnings(
        "ignore", message=".*`broadcast_buffers` is deprecated.*"
    )  # torch before 2.13 knows no other
    plugin = cluster_environment(cfg, launch)
    on_gpu = cfg.accelerator != "cpu" and torch.cuda.is_available()
    set_tf32(cfg.tf32)
    set_deterministic(cfg.deterministic)
    trainer = L.Trainer(
        accelerator=cfg.accelerator,
        devices=cfg.devices,
        num_nodes=cfg.nodes,
        strategy=build_strategy(cfg, model),
        plugins=[build_precision(cfg, "cuda" if on_gpu else "cpu"), *([] if plugin is None else [plugin])],
        max_epochs=1,
        max_steps=updates,
        accumulate_grad_batches=accumulate,
        logger=loggers,
        callbacks=callbacks,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
        log_every_n_steps=1,
    )
    # Lightning 2.6 broadcasts at each part whether it has heard SIGTERM, and waits for it; signals are ours (StopFlag)
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
    trainer._signal_connector = NoSignals(trainer)
    return trainer


def run_trainer(trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule) -> Interrupted | None:
    """Let Lightning train; a signal that was obeyed is a result."""
    try:
        trainer.fit(module, datamodule=data)
    except Interrupted as stop:
        return stop
    return None
