"""Messages for the user, on stderr: from every process, or from the first one alone."""

import contextlib
import sys

from hybrid_asr.training.launch_environment import is_rank_zero


def print_stderr(text: str, end: str = "\n") -> None:
    """Print from this process. No training ends because its reader has, or because a signal came amid a line."""
    with contextlib.suppress(OSError, RuntimeError):  # a closed pipe or terminal; a print inside a print
        print(text, end=end, file=sys.stderr, flush=True)


def rank_zero_print(text: str) -> None:
    """Print from the first process alone, after erasing the progress line, which has no end."""
    if is_rank_zero():
        erase = "\r\033[K" if sys.stderr.isatty() else ""
        print_stderr(f"{erase}{text}")
