"""The exceptions of Forebay: one class for each kind of error, named for who has to act.

A function that a job calls may raise them, too. They then mean what the kind means: `OverloadError` shrinks the limit
and the rows are tried again, `DataError` makes the row a dead letter. Every other exception of a function is a
`DataError`.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import ClassVar, Final


class Error(Exception):
    """Base of all errors of Forebay.

    >>> error = DataError("parse number", row="17")
    >>> str(error), error.kind, error.retryable, error.context
    ('parse number (row=17)', 'Data', False, {'row': '17'})
    """

    kind: ClassVar[str] = "Internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, /, **context: object) -> None:
        """Says what was attempted, with what."""
        super().__init__(message)
        self.message = message
        self.context: dict[str, str] = {key: str(value) for key, value in context.items()}
        self._chain: str | None = None

    def __str__(self) -> str:
        """Returns the message, followed by its context; for an error of the engine all that it says."""
        if self._chain is not None:
            return self._chain
        pairs = ", ".join(f"{key}={value}" for key, value in self.context.items())
        return f"{self.message} ({pairs})" if pairs else self.message


class InvalidError(Error, ValueError):
    """The job, a setting or an argument is wrong; never tried again, the user fixes it."""

    kind = "Invalid"


class DataError(Error):
    """A row is bad: it becomes a dead letter and the job goes on."""

    kind = "Data"


class UnavailableError(Error):
    """Something outside is down; tried again."""

    kind = "Unavailable"
    retryable = True


class OverloadError(Error):
    """Something outside says slow down; the limit shrinks, then it is tried again."""

    kind = "Overload"
    retryable = True


class TimeoutError(Error, builtins.TimeoutError):  # noqa: A001 - the builtin is a base, so that `except TimeoutError` catches both
    """No answer in time."""

    kind = "Timeout"
    retryable = True


class ExhaustedError(Error):
    """Local memory is full; the request batch is halved and tried again."""

    kind = "Exhausted"
    retryable = True


class FencedError(Error):
    """Another attempt of the job owns this."""

    kind = "Fenced"


class CancelledError(Error):
    """The user cancelled it."""

    kind = "Cancelled"


class CorruptError(Error):
    """Stored state cannot be read; nothing is guessed."""

    kind = "Corrupt"


class InternalError(Error):
    """A bug of Forebay; please report it."""


KINDS: Final[Mapping[str, type[Error]]] = {
    each.kind: each
    for each in (
        InvalidError,
        DataError,
        UnavailableError,
        OverloadError,
        TimeoutError,
        ExhaustedError,
        FencedError,
        CancelledError,
        CorruptError,
        InternalError,
    )
}


def from_native(error: BaseException) -> Error:
    """The error of its kind for one that the engine raised.

    >>> class Raised(Exception):
    ...     kind, message, context, chain = "Data", "read row", [("row", "3")], "read row (row=3): no number"
    >>> error = from_native(Raised())
    >>> print(type(error).__name__, error, error.message, error.context, sep=" | ")
    DataError | read row (row=3): no number | read row | {'row': '3'}
    """
    made = KINDS.get(getattr(error, "kind", ""), InternalError)(str(getattr(error, "message", error)))
    made.context = dict(getattr(error, "context", []))
    made._chain = str(getattr(error, "chain", error))
    return made
