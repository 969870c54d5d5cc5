"""Utterances whose audio could not be read while training: counted, named, and when there are too many."""

from collections.abc import Callable, Sequence

from hybrid_asr.training.messages import FirstFew


class Unreadable:
    """Notes what the loader left out; `halt` becomes a message when more than `most` utterances are concerned."""

    def __init__(self, most: int, warn: Callable[[str], None]):
        self.most = most
        self._told = FirstFew(warn, "left out: ")
        self.halt = ""

    @property
    def names(self) -> set[str]:
        """What was left out, and why."""
        return self._told.messages

    def note(self, messages: Sequence[str]) -> int:
        """Take a batch's messages about the utterances it lacks; returns their number."""
        self._told.note(messages)
        if len(self.names) > self.most and not self.halt:
            self.halt = (
                f"{len(self.names)} training utterances could not be read, data.unreadable_share allows {self.most}; "
                f"the last one: {messages[-1]}"
            )
        return len(messages)

    def text(self) -> str:
        """For the end of a training; empty where everything was read."""
        return f"{len(self.names)} training utterances could not be read and were left out" if self.names else ""
