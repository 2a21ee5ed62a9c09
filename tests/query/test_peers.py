"""Several query services on one storage: each shows the queries of all, and ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import r

from photondb.api.context import INTERNAL
from photondb.bus import LocalBus
from services.query.peers import ANSWER_TIMEOUT_S, ASK, HERE, Peers
from services.query.service import Query
from services.storage.service import Storage
from tests.query.conftest import Client
from tests.reql.evaluate import wire_term

JOBS = r.db("rethinkdb").table("jobs")
ENDLESS = r.range().filter(lambda number: number < 0)
ENDED = "Query terminated by the `rethinkdb.jobs` table."


class Services:
    """Query services over one storage and one bus, and a client of each."""

    def __init__(self, directory: Path) -> None:
        self.bus = LocalBus()
        self.storage = Storage(directory / "data", self.bus)
        self.queries: list[Query] = []

    async def add(self) -> Client:
        query = Query(self.storage, self.bus)
        await query.start()
        self.queries.append(query)
        while any(len(found._peers._known) < len(self.queries) - 1 for found in self.queries):
            await asyncio.sleep(0)
        client = Client(query)
        client.channel = await query.open(INTERNAL, client)
        return client


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    found = Services(tmp_path)
    await found.storage.start()
    yield found
    for query in found.queries:
        await query.stop()
    await found.storage.stop()
    await found.bus.close()


async def texts(client: Client) -> list[str]:
    """What the queries in `jobs` begin with."""
    (rows,) = (await client.run(JOBS.coerce_to("array"), token=7))["r"]
    return sorted(row["info"]["query"][:7] for row in rows)


async def test_a_change_of_the_catalogue_is_known_to_all_services_when_it_is_answered(services: Services) -> None:
    """Also to one that the announcement of it reaches late."""
    first, second = await services.add(), await services.add()
    announced = services.queries[1]._subscription
    assert announced is not None
    await announced.close()
    await first.run(r.table_create("t"))
    for number in range(3):
        await second.run(r.table("t").insert({"id": number}))
        await first.run(r.table_drop("t"))
        await first.run(r.table_create("t"))
        assert (await second.run(r.table("t").count()))["r"] == [0]
        await first.run(r.table("t").index_create("a"))
        assert (await second.run(r.table("t").index_list()))["r"] == [["a"]]


async def test_queries_of_all_services_are_shown(services: Services) -> None:
    first, second = await services.add(), await services.add()
    await first.submit((1, [1, wire_term(ENDLESS), {}]))
    assert await texts(first) == await texts(second) == ['r.db("r', "r.range"]
    third = await services.add()
    await third.submit((1, [1, wire_term(ENDLESS), {}]))
    assert await texts(first) == await texts(third) == ['r.db("r', "r.range", "r.range"]


async def test_a_query_of_another_service_is_ended(services: Services) -> None:
    first, second = await services.add(), await services.add()
    await first.submit((1, [1, wire_term(ENDLESS), {}]))
    (query,) = first.query.own_queries()
    deleted = await second.run(JOBS.get(["query", query.id]).delete())
    assert deleted["r"][0]["deleted"] == 1
    async with asyncio.timeout(10):
        while not first.answers:
            await asyncio.sleep(0.01)
    (answer,) = first.answers
    assert ENDED.encode() in answer.payload
    assert await texts(second) == ['r.db("r']


async def test_one_that_has_left_is_not_asked(services: Services) -> None:
    first, second = await services.add(), await services.add()
    await second.submit((1, [1, wire_term(ENDLESS), {}]))
    await services.queries.pop().stop()
    while first.query._peers._known:
        await asyncio.sleep(0)
    asked: list[Any] = []
    await services.bus.subscribe(ASK, asked.append)
    assert await texts(first) == ['r.db("r']
    assert not asked


async def test_one_that_is_dead_is_forgotten(services: Services) -> None:
    first = await services.add()
    asked: list[Any] = []
    await services.bus.subscribe(ASK, asked.append)
    services.bus.publish_nowait(HERE, b"nobody")
    await asyncio.sleep(0)
    assert await texts(first) == ['r.db("r']
    assert len(asked) == 1
    assert await texts(first) == ['r.db("r']
    assert len(asked) == 1


async def test_questions_at_the_same_time_have_their_own_answers(services: Services) -> None:
    first, second = await services.add(), await services.add()
    await second.submit((1, [1, wire_term(ENDLESS), {}]))
    peers: Peers = first.query._peers
    async with asyncio.timeout(ANSWER_TIMEOUT_S * 10):
        found = await asyncio.gather(*(peers.queries() for _ in range(5)))
    assert [[query.query[:7] for query in queries] for queries in found] == [["r.range"]] * 5
