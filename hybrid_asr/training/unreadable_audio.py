"""Utterances whose audio could not be read while training: counted, named, and when there are too many."""

from collections.abc import Callable, Sequence

NAMED = 5  # that are reported one by one


class Unreadable:
    """Notes what the loader left out; `halt` becomes a message when more than `most` utterances are concerned."""

    def __init__(self, most: int, warn: Callable[[str], None]):
        self.most, self.warn = most, warn
        self.names: set[str] = set()
        self.halt = ""

    def note(self, messages: Sequence[str]) -> int:
        """Take a batch's messages about the utterances it lacks; returns their number."""
        for message in messages:
            if message in self.names:
                continue
            self.names.add(message)
            if len(self.names) <= NAMED:
                more = "; further ones are only counted" if len(self.names) == NAMED else ""
                self.warn(f"left out: {message}{more}")
        if len(self.names) > self.most and not self.halt:
            self.halt = (
                f"{len(self.names)} training utterances could not be read, data.unreadable_share allows {self.most}; "
                f"the last one: {messages[-1]}"
            )
        return len(messages)

    def text(self) -> str:
        """For the end of a training; empty where everything was read."""
        return f"{len(self.names)} training utterances could not be read and were left out" if self.names else ""
