"""Errors that end a command with one line instead of a traceback."""


class UserError(Exception):
    """User input cannot be used; the text states what was given and what to do. Exit code 2."""


class RunFailed(Exception):
    """The run ended, and more units failed than the recipe allows. Exit code 1."""
