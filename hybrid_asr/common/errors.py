"""The mistakes of a user: what the command line shows as one line, without a traceback."""

import re

_LONGEST = 2000  # characters of a line of a message: enough for a command with many settings
_UNSHOWN = re.compile("[\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]")


class UserError(ValueError):
    """Something the user can correct. The message names the item and the remedy; the exit status is 2.

    What it quotes from a file cannot act on a terminal or flood it: control characters and broken ones are escaped,
    and long lines lose their middle.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class AudioWarning(UserWarning):
    """What is doubtful about a sound file that is read all the same. The message names the file and the remedy.

    It is escaped and shortened as that of a UserError.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def printable(message: str) -> str:
    """The message with control characters escaped and the middle of long lines left out."""
    return "\n".join(map(_shortened, _UNSHOWN.sub(_escaped, message).split("\n")))


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 3 :]}"
