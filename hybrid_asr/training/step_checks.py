"""What looks at every step of a training: progress, updates that are not finite, audio that is gone, divergence."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hybrid_asr.training.checkpoint import Checkpoints
from hybrid_asr.training.config import TrainerConfig
from hybrid_asr.training.divergence import Divergence
from hybrid_asr.training.nonfinite import Nonfinite
from hybrid_asr.training.process import is_first, say
from hybrid_asr.training.progress import Progress
from hybrid_asr.training.status import StatusFile
from hybrid_asr.training.unreadable_audio import Unreadable


def build_progress(
    cfg: TrainerConfig,
    *,
    checkpoints: Checkpoints,
    status: StatusFile,
    written: Sequence[dict[str, str]],
    state: dict[str, Any] | None,
    nonfinite_file: Path,
    unreadable: Unreadable,
    steps_per_epoch: int,
) -> Progress:
    """The callback that looks at each step; `state` is the saved one, `written` the rows of metrics.csv up to it."""
    nonfinite = Nonfinite(
        file=nonfinite_file, checkpoints=checkpoints, policy=cfg.nonfinite, limit=cfg.nonfinite_limit, warn=say
    )
    if is_first():
        earlier = {} if state is None else state.get("nonfinite", {})
        nonfinite.continue_from(0 if state is None else state["step"], earlier)
    progress = Progress(
        every=cfg.log_every,
        steps_per_epoch=steps_per_epoch,
        warn=say,
        status=status,
        nonfinite=nonfinite,
        unreadable=unreadable,
        diverging=_watch_loss(cfg, checkpoints, status, written),
    )
    if state is not None:
        progress.windows = state["windows"]
    return progress


def _watch_loss(
    cfg: TrainerConfig, checkpoints: Checkpoints, status: StatusFile, written: Sequence[dict[str, str]]
) -> Callable[[int, float], None]:
    """Tell, once, that training diverges; what an earlier process told is an alarm still."""
    divergence = Divergence(cfg.divergence_factor, cfg.divergence_rows)
    losses = [(int(row["step"]), float(row["train.loss"])) for row in written if row.get("train.loss")]
    status.alarms = [alarm for step, loss in losses if (alarm := divergence.add(step, loss))]

    def look(step: int, loss: float) -> None:
        alarm = divergence.add(step, loss)
        if alarm:
            alarm = f"{alarm}. {advice(checkpoints, divergence.best_step)}"
            say(f"warning: {alarm}")
            status.alarms.append(alarm)

    return look


def advice(checkpoints: Checkpoints, good_step: int) -> str:
    """What to do about a training that diverges and was best at `good_step`."""
    found = checkpoints.good_until(good_step)
    if found is None:
        return "No epoch has ended yet: begin anew with a lower optim.lr or a longer optim.warmup"
    file, good = found
    return (
        f"The last good checkpoint is {file} (epoch {good.epoch}, step {good.step}); in a run of its own, start from "
        f"it with init.from={file} and a lower optim.lr, a longer optim.warmup or a smaller optim.clip"
    )
