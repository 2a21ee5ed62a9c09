"""Transactions, as storage tells of them."""

from __future__ import annotations

from typing import Literal

import msgspec

from photondb.reql.errors import ErrorKind, ReqlError

Isolation = Literal["serializable", "snapshot"]
"""What is guarded against. Both read one point in time, and lose no update. `serializable` transactions have the same
effect as if they had been carried out one after another; with `snapshot` two may each change what the other has only
read (write skew)."""

ISOLATIONS: tuple[Isolation, ...] = ("serializable", "snapshot")

TransactionState = Literal["open", "committed", "aborted"]


class TransactionInfo(msgspec.Struct, frozen=True):
    """A transaction. `started_us` is microseconds since 1970; `reason` says why it was aborted. `reads` counts keys and
    ranges that it has read, `writes` documents that it has changed."""

    id: str
    user: str
    isolation: Isolation
    read_only: bool
    timeout_ms: int
    started_us: int
    state: TransactionState = "open"
    reason: str = ""
    reads: int = 0
    writes: int = 0


class TransactionConflict(ReqlError):
    """A transaction was aborted, without any effect, because of what others have written: begin again."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorKind.OP_FAILED, message)
