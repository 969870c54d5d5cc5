"""Messages for the user, on stderr: from every process, or from the first one alone."""

import contextlib
import sys
from collections.abc import Callable, Iterable

from torch import distributed

from hybrid_asr.training.launch_environment import is_rank_zero

NAMED = 5  # messages of one kind that are printed


def print_stderr(text: str, end: str = "\n") -> None:
    """Print from this process. No training ends because its reader has, or because a signal came amid a line."""
    with contextlib.suppress(OSError, RuntimeError):  # a closed pipe or terminal; a print inside a print
        print(text, end=end, file=sys.stderr, flush=True)


def rank_zero_print(text: str) -> None:
    """Print from the first process alone, after erasing the progress line, which has no end."""
    if is_rank_zero():
        erase = "\r\033[K" if sys.stderr.isatty() else ""
        print_stderr(f"{erase}{text}")


def print_from_any(text: str) -> None:
    """Print what one process alone knows, such as what its share of the data lacks; another than the first says who."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    if rank > 0:
        print_stderr(f"process {rank}: {text}")
    else:
        rank_zero_print(text)


class FirstFew:
    """Messages that come again and again: each is counted once, and the first few are printed."""

    def __init__(self, tell: Callable[[str], None], beginning: str, known: Iterable[str] = ()):
        """Print by `tell`, behind `beginning`; what is `known` was printed before, and counts."""
        self._tell, self._beginning = tell, beginning
        self.messages: set[str] = set(known)

    def note(self, messages: Iterable[str]) -> None:
        """Take further messages, and print those that are new, up to NAMED."""
        for message in messages:
            if message in self.messages:
                continue
            self.messages.add(message)
            if len(self.messages) <= NAMED:
                more = "; further ones are only counted" if len(self.messages) == NAMED else ""
                self._tell(f"{self._beginning}{message}{more}")
