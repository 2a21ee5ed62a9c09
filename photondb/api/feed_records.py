"""What `changefeed` keeps in storage about consumer groups, in a hidden table, and `query` shows of it."""

from __future__ import annotations

import msgspec

GROUPS_TABLE = "_feed_groups"


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
