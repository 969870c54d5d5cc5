"""Does the loss still fall?  A bound that moves with the best that was reached."""

from collections import deque

LOW = 0.5  # nats per label: below that a loss doubles by chance


class Divergence:
    """Looks at the loss of each row of `metrics.csv`: `rows` of them are averaged, lest a single hard batch alarms."""

    def __init__(self, factor: float, rows: int):
        self.factor, self.rows = factor, rows
        self.latest: deque[float] = deque(maxlen=rows)
        self.best, self.best_step = float("inf"), 0
        self.told = False  # since the best was reached

    def add(self, step: int, loss: float) -> str | None:
        """Take a row; what is to be told when the mean exceeds `factor` times its best, once until a new best."""
        self.latest.append(loss)
        if len(self.latest) < self.rows:
            return None
        mean = sum(self.latest) / self.rows
        if mean < self.best:
            self.best, self.best_step, self.told = mean, step, False
        if self.told or mean <= self.factor * max(self.best, LOW):
            return None
        self.told = True
        return (
            f"step {step}: training diverges: the loss, {mean:.3f} over the last {self.rows} rows, is more than "
            f"{self.factor:g} times its best, {self.best:.3f} at step {self.best_step}"
        )
