"""How several processes share the work of an update, and in which precision: Lightning's strategies, as we use them."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning.pytorch.plugins.precision.amp import MixedPrecision
from lightning.pytorch.plugins.precision.precision import Precision
from lightning.pytorch.strategies.ddp import DDPStrategy
from lightning.pytorch.strategies.model_parallel import ModelParallelStrategy
from lightning.pytorch.strategies.strategy import Strategy
from torch import nn

from hybrid_asr.training.config import TrainerConfig


def build_strategy(cfg: TrainerConfig, model: nn.Module) -> Strategy | str:
    """The strategy for the processes that there are; a single one needs none.

    `ddp` keeps the model in each process and sums gradients in buckets, while the backward pass still computes others.
    Its parts may be frozen, since those have no gradient at all, but none that learns is ever left out of a step. The
    graph is not said to be static: guided attention ends, and scheduled sampling begins, in the middle of a training.
    """
    if cfg.processes() == 1:
        return "auto"
    if cfg.strategy == "fsdp":
        return ModelParallelStrategy(data_parallel_size=cfg.processes(), tensor_parallel_size=1)
    return DDPStrategy(
        broadcast_buffers=changes_buffers(model),
        gradient_as_bucket_view=True,
        find_unused_parameters=False,
        static_graph=False,
    )


def changes_buffers(model: nn.Module) -> bool:
    """Whether training changes buffers of the model, as batch norm does: then all have those of the first process.

    Without them a forward pass sends nothing. The front end's buffers are constants, and not asked for.
    """
    return any(True for _ in model.buffers())


def autocast(precision: str, device: str) -> AbstractContextManager[Any]:
    """What the forward pass of `trainer.precision` runs in."""
    return torch.autocast(device, torch.float16 if precision == "fp16" else torch.bfloat16, precision != "float32")


class Float16(Precision):
    """Mixed precision in float16, without Lightning's scaler of the loss: ours (`loss_scale.py`) asks no device."""

    precision = "16-mixed"

    def __init__(self, device: str) -> None:
        self.device = device

    def forward_context(self) -> AbstractContextManager[Any]:
        """What the forward pass runs in."""
        return autocast("fp16", self.device)


def build_precision(cfg: TrainerConfig, device: str) -> Precision:
    """The precision of the forward pass; weights, gradients and the optimizer stay in float32."""
    match cfg.precision:
        case "float32":
            return Precision()
        case "bf16":
            return MixedPrecision("bf16-mixed", device)
        case "fp16":
            return Float16(device)


def set_tf32(allowed: bool) -> None:
    """Let a GPU multiply float32 matrices in TF32, whose mantissa has 10 bits in place of 23, or not."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
