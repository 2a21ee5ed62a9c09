"""Reading rows as of a known position of the log.

A scan sees one point in time, but not which. So the position is asked for before and after it begins, and what was
committed in between is read from the log: for the documents that it names the log's word counts, for all others the
scan's. Together they are the table as of the later position, from which on a feed tells of changes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from photondb.api.storage import LogGap
from services.changefeed.documents import Document
from services.changefeed.follower import TableFollower, aborted

T = TypeVar("T")

READ_RECORDS = 1000


class Snapshot(Generic[T]):
    """What a read gave, and what counts instead of it: `newer` has the documents (None where there is none) as they
    are at `positions`, of those that changed while the read began."""

    __slots__ = ("newer", "positions", "read")

    def __init__(self, read: T, positions: list[int], newer: dict[bytes, Document | None]) -> None:
        self.read = read
        self.positions = positions
        self.newer = newer


async def take_snapshot(follower: TableFollower, read: Callable[[], Awaitable[T]]) -> Snapshot[T]:
    """Begin a read. Raises TableGone, ReqlError."""
    before = await follower.log_position()
    while True:
        result = await read()
        after = await follower.log_position()
        if len(after) == len(before):
            break
        before = after  # the table was divided anew in between, and has more logs
    try:
        newer = await _read_between(follower, before, after)
    except LogGap:  # trimmed at this very moment
        raise aborted() from None
    return Snapshot(result, after, newer)


async def _read_between(
    follower: TableFollower, before: Sequence[int], after: Sequence[int]
) -> dict[bytes, Document | None]:
    """The documents that changed between two positions, as they are at the later one."""
    newer: dict[bytes, Document | None] = {}
    for shard, (position, end) in enumerate(zip(before, after, strict=True)):
        while position < end:
            records = await follower.read_log(shard, position, READ_RECORDS)
            if not records:  # its disk did not survive what it had acknowledged
                raise aborted()
            for record in records:
                if record.sequence <= end:
                    newer[record.key] = None if record.new is None else Document(record.new)
            position = records[-1].sequence
    return newer
