"""What the store's errors are for a query."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from photondb.reql.errors import ErrorKind, ReqlError
from services.storage.rocks import StoreError

log = logging.getLogger(__name__)


@contextmanager
def reql_errors() -> Iterator[None]:
    """Turn errors of the store into errors of the query."""
    try:
        yield
    except StoreError as error:
        raise reql_error(error) from None


def reql_error(error: StoreError) -> ReqlError:
    """The error of a query that the store could not carry out."""
    log.error("the store failed", extra={"reason": str(error)})
    return ReqlError(ErrorKind.OP_FAILED if error.kind == "full" else ErrorKind.INTERNAL, str(error))


def write_error(error: StoreError, done_documents: int) -> ReqlError:
    """The error for a statement that failed after `done_documents` of its documents were written."""
    if done_documents:
        log.error("a write failed", extra={"reason": str(error)})
        return ReqlError(
            ErrorKind.OP_INDETERMINATE, f"{error} Only the first {done_documents:,} documents of the write were saved."
        )
    return reql_error(error)


def indeterminate(error: StoreError) -> ReqlError:
    """The error for a write of which nobody knows whether it is on the disk."""
    log.error("the log cannot be synced", extra={"reason": str(error)})
    return ReqlError(ErrorKind.OP_INDETERMINATE, f"{error} The write may or may not have been saved.")
