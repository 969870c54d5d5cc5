"""Where signals are handled: Ctrl-C, SIGTERM, and SIGUSR1, by which SLURM announces that a job's time is nearly up.

While updates are made a signal only asks for the state to be saved and the training to stop, behind the step under way
(`StopSignals`). Before and after that there is nothing to save, and the process ends (`exit_on_signal`).
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from hybrid_asr.training.messages import print_stderr, rank_zero_print


class StopSignals:
    """Notes the signal that asks the training to stop; `number` is 0 as long as there is none."""

    def __init__(self) -> None:
        self.number = 0
        self._former: dict[int, Any] = {}

    def install(self) -> None:
        """Handle the signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            self._former[number] = signal.signal(number, self._note)

    def restore(self) -> None:
        """Give the signals back to their former handlers."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _note(self, number: int, frame: Any) -> None:
        """Never cut a step in two. The second Ctrl-C or SIGTERM goes to the former handler, which ends the process."""
        self.number = number
        if number != signal.SIGUSR1:
            signal.signal(number, self._former.get(number, signal.SIG_DFL))
        print_stderr("\nsaving at the next step, then stopping; once more to stop at once")


@contextlib.contextmanager
def exit_on_signal(command: str) -> Iterator[None]:
    """Let SIGTERM and SIGUSR1 end this process in an orderly way, with `command` to continue in the message."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    former = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    except SystemExit as stop:
        rank_zero_print(f"terminated (exit status {stop.code}); what was saved before stays, go on with:\n  {command}")
        raise
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
