"""The mistakes of a user: what the command line shows as one line, without a traceback."""


class UserError(ValueError):
    """Something the user can mend. The message names the item and the remedy; the exit status is 2."""
