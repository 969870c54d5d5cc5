"""How far a long piece of work is: a line that is written over on a terminal, else a line every half minute."""

import sys
import time

from hybrid_asr.common.problems import tell_user

_WIDTH = 24
_TERMINAL_S, _FILE_S = 0.2, 30.0


class ProgressBar:
    """Called with what is done and the total; `what` names the work. Work of a moment shows nothing."""

    def __init__(self, what: str):
        self._what, self._begin = what, time.monotonic()
        self._live = sys.stderr.isatty()
        self._shown, self._told = False, self._begin

    def __call__(self, done: int, total: int) -> None:
        """Show `done` of `total`, if it is time to."""
        now = time.monotonic()
        if done == total and self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._shown = False
        elif done < total and now - self._told >= (_TERMINAL_S if self._live else _FILE_S):
            self._told = now
            left = (now - self._begin) * (total - done) / max(done, 1)
            text = f"{self._what}: {done:,} of {total:,}, {left:.0f} s left"
            if self._live:
                full = _WIDTH * done // total
                print(f"\r\033[K[{'=' * full}{' ' * (_WIDTH - full)}] {text}", end="", file=sys.stderr, flush=True)
                self._shown = True
            else:
                tell_user(f"note: {text}")
