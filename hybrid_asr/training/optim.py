"""AdamW and its learning-rate schedules, each a pure function of the step."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from hybrid_asr.config.schema import config


@config
class OptimConfig:
    """AdamW (Loshchilov and Hutter, 2019). `lr` is the peak, after `warmup` steps; `clip` bounds the gradient."""

    schedule: Literal["noam", "cosine", "constant"]
    lr: Annotated[float, Field(gt=0)]
    warmup: Annotated[int, Field(ge=0)]
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.98)
    eps: Annotated[float, Field(gt=0)] = 1e-9
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(gt=0)] = 5.0


def lr_share(cfg: OptimConfig, step: int, total_steps: int) -> float:
    """The share of the peak learning rate that the update number `step` (from 0) uses.

    All three rise linearly over the warm-up; then `noam` falls with the square root of the step (Vaswani et al., 2017),
    `cosine` to `final_share` at the last step (Loshchilov and Hutter, 2017), and `constant` stays.
    """
    position = step + 1
    if position <= cfg.warmup:
        return position / cfg.warmup
    match cfg.schedule:
        case "noam":
            return math.sqrt(max(cfg.warmup, 1) / position)
        case "cosine":
            progress = min(1.0, (position - cfg.warmup) / max(1, total_steps - cfg.warmup))
            return cfg.final_share + (1 - cfg.final_share) * 0.5 * (1 + math.cos(math.pi * progress))
        case "constant":
            return 1.0


def warmup_doubt(cfg: OptimConfig, total_steps: int, *, length: str = "epochs") -> str | None:
    """What is said of a training of `total_steps` updates that ends before the learning rate has risen.

    `length` is the setting of the trainer that makes it longer.
    """
    if cfg.warmup <= total_steps:
        return None
    return (
        f"the training has {total_steps} updates, and the learning rate rises for optim.warmup={cfg.warmup}: it ends "
        f"at {total_steps / cfg.warmup:.0%} of optim.lr; give more trainer.{length}, "
        f"or optim.warmup={total_steps // 10}"
    )


def build_optimizer(cfg: OptimConfig, module: nn.Module) -> torch.optim.AdamW:
    """AdamW in one fused pass over all parameters; biases and norms are not decayed."""
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    decayed = [parameter for name, parameter in trained if parameter.ndim > 1 and not name.endswith("bias")]
    others = [parameter for name, parameter in trained if parameter.ndim <= 1 or name.endswith("bias")]
    groups = [{"params": decayed, "weight_decay": cfg.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=cfg.lr, betas=cfg.betas, eps=cfg.eps, fused=True)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Use `lr` for the next update of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr
