"""What clients are told when something fails that is no error of their query."""

from __future__ import annotations

import logging
import uuid

from photondb.datum.errors import DatumError
from photondb.reql.errors import ErrorKind, ReqlError
from photondb.reql.parameters import reql_error

logger = logging.getLogger(__name__)


def as_reql_error(error: BaseException) -> ReqlError:
    """Any exception as what a client is told."""
    if isinstance(error, ReqlError):
        return error
    if isinstance(error, DatumError):
        return reql_error(error, ())
    if isinstance(error, RecursionError):
        return ReqlError(ErrorKind.RESOURCE_LIMIT, "The query needs too much stack: it is nested too deeply.", ())
    if isinstance(error, MemoryError):
        return ReqlError(ErrorKind.RESOURCE_LIMIT, "The query needs too much memory.", ())
    return internal_error(error)


def internal_error(error: BaseException) -> ReqlError:
    """A defect of ours: the log has it with its traceback, the client is told where to look."""
    request_id = uuid.uuid4().hex[:16]
    logger.error("a query failed", exc_info=error, extra={"request_id": request_id})
    return ReqlError(
        ErrorKind.INTERNAL, f"Internal error. The server's log has the details under request id {request_id}.", ()
    )
