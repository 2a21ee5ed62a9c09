"""The official Python driver, synchronous and asyncio, against a gateway over the real services."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from rethinkdb import RethinkDB, r
from rethinkdb.errors import ReqlAuthError, ReqlDriverError, ReqlNonExistenceError, ReqlPermissionError

from photondb.api.context import INTERNAL
from photondb.bus import LocalBus
from photondb.config import Settings
from services.auth.service import Auth
from services.gateway.pool import QueryHere
from services.gateway.service import Gateway
from services.query.service import Query
from services.storage.service import Storage


class Suite:
    """The services that a driver needs, in this process."""

    def __init__(self, directory: Path) -> None:
        self.bus = LocalBus()
        self.storage = Storage(directory, self.bus)
        self.auth = Auth(self.storage, iterations=10)
        self.query = Query(self.storage, self.bus, self.auth)
        self.gateway = Gateway(QueryHere(self.query), self.auth, Settings(driver_port=0, http_port=0))
        self.port = 0

    async def start(self) -> None:
        for service in (self.storage, self.auth, self.query, self.gateway):
            await service.start()
        self.port = self.gateway.driver_port

    async def stop(self) -> None:
        for service in (self.gateway, self.query, self.auth, self.storage):
            await service.stop()
        await self.bus.close()

    async def with_driver(self, use: Callable[[Any], Any], **options: Any) -> Any:
        """Connect with the synchronous driver, in a thread, and return what `use` makes of the connection."""

        def drive() -> Any:
            with r.connect("127.0.0.1", self.port, **options) as connection:
                return use(connection)

        return await asyncio.to_thread(drive)


@pytest.fixture
async def suite(tmp_path: Path) -> AsyncIterator[Suite]:
    suite = Suite(tmp_path)
    await suite.start()
    yield suite
    await suite.stop()


async def test_the_synchronous_driver_logs_in_and_asks(suite: Suite) -> None:
    assert await suite.with_driver(lambda connection: r.expr({"a": [1, "x"]}).run(connection)) == {"a": [1, "x"]}


async def test_the_asyncio_driver_has_many_queries_in_flight(suite: Suite) -> None:
    driver = RethinkDB()
    driver.set_loop_type("asyncio")
    connection = await driver.connect("127.0.0.1", suite.port)
    results = await asyncio.gather(*(driver.expr(number).run(connection) for number in range(200)))
    assert results == list(range(200))
    await connection.close()


async def test_server_info(suite: Suite) -> None:
    info = await suite.with_driver(lambda connection: connection.server())
    assert set(info) == {"id", "name", "proxy"}


async def test_passwords_and_users(suite: Suite) -> None:
    await suite.auth.set_user(INTERNAL, "b=o,b", "secret")
    await suite.auth.set_user(INTERNAL, "admin", "boss")

    def ask(connection: Any) -> Any:
        return r.expr("in").run(connection)

    assert await suite.with_driver(ask, user="b=o,b", password="secret") == "in"
    assert await suite.with_driver(ask, user="admin", password="boss") == "in"
    assert await suite.with_driver(ask, auth_key="boss") == "in"
    for options, text in (
        ({"user": "b=o,b", "password": "guess"}, "Wrong password"),
        ({}, "Wrong password"),
        ({"user": "ghost", "password": "secret"}, "Wrong password"),
    ):
        with pytest.raises(ReqlAuthError, match=text):
            await suite.with_driver(ask, **options)


async def test_queries_run_as_the_user_who_logged_in(suite: Suite) -> None:
    await suite.auth.set_user(INTERNAL, "bob", "secret")
    await suite.with_driver(lambda connection: r.table_create("secrets").run(connection))

    def read(connection: Any) -> Any:
        return r.table("secrets").get(1).run(connection)

    with pytest.raises(ReqlPermissionError):
        await suite.with_driver(read, user="bob", password="secret")
    await suite.auth.grant(INTERNAL, "bob", (), {"read": True})
    suite.query.access.forget()
    assert await suite.with_driver(read, user="bob", password="secret") is None


async def test_cursors_noreply_and_errors(suite: Suite) -> None:
    def use(connection: Any) -> None:
        r.table_create("t").run(connection)
        r.table("t").insert([{"id": number} for number in range(500)]).run(connection, noreply=True)
        connection.noreply_wait()
        cursor = r.table("t").run(connection, max_batch_rows=20)
        assert sorted(row["id"] for row in cursor) == list(range(500))
        abandoned = r.table("t").run(connection, max_batch_rows=20)
        next(abandoned)
        abandoned.close()
        with pytest.raises(ReqlNonExistenceError):
            r.expr({})["missing"].run(connection)
        assert r.expr("still here").run(connection) == "still here"
        connection.reconnect()
        assert r.table("t").get(7).run(connection) == {"id": 7}

    await suite.with_driver(use)


async def test_many_noreply_queries_do_not_stop_a_connection(suite: Suite) -> None:
    def use(connection: Any) -> None:
        r.table_create("t").run(connection)
        for number in range(3000):
            r.table("t").insert({"id": number}, durability="soft").run(connection, noreply=True)
        connection.noreply_wait()
        assert len(list(r.table("t").run(connection))) == 3000

    await suite.with_driver(use)


async def test_a_driver_learns_that_the_server_has_gone(suite: Suite) -> None:
    connection = await asyncio.to_thread(r.connect, "127.0.0.1", suite.port)
    await suite.gateway.stop()
    with pytest.raises(ReqlDriverError, match="Connection is closed"):
        await asyncio.to_thread(r.expr(1).run, connection)
    await suite.gateway.start()
