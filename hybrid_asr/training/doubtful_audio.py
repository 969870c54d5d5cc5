"""Audio that is read while training though something about it is doubtful: named once, counted."""

from collections.abc import Callable, Iterable, Sequence

from hybrid_asr.training.unreadable_audio import NAMED


class Doubtful:
    """Notes what the loader tells of the audio that it reads; `known` was printed before the training."""

    def __init__(self, warn: Callable[[str], None], known: Iterable[str] = ()):
        self.warn = warn
        self.messages: set[str] = set(known)

    def note(self, messages: Sequence[str]) -> None:
        """Take a batch's messages, and print the first few that are new."""
        for message in messages:
            if message in self.messages:
                continue
            self.messages.add(message)
            if len(self.messages) <= NAMED:
                more = "; further ones are only counted" if len(self.messages) == NAMED else ""
                self.warn(f"warning: {message}{more}")

    def text(self) -> str:
        """For the end of a training; empty where nothing was told."""
        return f"{len(self.messages)} warnings about audio that was read all the same" if self.messages else ""
