"""ReQL errors: what the language raises and what a client is told.

The kinds and the two numbers that stand for each on the wire are those of RethinkDB's `ql2.proto`
(`Response.ResponseType` and `Response.ErrorType`).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

Frames = tuple[int | str, ...]
"""A backtrace: the way from the query's root to a term, as argument positions and names of optional arguments."""


class ErrorKind(enum.IntEnum):
    """`Response.ErrorType`."""

    INTERNAL = 1000000
    RESOURCE_LIMIT = 2000000
    LOGIC = 3000000
    NON_EXISTENCE = 3100000
    OP_FAILED = 4100000
    OP_INDETERMINATE = 4200000
    USER = 5000000
    PERMISSION = 6000000


class ResponseType(enum.IntEnum):
    """`Response.ResponseType`."""

    SUCCESS_ATOM = 1
    SUCCESS_SEQUENCE = 2
    SUCCESS_PARTIAL = 3
    WAIT_COMPLETE = 4
    SERVER_INFO = 5
    CLIENT_ERROR = 16
    COMPILE_ERROR = 17
    RUNTIME_ERROR = 18


class ReqlError(Exception):
    """An error of a query. `frames` is None until the term that failed has said where it stands; `where` is the way
    from there to the argument that is to blame, if one is."""

    response_type = ResponseType.RUNTIME_ERROR

    def __init__(self, kind: ErrorKind, message: str, frames: Sequence[int | str] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.frames: Frames | None = None if frames is None else tuple(frames)
        self.where: Frames = ()

    def blame(self, argument: int | str) -> ReqlError:
        """The error, with one argument (its position or name) of the term marked as the one to blame."""
        self.where = (argument,)
        return self


class CompileError(ReqlError):
    """The query is no ReQL: an unknown term, a wrong number of arguments, an unknown optional argument."""

    response_type = ResponseType.COMPILE_ERROR

    def __init__(self, message: str, frames: Sequence[int | str] = ()) -> None:
        super().__init__(ErrorKind.LOGIC, message, frames)


class ClientError(ReqlError):
    """What the client sent is no query: bad JSON, an unknown token, a broken envelope."""

    response_type = ResponseType.CLIENT_ERROR

    def __init__(self, message: str) -> None:
        super().__init__(ErrorKind.LOGIC, message, ())


class EmptyUserError(ReqlError):
    """`r.error()` without a message: inside `default` it stands for the error that was caught."""

    def __init__(self) -> None:
        super().__init__(ErrorKind.LOGIC, "Empty ERROR term outside a default block.")


def logic_error(message: str) -> ReqlError:
    """The query asks for something that makes no sense."""
    return ReqlError(ErrorKind.LOGIC, message)


def non_existence_error(message: str) -> ReqlError:
    """Something that is not there was used; `default` catches this kind."""
    return ReqlError(ErrorKind.NON_EXISTENCE, message)


def op_failed(message: str) -> ReqlError:
    """An operation on the catalogue or on data was refused and has had no effect."""
    return ReqlError(ErrorKind.OP_FAILED, message)


def resource_limit(message: str) -> ReqlError:
    """A limit on size, depth, time or memory was reached."""
    return ReqlError(ErrorKind.RESOURCE_LIMIT, message)


def user_error(message: str) -> ReqlError:
    """Raised by the query itself with `r.error`."""
    return ReqlError(ErrorKind.USER, message)
