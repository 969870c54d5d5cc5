"""Audio that is read while training though something about it is doubtful: named once, counted."""

from collections.abc import Callable, Iterable, Sequence

from hybrid_asr.training.messages import FirstFew


class Doubtful:
    """Notes what the loader tells of the audio that it reads; `known` was printed before the training."""

    def __init__(self, warn: Callable[[str], None], known: Iterable[str] = ()):
        self._told = FirstFew(warn, "warning: ", known)

    def note(self, messages: Sequence[str]) -> None:
        """Take a batch's messages, and print the first few that are new."""
        self._told.note(messages)

    def text(self) -> str:
        """For the end of a training; empty where nothing was told."""
        count = len(self._told.messages)
        return f"{count} warnings about audio that was read all the same" if count else ""
