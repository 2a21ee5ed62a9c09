"""Transactions where there are several storage nodes: each is one of a single node."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from photondb.api.catalogue import (
    CreateDatabase,
)
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import Scan, Write, WriteSummary
from photondb.api.transactions import TransactionConflict
from photondb.datum.keys import primary_key
from photondb.reql.errors import ReqlError
from photondb.sharding.placement import part_of
from photondb.sharding.router import Router
from tests.rpc.probe import rpc_test
from tests.sharding.suite import Nodes, SpreadTable, layouts, running_nodes


def within(id: str, **fields: Any) -> CallContext:
    return msgspec.structs.replace(INTERNAL, transaction=id, **fields)


class Using:
    """Uses a transaction of the router."""

    def __init__(self, nodes: Nodes, id: str, atomic: bool = False) -> None:
        self.router = nodes.router
        self.id = id
        self.context = within(id, atomic=atomic)

    async def begin(self, read_only: bool = False) -> None:
        await self.router.begin_transaction(self.context, self.id, "serializable", read_only, 0)

    async def set(self, table: SpreadTable, *keys: Any) -> WriteSummary:
        documents = [{"id": key, "by": self.id} for key in keys]
        write = Write(table.info.id, "insert", documents=documents, conflict="replace")
        (summary,) = await self.router.write(self.context, [write])
        assert isinstance(summary, WriteSummary)
        return summary

    async def commit(self) -> str:
        return (await self.router.commit_transaction(self.context, self.id)).state

    async def state(self) -> tuple[str, str]:
        (info,) = await self.router.transactions(self.context, self.id)
        return info.state, info.reason


@contextlib.asynccontextmanager
async def databases(
    path: Path, count: int, remote: bool
) -> AsyncIterator[tuple[Nodes, list[SpreadTable], SpreadTable]]:
    """Nodes with a database each, with two tables in it, and a table of several parts."""
    async with running_nodes(path, count, remote) as nodes:
        tables = []
        for number in range(count):
            await nodes.change(CreateDatabase(f"db{number}"))
            tables += [await nodes.table(name, 1, f"db{number}") for name in ("a", "b")]
        yield nodes, tables, await nodes.table("spread", count)


@layouts
@pytest.mark.parametrize("atomic", [False, True])
@rpc_test
async def test_transactions_within_a_node(tmp_path: Path, count: int, remote: bool, atomic: bool) -> None:
    async with databases(tmp_path, count, remote) as (nodes, tables, spread):
        for number in range(count):
            a, b = tables[2 * number : 2 * number + 2]
            using = Using(nodes, f"t{number}", atomic)
            await using.begin()
            await using.set(a, 1, 2)
            await using.set(b, 3)
            assert await a.rows() == []
            (raw,) = await nodes.router.get(using.context, [(a.info.id, primary_key(1))])
            assert raw is not None
            reply = await nodes.router.scan(using.context, Scan(b.info.id))
            assert reply.chunk is not None
            assert len(reply.chunk) == 1
            assert await using.commit() == "committed"
            assert [row["id"] for row in await a.rows() + await b.rows()] == [1, 2, 3]
            if not atomic:
                assert await using.state() == ("committed", "")
        key = next(key for key in range(50) if part_of(primary_key(key), count) == 1)
        using = Using(nodes, "part", atomic)
        await using.begin()
        await using.set(spread, key)
        assert await using.commit() == "committed"
        assert [row["id"] for row in await spread.rows()] == [key]
        unused = Using(nodes, "unused", atomic)
        await unused.begin()
        assert await unused.commit() == "committed"
        assert await open_transactions(nodes) == 0


async def open_transactions(nodes: Nodes) -> int:
    return sum(len(storage._transactions) for storage in nodes.storages)


@layouts
@pytest.mark.parametrize("atomic", [False, True])
@rpc_test
async def test_transactions_across_nodes_are_aborted(tmp_path: Path, count: int, remote: bool, atomic: bool) -> None:
    async with databases(tmp_path, count, remote) as (nodes, tables, spread):
        keys = range(50)
        for number, use in enumerate(
            (
                lambda using: using.set(tables[2], 1),
                lambda using: using.set(spread, *keys),
                lambda using: using.router.scan(using.context, Scan(spread.info.id)),
                lambda using: using.router.get(using.context, [(spread.info.id, primary_key(key)) for key in keys]),
            )
        ):
            using = Using(nodes, f"t{number}", atomic)
            await using.begin()
            await using.set(tables[0], 1)
            with pytest.raises(ReqlError, match=r"more than one storage node.*Tables of one database live together"):
                await use(using)
            with pytest.raises(ReqlError):
                await using.commit()
            assert await tables[0].rows() == []
            assert await spread.rows() == []
            assert await open_transactions(nodes) == 0
            state, reason = await using.state()
            assert state == "aborted"
            assert "more than one storage node" in reason


@layouts
@rpc_test
async def test_an_atomic_query_that_needs_all_nodes_at_once(tmp_path: Path, count: int, remote: bool) -> None:
    async with databases(tmp_path, count, remote) as (nodes, _, spread):
        using = Using(nodes, "t", atomic=True)
        await using.begin()
        with pytest.raises(ReqlError, match="more than one storage node"):
            await using.set(spread, *range(50))
        assert await spread.rows() == []
        assert await open_transactions(nodes) == 0


@rpc_test
async def test_use_through_several_query_services_is_found_at_the_end(tmp_path: Path) -> None:
    """Neither of two routers knows which node the other has used."""

    async with databases(tmp_path, 2, False) as (nodes, tables, _):
        using = Using(nodes, "t")
        await using.begin()
        await using.set(tables[0], 1)
        using.router = Router(nodes.apis)
        await using.set(tables[2], 1)
        with pytest.raises(ReqlError, match="more than one storage node"):
            await using.commit()
        assert await tables[0].rows() == await tables[2].rows() == []
        assert await open_transactions(nodes) == 0

        again = Using(nodes, "again")
        await again.begin()
        await again.set(tables[2], 5)
        again.router = Router(nodes.apis)
        await again.set(tables[3], 6)
        again.router = Router(nodes.apis)
        assert await again.commit() == "committed"
        assert [row["id"] for row in await tables[2].rows() + await tables[3].rows()] == [5, 6]


@layouts
@rpc_test
async def test_conflicts_and_aborts(tmp_path: Path, count: int, remote: bool) -> None:

    async with databases(tmp_path, count, remote) as (nodes, tables, spread):
        table = tables[-1]
        one, two = Using(nodes, "one"), Using(nodes, "two")
        await one.begin()
        await two.begin()
        await one.set(table, 1)
        await two.set(table, 1)
        assert await one.commit() == "committed"
        with pytest.raises(TransactionConflict):
            await two.commit()
        assert await table.rows() == [{"id": 1, "by": "one"}]
        three = Using(nodes, "three")
        await three.begin()
        await three.set(table, 2)
        listed = {info.id: info for info in await nodes.router.transactions(INTERNAL)}
        assert sorted(listed) == ["one", "three", "two"]
        assert (listed["three"].state, listed["three"].writes) == ("open", 1)
        assert (await nodes.router.abort_transaction(three.context, "three", "why")).state == "aborted"
        assert await three.state() == ("aborted", "why")
        assert await open_transactions(nodes) == 0
        with pytest.raises(ReqlError, match="There is a transaction `three` already"):
            await three.begin()
        with pytest.raises(ReqlError, match="There is no transaction `never`"):
            await nodes.router.abort_transaction(within("never"), "never")
        with pytest.raises(ReqlError, match="There is no transaction `never`"):
            await Using(nodes, "never").set(spread, 1)
        read_only = Using(nodes, "reading")
        await read_only.begin(read_only=True)
        with pytest.raises(ReqlError, match="read-only"):
            await read_only.set(table, 3)


async def test_a_transaction_is_lost_with_the_node_that_it_has_used(tmp_path: Path) -> None:
    """A node that was restarted has forgotten the transaction: it must not seem that nothing was written there."""
    async with databases(tmp_path, 2, False) as (nodes, tables, _):
        using, idle = Using(nodes, "used"), Using(nodes, "idle")
        for transaction in (using, idle):
            await transaction.begin()
        await using.set(tables[2], 1)
        await nodes.restart(1)
        for transaction in (using, idle):
            transaction.router = nodes.router
            with pytest.raises(ReqlError, match=f"There is no transaction `{transaction.id}`"):
                await transaction.commit()
        assert await SpreadTable(nodes.router, tables[2].info).rows() == []
        assert await open_transactions(nodes) == 0
