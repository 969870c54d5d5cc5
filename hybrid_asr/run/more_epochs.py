"""More epochs for a run: a training that goes on as one does which was longer from its first step, where that is so."""

import dataclasses

from hybrid_asr.run.config import RunConfig


def with_length(cfg: RunConfig, length: int) -> RunConfig:
    """The configuration of a training of so many epochs, or steps where `cfg` counts these."""
    return dataclasses.replace(cfg, trainer=dataclasses.replace(cfg.trainer, **{cfg.trainer.length[0]: length}))


def other_length(cfg: RunConfig, former: RunConfig) -> dict[str, int]:
    """The number of epochs or steps of `cfg`, by its dotted path, where `former` has another; nothing elsewhere."""
    (unit, length), (its_unit, its_length) = cfg.trainer.length, former.trainer.length
    return {f"trainer.{unit}": length} if unit == its_unit and length != its_length else {}


def what_follows_epochs(cfg: RunConfig) -> str | None:
    """Which setting makes the first steps depend on the length of all; None where a training can be extended."""
    if cfg.optim.schedule == "cosine":
        return "the learning rate of optim.schedule=cosine reaches its end with the last epoch"
    if cfg.loss.guide.weight > 0:
        return "guided attention (loss.guide) acts for a share of all epochs"
    for name, part in (("encoder", cfg.model.encoder), ("decoder", cfg.model.decoder)):
        if part.follows_progress:
            return f"model.{name} of kind '{part.kind}' changes with the share of all epochs that is done"
    return None


def refuse_other_length(cfg: RunConfig, former: int, folder: str, command: str, *, finished: bool) -> str | None:
    """Why a training of `former` epochs or steps cannot become one of `cfg`, with the remedy; None where it can.

    `command` begins another run with the weights of this one; one that is not `finished` can also be finished.
    """
    unit, wanted = cfg.trainer.length
    held = f"{folder}: holds a training of {former} {unit}, and {wanted} are wanted"
    if wanted < former:
        return (
            f"{held}: a training only goes on; leave trainer.{unit}={former}, or give --folder DIR for one of {wanted} "
            f"{unit} from the start"
        )
    if reason := what_follows_epochs(cfg):
        resume = "" if finished else f"to go on with the training that was stopped, give trainer.{unit}={former}; or\n"
        return (
            f"{held}: {reason}, so that a longer training is another one from its first step on\n"
            f"{resume}begin a training with the weights of this one:\n  {command}"
        )
    return None
