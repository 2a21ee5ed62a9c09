"""The catalogue, the change log and estimates of tables that several nodes have a part of."""

from __future__ import annotations

from pathlib import Path

import pytest

from photondb.api.catalogue import (
    AlterTable,
    CreateDatabase,
    CreateIndex,
    DropTable,
    RenameIndex,
)
from photondb.api.context import INTERNAL
from photondb.api.storage import Scan, TableGone, Write
from photondb.datum.keys import end_of_key, primary_key
from photondb.reql.errors import ReqlError
from photondb.sharding.placement import part_of
from tests.rpc.probe import rpc_test
from tests.sharding.suite import layouts, pair, running_nodes
from tests.storage.language import term


@layouts
@rpc_test
async def test_parts_are_the_shards_of_the_change_log(tmp_path: Path, count: int, remote: bool) -> None:
    async with running_nodes(tmp_path, count, remote) as nodes:
        table = await nodes.table("t", count)
        single = await nodes.table("s", 1)
        id = table.info.id
        assert await nodes.router.log_position(INTERNAL, id) == [0] * count
        before = await nodes.router.positions(INTERNAL, [id, single.info.id])
        assert before.tables == ((0,) * count, (0,))
        await table.insert(*({"id": key} for key in range(50)))
        positions = await nodes.router.log_position(INTERNAL, id)
        assert sum(positions) == 50
        after = await nodes.router.positions(INTERNAL, [id, single.info.id])
        assert (after.catalogue, after.tables) == (before.catalogue, (tuple(positions), (0,)))
        keys: set[bytes] = set()
        for shard, last in enumerate(positions):
            records = await nodes.router.read_log(INTERNAL, id, shard, 0, 1000)
            assert [record.sequence for record in records] == list(range(1, last + 1))
            assert all(part_of(record.key, count) == shard for record in records)
            assert await nodes.router.read_log(INTERNAL, id, shard, last, 10) == []
            keys |= {record.key for record in records}
        assert keys == {primary_key(key) for key in range(50)}
        await nodes.change(AlterTable("test", "t", durability="soft"))
        assert (await nodes.router.positions(INTERNAL, [id])).catalogue > after.catalogue


@layouts
@rpc_test
async def test_statistics(tmp_path: Path, count: int, remote: bool) -> None:
    async with pair(tmp_path, count, remote) as both:
        for storage in (*both.nodes.storages, both.single.storage):
            await storage.collect_statistics()  # type: ignore[attr-defined]
        found, expected = [await table.storage.statistics(INTERNAL, table.info.id) for table in both.tables]
        assert (found.rows, found.bytes) == (expected.rows, expected.bytes)
        n, tags = both.spread.index("n"), both.spread.index("tags")
        for index in (n, tags):
            assert found.indexes[index].entries == expected.indexes[index].entries
            assert 0 < found.indexes[index].distinct < 20
            assert found.indexes[index].apart == expected.indexes[index].apart
            bounds = [bound[: end_of_key(bound)] for bound in found.indexes[index].bounds]
            assert bounds == sorted(bounds)
        stores = await both.nodes.router.engine_stats_of_nodes(INTERNAL)
        assert len(stores) == count
        total = await both.nodes.router.engine_stats(INTERNAL)
        assert total.cache_bytes == sum(store.cache_bytes for store in stores)
        with pytest.raises(ReqlError, match="one by one"):
            await both.nodes.router.checkpoint(INTERNAL)


@layouts
@rpc_test
async def test_all_nodes_follow_the_catalogue(tmp_path: Path, count: int, remote: bool) -> None:
    async with running_nodes(tmp_path, count, remote) as nodes:
        table = await nodes.table("t", count)
        await table.insert(*({"id": key, "n": key % 3} for key in range(60)))
        await table.index_ready(CreateIndex("test", "t", "n", term(lambda row: row["n"])))
        await nodes.change(RenameIndex("test", "t", "n", "m"))
        for storage in nodes.storages:
            known = await storage.catalogue(INTERNAL)
            assert [index.name for index in known.tables["test", "t"].indexes] == ["m"]
        assert [status.name for status in await nodes.router.index_status(INTERNAL, table.info.id)] == ["m"]
        await nodes.change(DropTable("test", "t"))
        for storage in nodes.storages:
            with pytest.raises(TableGone):
                await storage.scan(INTERNAL, Scan(table.info.id))
        with pytest.raises(TableGone):
            await table.rows()
        (gone,) = await nodes.router.write(INTERNAL, [Write(table.info.id, "delete", keys=[primary_key(1)])])
        assert isinstance(gone, TableGone)


async def test_tables_of_a_database_live_together(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, 3) as nodes:
        for name in ("one", "two", "three"):
            await nodes.change(CreateDatabase(name))
        homes = set()
        for database in ("one", "two", "three"):
            tables = [await nodes.table(name, 1, database) for name in ("a", "b")]
            assert tables[0].info.nodes == tables[1].info.nodes
            homes.add(tables[0].info.nodes)
            await tables[0].insert({"id": 1}, {"id": 2})
            assert await tables[0].rows() == [{"id": 1}, {"id": 2}]
        assert len(homes) == 3
