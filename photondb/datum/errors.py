"""What is raised when a value breaks a rule of the value library."""

from __future__ import annotations

from typing import Literal

__all__ = ["DatumError", "ErrorKind", "type_error"]

ErrorKind = Literal["logic", "non_existence", "resource"]


class DatumError(Exception):
    """A value that is not allowed where it was found.

    ``message`` is RethinkDB's text for the same mistake.  ``kind`` says which class of ReQL error it becomes:
    ``logic`` (ReqlQueryLogicError), ``non_existence`` (ReqlNonExistenceError) or ``resource`` (ReqlResourceLimitError).
    """

    def __init__(self, message: str, kind: ErrorKind = "logic") -> None:
        super().__init__(message)
        self.message = message
        self.kind: ErrorKind = kind


def type_error(value: object, message: str) -> DatumError:
    """The error for a `value` of the wrong type.

    RethinkDB takes a null where another type is expected for something missing, so that ``default`` can replace it.
    """
    return DatumError(message, "non_existence" if value is None else "logic")
