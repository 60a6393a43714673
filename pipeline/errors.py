"""Errors that end a command with one line instead of a traceback."""


class UserError(Exception):
    """User input cannot be used; the text states what was given and what to do. Exit code 2."""


class RunFailed(Exception):
    """The run ended, and more units failed than the recipe allows. Exit code 1."""


class StorageError(OSError):
    """A corpus cannot be read or written; the text names the file, the reason and what to do.

    Exit code 2; 1 where it ends a run that has begun.

    Args:
        text: The message, one line.
        lasting: Whether trying again cannot help: a full disk, missing rights, a bucket that does not exist.
    """

    def __init__(self, text: str, *, lasting: bool = False) -> None:
        super().__init__(text)
        self.lasting = lasting


class MissingFileError(StorageError, FileNotFoundError):
    """A file of a corpus that should be there is not."""


class DamagedFileError(StorageError):
    """A file of a corpus does not hold what its name says: cut off, overwritten, empty."""
