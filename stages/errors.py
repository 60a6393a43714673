"""The one exception that a stage raises for a unit it cannot finish."""


class UnitError(Exception):
    """A unit of work cannot be finished; the message is for a person to read.

    Args:
        message: What was met and, where there is something to do, what to do.
        kind: Short class of the error, as it will stand in the ledger's ``error_type``.
        retryable: True when another attempt may succeed (a busy server), false when it cannot (a damaged file).
    """

    def __init__(self, message: str, *, kind: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.retryable = retryable

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (str(self), self.kind, self.retryable)


def _rebuild(message: str, kind: str, retryable: bool) -> UnitError:
    return UnitError(message, kind=kind, retryable=retryable)


class EmptyUnit(Exception):
    """The unit was read completely and needs no work; the message says what was found."""
