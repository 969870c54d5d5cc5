"""Does the loss still fall?  A bound that moves with the best that was reached."""

from collections import deque
from collections.abc import Callable, Sequence

from hybrid_asr.training.checkpoint import Checkpoints
from hybrid_asr.training.config import TrainerConfig
from hybrid_asr.training.messages import rank_zero_print
from hybrid_asr.training.status import StatusFile

LOW = 0.5  # nats per label: below that a loss doubles by chance


class Divergence:
    """Looks at the loss of each row of `metrics.csv`: the mean of `rows` of them, as one hard batch is no alarm."""

    def __init__(self, factor: float, rows: int):
        self.factor, self.rows = factor, rows
        self.latest: deque[float] = deque(maxlen=rows)
        self.best, self.best_step = float("inf"), 0
        self.warned = False  # since the best was reached

    def add(self, step: int, loss: float) -> str | None:
        """Take a row; the message when the mean exceeds `factor` times its best, once until a new best."""
        self.latest.append(loss)
        if len(self.latest) < self.rows:
            return None
        mean = sum(self.latest) / self.rows
        if mean < self.best:
            self.best, self.best_step, self.warned = mean, step, False
        if self.warned or mean <= self.factor * max(self.best, LOW):
            return None
        self.warned = True
        return (
            f"step {step}: training diverges: the loss, {mean:.3f} over the last {self.rows} rows, is more than "
            f"{self.factor:g} times its best, {self.best:.3f} at step {self.best_step}"
        )


def divergence_alarm(
    cfg: TrainerConfig, checkpoints: Checkpoints, status: StatusFile, written: Sequence[dict[str, str]]
) -> Callable[[int, float], None]:
    """What is called with each row's step and loss, and warns once when training diverges.

    `written` are the rows of metrics.csv so far: what an earlier process warned of is an alarm still.
    """
    divergence = Divergence(cfg.divergence_factor, cfg.divergence_rows)
    losses = [(int(row["step"]), float(row["train.loss"])) for row in written if row.get("train.loss")]
    for earlier_step, earlier_loss in losses:
        if message := divergence.add(earlier_step, earlier_loss):
            status.alarm(message)

    def add(step: int, loss: float) -> None:
        """Take the loss of a row; warns when it has stayed too high for too long."""
        message = divergence.add(step, loss)
        if message:
            message = f"{message}. {advice(checkpoints, divergence.best_step)}"
            rank_zero_print(f"warning: {message}")
            status.alarm(message)

    return add


def advice(checkpoints: Checkpoints, good_step: int) -> str:
    """What to do about a training that diverges and was best at `good_step`."""
    last_good = checkpoints.good_until(good_step)
    if last_good is None:
        return "No epoch has ended yet: begin anew with a lower optim.lr or a longer optim.warmup"
    file, good = last_good
    return (
        f"The last good checkpoint is {file} (epoch {good.epoch}, step {good.step}); in a run of its own, start from "
        f"it with init.from={file} and a lower optim.lr, a longer optim.warmup or a smaller optim.clip"
    )
