"""Storage nodes that are down, or have not heard of a table yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from photondb.api.catalogue import (
    CreateTable,
)
from photondb.api.context import INTERNAL
from photondb.api.storage import StorageApi
from photondb.datum.keys import primary_key
from photondb.reql.errors import ReqlError
from photondb.rpc.connect import ConnectOptions
from photondb.rpc.errors import ServiceUnavailable
from photondb.rpc.storage import StorageStub
from photondb.sharding.placement import part_of
from photondb.sharding.router import Router
from tests.rpc.probe import rpc_test
from tests.sharding.suite import SpreadTable, ranges_of, running_nodes
from tests.storage.language import constant


@rpc_test
async def test_a_node_that_is_down_is_named_and_others_go_on(tmp_path: Path) -> None:

    async with running_nodes(tmp_path, 2) as nodes:
        table = await nodes.table("t", 2)
        keys = list(range(40))
        await table.insert(*({"id": key} for key in keys))
        nobody = StorageStub(f"unix:{tmp_path}/nobody.sock", ConnectOptions(reconnect_wait_ms=50))
        router = Router([nodes.storages[0], nobody], reach_timeout_ms=50)
        here = [key for key in keys if table.info.nodes[part_of(primary_key(key), 2)] == 0]
        there = [key for key in keys if key not in here]

        found = await router.get(INTERNAL, [(table.info.id, primary_key(key)) for key in here])
        assert None not in found
        down: StorageApi = router
        lost = SpreadTable(down, table.info)
        with pytest.raises(ServiceUnavailable, match="Storage node 1"):
            await router.get(INTERNAL, [(table.info.id, primary_key(there[0]))])
        with pytest.raises(ServiceUnavailable, match="Storage node 1"):
            await lost.rows()
        assert [row["id"] for row in await lost.rows(ranges=[ranges_of(here[0], here[0], right="closed")])] == [here[0]]
        with pytest.raises(ServiceUnavailable, match="Storage node 1"):
            await router.log_position(INTERNAL, table.info.id)
        assert await router.read_log(INTERNAL, table.info.id, 0, 0, 10)

        summary = await lost.write("update", keys=keys, function=constant({"a": 1}), return_changes="always")
        assert (summary.replaced, summary.errors) == (len(here), len(there))
        assert summary.first_error is not None
        assert summary.first_error.startswith("Storage node 1")
        with pytest.raises(ServiceUnavailable, match="Storage node 1"):
            await lost.write("update", keys=there, function=constant({"a": 1}))

        version = (await router.catalogue(INTERNAL)).version
        with pytest.raises(ReqlError, match=r"Storage node 1.*Nothing was changed"):
            await router.change_catalogue(INTERNAL, CreateTable("test", "new"))
        assert (await router.catalogue(INTERNAL)).version == version
        assert await SpreadTable(nodes.router, table.info).rows()
        await nobody.close()


async def test_a_node_that_has_not_heard_of_a_table_is_told(tmp_path: Path) -> None:
    """As when another query service makes a table: home knows it first, and who asks may be faster than the others."""
    async with running_nodes(tmp_path, 2) as nodes:
        for storage in nodes.storages[1:]:
            assert storage._follower is not None
            await storage._follower.stop()
        home = nodes.storages[0]
        for name in ("written", "read", "asked"):
            await home.change_catalogue(INTERNAL, CreateTable("test", name, shards=2))
        catalogue = await home.catalogue(INTERNAL)
        written, read, asked = (
            SpreadTable(nodes.router, catalogue.tables["test", name]) for name in ("written", "read", "asked")
        )
        assert (await written.insert(*({"id": key} for key in range(20)))).inserted == 20
        assert await read.rows() == []
        await home.change_catalogue(INTERNAL, CreateTable("test", "late", shards=2))
        late = (await home.catalogue(INTERNAL)).tables["test", "late"]
        assert await nodes.router.get(INTERNAL, [(late.id, primary_key(key)) for key in range(9)]) == [None] * 9
        assert await nodes.router.log_position(INTERNAL, asked.info.id) == [0, 0]


async def test_a_suite_with_fewer_nodes_than_its_tables(tmp_path: Path) -> None:

    async with running_nodes(tmp_path, 3) as nodes:
        table = await nodes.table("t", 3)
        fewer = Router(nodes.apis[:2])
        with pytest.raises(ReqlError, match="PHOTONDB_STORAGE_ADDRESSES must name all"):
            await SpreadTable(fewer, table.info).rows()
