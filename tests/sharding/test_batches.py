"""Queries that arrive together do not wait for another storage node than their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from rethinkdb import r

from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import StorageApi, Write, WriteSummary
from photondb.datum.keys import primary_key
from photondb.sharding.placement import part_of
from photondb.sharding.router import Router
from services.query.by_node import by_goal
from services.query.service import Query
from tests.query.conftest import Client
from tests.reql.evaluate import wire_term
from tests.sharding.suite import Nodes, running_nodes

KEYS = range(12)


def whole(row: Any) -> Any:
    return row


def field(row: Any) -> Any:
    return row["id"]


def update(row: Any) -> Any:
    return row.update({"a": 1})


class Late:
    """A storage node whose documents come when they are let go, as from one that has much to do."""

    def __init__(self, storage: StorageApi) -> None:
        self._storage = storage
        self.let_go = asyncio.Event()
        self.let_go.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    async def get(self, context: CallContext, keys: Sequence[tuple[int, bytes]]) -> list[bytes | None]:
        await self.let_go.wait()
        return await self._storage.get(context, keys)

    async def write(self, context: CallContext, writes: Sequence[Write]) -> list[WriteSummary | Exception]:
        await self.let_go.wait()
        return await self._storage.write(context, writes)


@contextlib.asynccontextmanager
async def asking(path: Path) -> AsyncIterator[tuple[Nodes, Late, Client]]:
    """A client of a query service over two nodes, the second one of which can be late, with a table on both."""
    async with running_nodes(path, 2) as nodes:
        late = Late(nodes.storages[1])
        query = Query(Router([nodes.storages[0], late]), nodes.bus)  # type: ignore[list-item]
        await query.start()
        client = Client(query)
        client.channel = await query.open(INTERNAL, client)
        await client.run(r.table_create("t", shards=2))
        await client.run(r.table("t").insert([{"id": key} for key in KEYS]))
        for make in (whole, field, update):  # so that they have plans, and are points
            await client.run(make(r.table("t").get(0)))
        yield nodes, late, client
        await query.stop()


def frames(make: Any) -> list[tuple[int, Any]]:
    return [(key, [1, wire_term(make(r.table("t").get(key))), {}]) for key in KEYS]


def on_time() -> set[int]:
    return {key for key in KEYS if part_of(primary_key(key), 2) == 0}


async def until(client: Client, tokens: set[int]) -> dict[int, Any]:
    """What has been answered later, when all of these have been."""
    while not tokens <= {answer.token for answer in client.answers}:
        await asyncio.sleep(0.005)
    return {answer.token: json.loads(answer.payload) for answer in client.answers}


async def test_reads(tmp_path: Path) -> None:
    async with asking(tmp_path) as (_, late, client):
        answers = await client.submit(*frames(whole))
        assert {answer.token: json.loads(answer.payload)["r"][0]["id"] for answer in answers} == {
            key: key for key in KEYS
        }
        late.let_go.clear()
        answers = await client.submit(*frames(field))
        assert {answer.token for answer in answers} == on_time()
        late.let_go.set()
        found = await until(client, set(KEYS) - on_time())
        assert found == {key: {"t": 1, "r": [key]} for key in set(KEYS) - on_time()}


async def test_writes(tmp_path: Path) -> None:
    async with asking(tmp_path) as (_, late, client):
        late.let_go.clear()
        assert await client.submit(*frames(update)) == []
        found = await until(client, on_time())
        assert set(found) == on_time()
        late.let_go.set()
        found = await until(client, set(KEYS))
        assert all(response["r"][0]["replaced"] == 1 for key, response in found.items() if key)


async def test_late_reads_of_a_table_that_is_gone(tmp_path: Path) -> None:
    """They are answered by the evaluator, which looks at the catalogue again."""
    async with asking(tmp_path) as (nodes, late, client):
        late.let_go.clear()
        answers = await client.submit(*frames(whole))
        assert {answer.token for answer in answers} == on_time()
        other = Query(nodes.router, nodes.bus)
        await other.start()
        another = Client(other)
        another.channel = await other.open(INTERNAL, another)
        await another.run(r.table_drop("t"))
        late.let_go.set()
        found = await until(client, set(KEYS) - on_time())
        assert all(response["r"] == ["Table `test.t` does not exist."] for response in found.values())
        await other.stop()


def test_what_is_divided_stays_together() -> None:
    traced = [1, 3]
    assert by_goal([5, 5, 5, 5], "abcd", "ABCD", traced) == [(5, "abcd", "ABCD", traced)]
    assert by_goal([0, 1, 0, 1], "abcd", "ABCD", ()) == [
        (0, ["a", "c"], ["A", "C"], ()),
        (1, ["b", "d"], ["B", "D"], ()),
    ]
    assert by_goal([0, 1, 1, 0], "abcd", "ABCD", traced) == [
        (0, ["a", "d"], ["A", "D"], [1]),
        (1, ["b", "c"], ["B", "C"], [0]),
    ]
