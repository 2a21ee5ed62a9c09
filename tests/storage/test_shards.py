"""Shards: ranges of primary keys with equally many documents."""

from __future__ import annotations

import uuid
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photondb.api.catalogue import CreateTable, DropTable, SplitTable, TableInfo
from photondb.api.context import INTERNAL
from photondb.api.storage import KeyRange
from photondb.datum.keys import primary_key
from photondb.reql.errors import ReqlError
from services.storage import shards
from services.storage.shards import uuid_split_points
from tests.storage.conftest import Node, Table


async def divide(table: Table, count: int | None) -> TableInfo:
    """Divide a table, and give it as it is then."""
    catalogue = await table.storage.change_catalogue(INTERNAL, SplitTable("test", table.info.name, count))
    return catalogue.tables["test", table.info.name]


async def rows_within(table: Table, bounds: KeyRange) -> list[object]:
    return [row["id"] for row in await table.rows(ranges=[bounds])]


def shard_ranges(info: TableInfo) -> list[KeyRange]:
    """The primary keys of each shard of a table, in order. Together they are all keys."""
    whole = KeyRange()
    return [KeyRange(low, high) for low, high in pairwise((whole.low, *info.split_points, whole.high))]


@given(count=st.integers(1, 64))
def test_uuids_are_spread_over_the_shards_of_an_empty_table(count: int) -> None:
    points = uuid_split_points(count)
    assert len(points) == count - 1
    assert list(points) == sorted(set(points))
    first, last = uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
    assert all(primary_key(str(first)) < point < primary_key(str(last)) for point in points)
    if count == 2:
        assert points == (primary_key("80000000-0000-0000-0000-000000000000"),)


@pytest.mark.parametrize(("rows", "count"), [(1, 1), (7, 3), (8, 8), (100, 7), (300, 64)])
async def test_shards_have_equally_many_documents(
    node: Node, monkeypatch: pytest.MonkeyPatch, rows: int, count: int
) -> None:
    monkeypatch.setattr(shards, "SLICE_KEYS", 10)  # that many slices meet every place where a shard may begin
    table = await node.table("t")
    await table.insert(*({"id": number * number} for number in range(rows)))
    info = await divide(table, count)
    found = [await rows_within(table, bounds) for bounds in shard_ranges(info)]
    assert [number for shard in found for number in shard] == [number * number for number in range(rows)]
    sizes = [len(shard) for shard in found]
    assert len(sizes) == count
    assert max(sizes) - min(sizes) <= 1
    assert await table.storage.shard_rows(INTERNAL, info.id) == sizes


async def test_shards_survive_a_restart(node: Node) -> None:
    table = await node.table("t")
    await table.insert({"id": 1}, {"id": 2})
    info = await divide(table, 2)
    assert info.split_points == (primary_key(2),)
    await node.stop()
    await node.start()
    assert (await node.storage.catalogue(INTERNAL)).tables["test", "t"] == info
    assert await node.storage.shard_rows(INTERNAL, info.id) == [1, 1]


async def test_estimates_are_made_anew_when_a_part_of_the_table_has_changed(node: Node) -> None:
    table = await node.table("t")
    await table.insert(*({"id": number} for number in range(100)))
    info = await divide(table, 2)
    assert await node.storage.shard_rows(INTERNAL, info.id) == [50, 50]
    await table.insert({"id": 1000})
    assert await node.storage.shard_rows(INTERNAL, info.id) == [50, 50]
    await table.insert(*({"id": number} for number in range(1001, 1010)))
    assert await node.storage.shard_rows(INTERNAL, info.id) == [50, 60]
    await divide(table, None)
    assert await node.storage.shard_rows(INTERNAL, info.id) == [55, 55]


async def test_a_table_that_is_not_there_cannot_be_divided(node: Node) -> None:
    table = await node.table("t")
    await node.storage.change_catalogue(INTERNAL, DropTable("test", "t"))
    with pytest.raises(ReqlError, match="does not exist"):
        await divide(table, 2)


async def test_a_table_can_be_made_with_shards(node: Node) -> None:
    catalogue = await node.storage.change_catalogue(INTERNAL, CreateTable("test", "t", shards=2))
    info = catalogue.tables["test", "t"]
    assert info.shards == 2
    assert await node.storage.shard_rows(INTERNAL, info.id) == [0, 0]
