"""What is kept in hidden tables about consumer groups and sinks: `query` shows it, `changefeed` lives by it."""

from __future__ import annotations

from typing import Literal

import msgspec

GROUPS_TABLE = "_feed_groups"
SINKS_TABLE = "_sinks"
SINK_STATES_TABLE = "_sink_states"


class ShardProgress(msgspec.Struct):
    """What is acknowledged of a shard: everything up to the sequence `position`, and the changes in `beyond`."""

    position: int
    beyond: list[int] = []


class GroupRecord(msgspec.Struct):
    """A consumer group. `id` is the uuid of its table and its name, with a slash between."""

    id: str
    table: str
    name: str
    progress: list[ShardProgress]


SinkKind = Literal["webhook", "jetstream"]


class SinkRecord(msgspec.Struct):
    """A sink as its user wants it: where the changes of the table with uuid `table` are sent.

    `state` is the id of its state; it is another one when the sink is to begin anew. `filter` is the wire term of a
    function, as JSON.
    """

    id: str
    state: str
    table: str
    kind: SinkKind
    url: str
    subject: str = ""
    secret: str = ""
    filter: str = ""
    enabled: bool = True


class SinkState(msgspec.Struct):
    """How far a sink is: everything up to `position`, a sequence for each shard, has been delivered. `delivered` counts
    changes, `failures` the attempts in vain since the last success."""

    id: str
    position: list[int]
    delivered: int = 0
    failures: int = 0
    last_error: str | None = None
