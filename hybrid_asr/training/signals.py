"""Signals are ours from the start of `train`: Ctrl-C, SIGTERM, and SIGUSR1, by which SLURM announces that time is up.

While updates are made a signal only asks for the state to be saved and the training to stop, behind a step at which all
processes do. Before and after that there is nothing to save, and the process ends at once.
"""

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector

from hybrid_asr.training.messages import print_stderr

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ANNOUNCED = (0, signal.SIGUSR1)  # no signal, or the one that announces that time is up
SAME_S = 2.0  # within which equal signals are one: a terminal and torchrun both pass a Ctrl-C on


class StoppedAtOnce(SystemExit):
    """A signal ended the process where nothing was to be saved, or was the second one."""

    def __init__(self, signal_number: int):
        super().__init__(128 + signal_number)
        self.signal_number = signal_number


class StopSignals:
    """Notes the signal that asks the training to stop; `number` is 0 as long as there is none.

    `left` is the signal by which this process is ending at once, `latest` the last one that came, if only to the
    process: while its main thread waits within torch, no handler runs.
    """

    def __init__(self) -> None:
        self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.clear()

    def clear(self) -> None:
        """As if no signal had come."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._pipe[0], 65536)
        self.number = self.left = self.latest = 0
        self.deferred = False  # whether updates are made: a signal is noted, and cuts no step in two
        self.quiet = False  # of processes that train together
        self._came = self._heard = -math.inf  # when the first signal came, and when one that ends this process did

    def handle(self, number: int, frame: Any) -> None:
        """Note a signal, or end this process. The second Ctrl-C or SIGTERM, unless it is the same one, ends it.

        SIGUSR1 announces that another follows: the SIGTERM behind it is the first.
        """
        now = time.monotonic()
        if (self.left or number == self.number) and now - self._came < SAME_S:
            return
        self._came = now
        if not self.deferred or (self.number not in ANNOUNCED and number != signal.SIGUSR1):
            self.left = number
            raise StoppedAtOnce(number)
        first = not self.number
        if first or number != signal.SIGUSR1:
            self.number = number
        if first and not self.quiet:
            print_stderr("\nsaving at the next step, then stopping; once more to stop at once")

    def send(self, number: int) -> None:
        """Let the main thread end at once, as another process does."""
        self.deferred = False
        os.kill(os.getpid(), number)

    def overdue(self, seconds: float) -> bool:
        """Whether this process should have ended so many seconds ago. For a thread that looks about once a second."""
        with contextlib.suppress(BlockingIOError):
            for number in os.read(self._pipe[0], 64):
                if number not in SIGNALS:
                    continue
                later = time.monotonic() - self._came > SAME_S
                again = self.latest not in ANNOUNCED and number != signal.SIGUSR1 and later
                self.latest = number
                if self._heard == -math.inf and (again or not self.deferred):
                    self._heard = time.monotonic()
        return -math.inf < self._heard < time.monotonic() - seconds

    def install(self) -> dict[int, Any]:
        """Handle the signals from now on; gives their former handlers."""
        former: dict[int, Any] = {number: signal.signal(number, self.handle) for number in SIGNALS}
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        return former


STOP = StopSignals()  # of this process


@contextlib.contextmanager
def signals_handled() -> Iterator[None]:
    """Handle the signals until the block ends; then they have their former handlers again."""
    STOP.clear()
    former = STOP.install()
    try:
        yield
    finally:
        STOP.clear()
        signal.set_wakeup_fd(-1)
        for number, handler in former.items():
            signal.signal(number, handler)


class NoSignals(_SignalConnector):
    """Keeps Lightning from the signals: at SIGTERM its handler begins an exchange, to which the others do not come."""

    def register_signal_handlers(self) -> None:
        """Leave ours as they are."""

    def teardown(self) -> None:
        """Leave ours as they are."""
