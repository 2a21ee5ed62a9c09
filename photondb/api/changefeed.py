"""The interface of `changefeed`: live queries over the commits that storage publishes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from photondb.api.context import CallContext

if TYPE_CHECKING:
    from photondb.api.storage import KeyRange
    from photondb.reql.pipeline import Step


class FeedRequest(msgspec.Struct):
    """A feed on one table: on the point `key`, else on `ranges` of the primary key or of the index `index`.

    `steps` are applied to the old and the new value of every change. A point feed has exactly one key and always
    begins with the present value when `include_initial` is set.
    """

    table: int
    table_uuid: str
    key: bytes | None = None
    index: int | None = None
    ranges: Sequence[KeyRange] = ()
    steps: Sequence[Step] = ()
    include_initial: bool = False
    include_states: bool = False
    include_types: bool = False
    squash: bool | float = False
    queue_size: int = 100_000


class Feed(Protocol):
    """An open feed."""

    async def next(self, max_changes: int) -> list[dict[str, Any]]:
        """The next changes (at least one), as the objects that the client sees."""
        ...

    async def close(self) -> None: ...


class ChangefeedApi(Protocol):
    async def open(self, context: CallContext, request: FeedRequest) -> Feed: ...
