"""Errors that end a command with one line instead of a traceback."""


class UserError(Exception):
    """Something the user gave cannot be used; the text says what was given and what to do. Exit code 2."""


class RunFailed(Exception):
    """The run came to its end, and more units failed than the recipe allows. Exit code 1."""
