"""Queries under way: they are shown, can be ended, and end by themselves when they take too long or too much."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from photondb.api.context import INTERNAL, CallContext
from photondb.api.query import Request
from photondb.bus import LocalBus
from services.query.limits import QueryLimits
from services.query.service import Query
from services.storage.service import Storage
from tests.query.conftest import Client
from tests.reql.evaluate import wire_term

JOBS = r.db("rethinkdb").table("jobs")
ENDLESS = r.range().filter(lambda number: number < 0)
"""A query that is never answered."""
ENDED = "Query terminated by the `rethinkdb.jobs` table."


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[Client]:
    """A connection to a query service that gives queries little time."""
    async with limited(tmp_path, QueryLimits(time_s=0.2)) as connected:
        yield connected


@pytest.fixture
async def poor(tmp_path: Path) -> AsyncIterator[Client]:
    """A connection to a query service that gives queries little memory."""
    async with limited(tmp_path, QueryLimits(memory_bytes=50_000_000)) as connected:
        yield connected


@contextlib.asynccontextmanager
async def limited(directory: Path, limits: QueryLimits) -> AsyncIterator[Client]:
    bus = LocalBus()
    storage = Storage(directory / "data", bus)
    await storage.start()
    query = Query(storage, bus, limits=limits)
    await query.start()
    connected = Client(query)
    connected.channel = await query.open(INTERNAL, connected)
    yield connected
    await query.stop()
    await storage.stop()
    await bus.close()


async def jobs(client: Client) -> list[dict[str, Any]]:
    """The rows of queries other than the one that asks."""
    rows = (await client.run(JOBS.coerce_to("array")))["r"][0]
    return [row for row in rows if "jobs" not in row["info"]["query"]]


async def start(client: Client, token: int, query: Any, **options: Any) -> None:
    """Send a query that is not answered at once."""
    assert await client.submit((token, [1, wire_term(query), options])) == []


async def test_a_query_sees_itself(client: Client) -> None:
    ((row,),) = (await client.run(JOBS.coerce_to("array")))["r"]
    assert row["type"] == "query"
    assert row["id"][0] == "query"
    assert row["info"] == {"query": 'r.db("rethinkdb").table("jobs").coerceTo("array")', "user": "admin"}
    assert row["servers"] == [client.query.server_name]
    assert 0 <= row["duration_sec"] < 60
    assert await jobs(client) == []


async def test_queries_under_way_are_shown_with_their_text(client: Client) -> None:
    await start(client, 1, ENDLESS)
    (row,) = await jobs(client)
    assert (
        row["info"]["query"] == "r.range().filter(function(var1) { return var1.lt(0); })"
        or "range" in (row["info"]["query"])
    )
    again = await jobs(client)
    assert again[0]["id"] == row["id"]
    assert again[0]["duration_sec"] > row["duration_sec"]
    assert (await client.run(JOBS.get(row["id"])["type"]))["r"] == ["query"]
    assert (await client.ask(1, [3]))["t"] == 2
    assert await jobs(client) == []


async def test_a_query_with_a_cursor_is_shown_until_its_end(client: Client) -> None:
    await client.run(r.range(100), token=1, max_batch_rows=40)
    (row,) = await jobs(client)
    assert row["info"]["query"] == "r.range(100)"
    while (await client.ask(1, [2]))["t"] == 3:
        assert [found["id"] for found in await jobs(client)] == [row["id"]]
    assert await jobs(client) == []


async def test_queries_of_a_connection_that_is_gone_are_gone(client: Client) -> None:
    await start(client, 1, ENDLESS)
    await client.run(r.range(100), token=2, max_batch_rows=4)
    assert len(await jobs(client)) == 2
    await client.end_session()
    assert await jobs(client) == []


async def test_deleting_its_row_ends_a_query(client: Client) -> None:
    await start(client, 1, ENDLESS)
    (row,) = await jobs(client)
    deleted = await client.run(JOBS.get(row["id"]).delete())
    assert deleted["r"][0]["deleted"] == 1
    async with asyncio.timeout(10):
        while not client.answers:
            await asyncio.sleep(0.001)
    (answer,) = client.answers
    response = json.loads(answer.payload)
    assert (response["t"], response["e"], response["r"]) == (18, 4200000, [ENDED])
    assert await jobs(client) == []


async def test_deleting_its_row_ends_a_cursor(client: Client) -> None:
    await client.run(r.range(100), token=1, max_batch_rows=4)
    (row,) = await jobs(client)
    await client.run(JOBS.get(row["id"]).delete())
    assert await jobs(client) == []
    assert (await client.ask(1, [2]))["r"] == [ENDED]
    assert (await client.ask(1, [2]))["r"] == ["Token 1 not in stream cache."]


async def test_a_query_can_end_itself(client: Client) -> None:
    assert (await client.run(JOBS.filter({"type": "query"}).delete()))["r"] == [ENDED]
    assert (await client.run(r.expr(1)))["r"] == [1]


async def test_jobs_can_only_be_deleted(client: Client) -> None:
    message = "The `rethinkdb.jobs` system table only allows deletions, not inserts or updates."
    for query in (JOBS.insert({"id": ["query", "x"]}), JOBS.update({"type": "other"})):
        assert (await client.run(query))["r"][0]["first_error"] == message
    await client.run(r.table_create("t"))
    await client.run(r.table("t").insert(r.range(3000).map(lambda number: {"id": number})))
    await client.run(r.table("t").index_create("a"))
    index = JOBS.filter({"type": "index_construction"})
    result = (await client.run(index.delete()))["r"][0]
    assert result["first_error"] == "Jobs of type `index_construction` cannot be interrupted."


async def test_everybody_sees_and_ends_his_own_queries_only(client: Client) -> None:
    await start(client, 1, ENDLESS)
    (row,) = await jobs(client)
    other = Client(client.query)
    other.channel = await client.query.open(INTERNAL, other)
    context = CallContext(user="somebody")
    term = wire_term(JOBS.delete())
    (answer,) = await other.channel.submit([Request(1, 1, json.dumps([1, term]).encode(), context)])
    assert json.loads(answer.payload)["r"] == [ENDED]
    assert [found["id"] for found in await jobs(client)] == [row["id"]]


async def test_the_address_of_the_client_is_shown(client: Client) -> None:
    payload = json.dumps([1, wire_term(JOBS.coerce_to("array"))]).encode()
    requests = [Request(9, 1, payload, INTERNAL, client="127.0.0.1:50123"), Request(9, 2, payload, INTERNAL)]
    for request in requests:
        (answer,) = await client.channel.submit([request])
        ((row,),) = json.loads(answer.payload)["r"]
        assert row["info"]["client_address"] == "127.0.0.1"
        assert row["info"]["client_port"] == 50123


async def test_any_query_has_a_text(client: Client) -> None:
    long = r.range().filter(lambda number: r.expr(["x" * 10] * 10_000).contains(number))
    await start(client, 1, long)
    (row,) = await jobs(client)
    assert row["info"]["query"].endswith("...")
    odd = r.range().map(lambda number: {"a": number}).filter({"a": [1, {"b": r.binary(b"x")}]})
    await start(client, 2, odd, max_batch_rows=1)
    assert len(await jobs(client)) == 2


@pytest.mark.parametrize(
    "query",
    [
        ENDLESS,
        r.range(10**15).count(),
        r.range(10**15).map(lambda number: number).reduce(lambda left, right: left + right),
        r.range(10**15).fold(0, lambda total, number: total + number),
        r.range(10**15).contains(-1),
        r.expr([1] * 1000).map(
            lambda a: r.expr([1] * 1000).map(lambda b: r.expr([1] * 1000).map(lambda c: a + b + c).sum()).sum()
        ),
        r.range(10**15).for_each(lambda number: []),
        r.range(10**15).sample(3),
    ],
)
async def test_a_query_that_takes_too_long_ends_with_an_error(impatient: Client, query: Any) -> None:
    response = await impatient.run(query)
    message = "The query took longer than its time limit of 0.2 seconds."
    assert (response["t"], response["e"], response["r"]) == (18, 2000000, [message])
    assert (await impatient.run(r.expr(1)))["r"] == [1]
    assert impatient.channel.sessions[1].jobs == {}


async def test_each_batch_has_its_own_time(impatient: Client) -> None:
    slow = r.range(40).map(lambda number: r.range(2000).map(lambda _: r.range(10).count()).sum() + number)
    response = await impatient.run(slow, token=1, max_batch_rows=1)
    rows = response["r"]
    while response["t"] == 3:
        response = await impatient.ask(1, [2])
        rows += response["r"]
    assert response["t"] == 2, response
    assert len(rows) == 40


async def test_waiting_for_an_index_takes_as_long_as_it_takes(impatient: Client) -> None:
    await impatient.run(r.table_create("t"))
    for start_at in range(0, 20_000, 2000):
        await impatient.run(r.table("t").insert(r.range(start_at, start_at + 2000).map(lambda n: {"id": n, "a": n})))
    await impatient.run(r.table("t").index_create("a", lambda row: r.expr([1] * 100).map(lambda x: x + row["a"]).sum()))
    response = await impatient.run(r.table("t").index_wait())
    assert response["r"][0][0]["ready"] is True


@pytest.mark.parametrize(
    "query",
    [
        r.range(90_000).map(lambda number: r.expr("x" * 10_000) + number.coerce_to("string")).coerce_to("array"),
        r.range(90_000).fold([], lambda all, number: all.append(r.expr("x" * 10_000) + number.coerce_to("string"))),
        r.range(10**9)
        .map(lambda number: [number.coerce_to("string") + "x" * 1000, number])
        .coerce_to("object")
        .count(),
    ],
)
async def test_a_query_that_takes_too_much_memory_ends_with_an_error(poor: Client, query: Any) -> None:
    response = await poor.run(query)
    assert (response["t"], response["e"]) == (18, 2000000), response
    assert re.fullmatch(r"The query takes more memory than it may \(limit 47 MB\)\.", response["r"][0])
    assert (await poor.run(r.expr(1)))["r"] == [1]
