"""Errors that cross the wire: exceptions become data on one side and exceptions again on the other.

What a caller may get, apart from the errors of the interfaces themselves (`ReqlError`, `TableGone`, `LogGap`,
`AuthenticationFailed`), are the classes below. They are ReqlErrors, so that a query that fails because of them is
answered properly without anybody having to translate.
"""

from __future__ import annotations

import enum
import logging
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
import orjson

from photondb.api.auth import AuthenticationFailed
from photondb.api.storage import LogGap, TableGone
from photondb.api.transactions import TransactionConflict
from photondb.reql.errors import ClientError, CompileError, ErrorKind, ReqlError, ResponseType

_log = logging.getLogger(__name__)


class ServiceUnavailable(ReqlError):
    """A service could not be reached, or was lost while it carried out the call.

    Its kind is OP_INDETERMINATE where the call may have had its effect all the same, else OP_FAILED.
    """

    def __init__(self, message: str, *, indeterminate: bool = False) -> None:
        super().__init__(ErrorKind.OP_INDETERMINATE if indeterminate else ErrorKind.OP_FAILED, message)


class ConnectionLost(ServiceUnavailable):
    """The connection that the call went over was lost; what it names is the service that was called itself."""


class DeadlineExceeded(ReqlError):
    """The deadline of the call's context passed. OP_INDETERMINATE where it may have had its effect all the same."""

    def __init__(self, message: str, *, indeterminate: bool = False) -> None:
        super().__init__(ErrorKind.OP_INDETERMINATE if indeterminate else ErrorKind.RESOURCE_LIMIT, message)


class Overloaded(ReqlError):
    """The service refused the call, without any effect, because it has as many in hand as it takes."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorKind.RESOURCE_LIMIT, message)


class InternalError(ReqlError):
    """The service has a bug; its log says more, under `request_id`."""

    def __init__(self, message: str, request_id: str) -> None:
        super().__init__(ErrorKind.INTERNAL, message)
        self.request_id = request_id


class Category(enum.IntEnum):
    """`ErrorCategory` of common.capnp."""

    REQL = 0
    OVERLOADED = 1
    DEADLINE_EXCEEDED = 2
    SERVICE_UNAVAILABLE = 3
    TABLE_GONE = 4
    LOG_GAP = 5
    AUTHENTICATION_FAILED = 6
    TRANSACTION_CONFLICT = 7


class WireError(msgspec.Struct, omit_defaults=True):
    """`Error` of common.capnp, with the names that it has as a JSON object. `backtrace` None is an unknown one."""

    kind: int
    message: str
    backtrace: Sequence[int | str] | None = None
    response_type: int = ResponseType.RUNTIME_ERROR
    category: int = Category.REQL
    detail: int = 0
    request_id: str = ""

    @classmethod
    def of(cls, error: BaseException, service: str, request_id: str) -> WireError:
        """What the peer is told of `error`. What no interface knows is a bug: it is logged, and not told."""
        wire_error = cls._of(error, service, request_id)
        wire_error.message = encodable(wire_error.message)
        return wire_error

    @classmethod
    def _of(cls, error: BaseException, service: str, request_id: str) -> WireError:
        match error:
            case Overloaded():
                return cls(error.kind, error.message, category=Category.OVERLOADED)
            case DeadlineExceeded():
                return cls(error.kind, error.message, category=Category.DEADLINE_EXCEEDED)
            case ServiceUnavailable():
                return cls(error.kind, error.message, category=Category.SERVICE_UNAVAILABLE)
            case InternalError():
                return cls(error.kind, error.message, request_id=error.request_id)
            case TransactionConflict():
                return cls(error.kind, error.message, category=Category.TRANSACTION_CONFLICT)
            case ReqlError():
                return cls(error.kind, error.message, error.frames, error.response_type)
            case TableGone():
                return cls(ErrorKind.OP_FAILED, "The table was dropped.", category=Category.TABLE_GONE)
            case LogGap():
                return cls(ErrorKind.OP_FAILED, str(error), category=Category.LOG_GAP, detail=error.oldest)
            case AuthenticationFailed():
                return cls(
                    ErrorKind.PERMISSION,
                    error.message,
                    category=Category.AUTHENTICATION_FAILED,
                    detail=int(error.code),  # Cap'n Proto takes no enumeration
                )
        request_id = request_id or uuid.uuid4().hex[:16]
        _log.error("a call failed because of a bug", exc_info=error, extra={"request_id": request_id})
        message = f"Internal error in the {service} service. Its log has the details under request id {request_id}."
        return cls(ErrorKind.INTERNAL, message, request_id=request_id)

    def exception(self) -> Exception:
        """The exception that it stands for. An unknown category gives a ReqlError, an unknown kind an INTERNAL one."""
        indeterminate = self.kind == ErrorKind.OP_INDETERMINATE
        match self.category:
            case Category.OVERLOADED:
                return Overloaded(self.message)
            case Category.DEADLINE_EXCEEDED:
                return DeadlineExceeded(self.message, indeterminate=indeterminate)
            case Category.SERVICE_UNAVAILABLE:
                return ServiceUnavailable(self.message, indeterminate=indeterminate)
            case Category.TABLE_GONE:
                return TableGone()
            case Category.LOG_GAP:
                return LogGap(self.detail)
            case Category.AUTHENTICATION_FAILED:
                return AuthenticationFailed(self.message, self.detail)
            case Category.TRANSACTION_CONFLICT:
                return TransactionConflict(self.message)
        if self.response_type == ResponseType.COMPILE_ERROR:
            return CompileError(self.message, self.backtrace or ())
        if self.response_type == ResponseType.CLIENT_ERROR:
            return ClientError(self.message)
        if self.kind == ErrorKind.INTERNAL and self.request_id:
            return InternalError(self.message, self.request_id)
        kind = ErrorKind(self.kind) if self.kind in _KINDS else ErrorKind.INTERNAL
        return ReqlError(kind, self.message, self.backtrace)

    def write(self, builder: Any) -> None:
        """Fill in an `Error` of common.capnp."""
        builder.kind = int(self.kind)  # pycapnp takes no subclasses of int
        builder.message = self.message
        if self.backtrace is not None:
            builder.backtrace = orjson.dumps(list(self.backtrace))
        builder.responseType = int(self.response_type)
        builder.category = int(self.category)
        builder.detail = self.detail
        builder.requestId = self.request_id

    @classmethod
    def read(cls, reader: Any) -> WireError:
        """What an `Error` of common.capnp holds."""
        backtrace = reader.backtrace
        return cls(
            reader.kind,
            reader.message,
            orjson.loads(backtrace) if backtrace else None,
            reader.responseType,
            reader.category.raw,
            reader.detail,
            reader.requestId,
        )


_KINDS = frozenset(ErrorKind)


def encodable(text: str) -> str:
    """`text` with U+FFFD for each lone surrogate, which a user's string can have and UTF-8 cannot express."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
