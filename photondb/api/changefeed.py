"""The interface of `changefeed`: live queries over the commits that storage publishes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from photondb.api.context import CallContext

if TYPE_CHECKING:
    from photondb.api.storage import KeyRange
    from photondb.reql.chunk import Chunk
    from photondb.reql.pipeline import Aggregate, Step

DEFAULT_QUEUE_SIZE = 100_000
"""Changes that may wait for a reader, as in RethinkDB."""


DEFAULT_GROUP_TIMEOUT_S = 30.0
"""How long a consumer of a group may take for what it was given."""


class FeedRequest(msgspec.Struct):
    """A feed on one table: on the point `key`, else on `ranges` of the primary key or of the index `index`.

    `steps` are applied to the old and the new value of every change; they must be deterministic. With a `limit` the
    feed is on the first so many rows in the order of the key (`descending`: from its end), and `include_offsets` tells
    where among them a row comes and goes. A feed with `include_initial` begins with what is there already; a point
    feed then tells of a document that is not there, too.

    `squash` makes several changes of one document one while they wait for the reader; a number holds changes back for
    that many seconds. At most `queue_size` changes wait: when there are more, all of them are dropped and an object
    tells the reader how many they were.

    With `include_position` changes tell their position, a token, and no change is ever dropped: a reader that is too
    slow gets them from the change log. A feed with `resume` begins after the change with that token, one with
    `since_us` with the first change committed at that time (microseconds since 1970) or later. Neither is possible
    with a `limit`, or together with initial values.

    With an `aggregate` (a count, a sum, an average, or one of them by group) the feed tells of its value instead of the
    rows; a slow reader gets the newest one only.

    With a `group` the feed's changes are shared among all who open it under that name: each goes to one of them, and
    to another one if it was not acknowledged within `group_timeout_s`. Asking for changes acknowledges those before
    the last ones, and every chunk of changes is followed by an empty one. The group outlives its readers.
    """

    table: int
    table_uuid: str
    key: bytes | None = None
    index: int | None = None
    ranges: Sequence[KeyRange] = ()
    steps: Sequence[Step] = ()
    limit: int | None = None
    descending: bool = False
    include_initial: bool = False
    include_states: bool = False
    include_types: bool = False
    include_offsets: bool = False
    squash: bool | float = False
    queue_size: int = DEFAULT_QUEUE_SIZE
    include_position: bool = False
    resume: str | None = None
    since_us: int | None = None
    aggregate: Aggregate | None = None
    group: str | None = None
    group_timeout_s: float = DEFAULT_GROUP_TIMEOUT_S


class Feed(Protocol):
    """An open feed. It is closed when it is dropped, at the latest."""

    async def next(self, max_changes: int) -> Chunk:
        """The next changes, at least one and at most `max_changes`, as the objects that the client sees. (A group's
        feed gives an empty chunk after each other one.)

        Waits for as long as it takes. A cancelled call loses nothing; there may be one call at a time. Raises
        ReqlError when the feed has come to its end, because its table was dropped for instance.
        """
        ...

    async def close(self) -> None:
        """End the feed. Closing twice is allowed."""
        ...


class ChangefeedApi(Protocol):
    async def open(self, context: CallContext, request: FeedRequest) -> Feed:
        """Open a feed that tells of every commit after this call. Raises ReqlError, or TableGone."""
        ...
