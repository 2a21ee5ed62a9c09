"""Finds where in the change log a feed begins that goes on after a position, or with a time."""

from __future__ import annotations

from photondb.api.storage import LogGap
from photondb.reql.errors import ReqlError, op_failed
from services.changefeed.follower import TableFollower
from services.changefeed.positions import BEGIN_AGAIN, Place, TokenMaker


async def resumed_place(follower: TableFollower, tokens: TokenMaker, token: str) -> Place:
    """The place after a token, from which on the log is complete. Raises ReqlError, TableGone."""
    ends = await follower.log_position()
    place = tokens.place(token, follower.info)
    for shard, (sequence, end) in enumerate(zip(place.sequences, ends, strict=False)):
        if sequence + (place.seen[shard] > 0) > end:
            raise op_failed(f"The position is ahead of the table's change log, as after a restore. {BEGIN_AGAIN}")
        try:
            await follower.read_log(shard, sequence, 1)
        except LogGap:
            raise _trimmed("this position") from None
    return place


async def place_at(follower: TableFollower, time_us: int) -> Place:
    """The place before the first change of each shard at `time_us` or later. Raises ReqlError, TableGone."""
    ends = await follower.log_position()
    info = follower.info
    sequences = [
        info.ended[shard].end
        if shard < len(info.ended) and info.ended[shard].at_us < time_us
        else await _sequence_before(follower, shard, end, time_us)
        for shard, end in enumerate(ends)
    ]
    return Place(sequences)


async def _sequence_before(follower: TableFollower, shard: int, end: int, time_us: int) -> int:
    """The last record before a time. Times only grow along the log, so that a binary search finds it."""
    if not end:
        return 0
    try:
        await follower.read_log(shard, 0, 1)
        oldest = 1
    except LogGap as gap:
        oldest = gap.oldest
    low, high = oldest, end + 1
    try:
        while low < high:
            middle = (low + high) // 2
            (record,) = await follower.read_log(shard, middle - 1, 1)
            if record.time_us < time_us:
                low = middle + 1
            else:
                high = middle
    except LogGap:  # trimmed meanwhile
        raise _trimmed("that time") from None
    if low == oldest > follower.info.log_start(shard) + 1:
        raise _trimmed("that time")
    return low - 1


def _trimmed(what: str) -> ReqlError:
    return op_failed(f"The table's change log no longer reaches back to {what}. {BEGIN_AGAIN}")
