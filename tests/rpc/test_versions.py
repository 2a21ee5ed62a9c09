"""Services of different versions understand each other, whichever is the older one: here, storage and who asks it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rethinkdb import r
from rethinkdb.errors import ReqlAvailabilityError

from photondb.api.catalogue import CreateTable
from photondb.api.context import INTERNAL
from photondb.api.storage import StorageApi, Write, WriteSummary
from photondb.bus import LocalBus
from photondb.config import Settings
from photondb.datum.keys import primary_key
from photondb.reql.parameters import constant_function
from photondb.rpc import schema
from photondb.rpc.admission import Admission
from photondb.rpc.servant import Call, servant
from photondb.rpc.storage import SERVICE, StorageStub
from photondb.rpc.storage_servant import StorageHandlers
from photondb.sharding.router import Router
from services.auth.service import Auth
from services.gateway.pool import QueryHere
from services.gateway.service import Gateway
from services.query.service import Query
from services.storage.role import NodeRole
from services.storage.service import Storage
from tests.rpc.old_storage import OldStorageHandlers, serving_old
from tests.rpc.probe import rpc_test, served


class CountingHandlers(StorageHandlers):
    """Of this version; counts the point reads that came in one piece."""

    def __init__(self, storage: StorageApi) -> None:
        super().__init__(SERVICE, Admission(100), storage)
        self.packed = 0

    async def get(self, call: Call) -> None:
        self.packed += bool(call.params.packed)
        await super().get(call)


@asynccontextmanager
async def suite_over(storage: StorageApi, bus: LocalBus) -> AsyncIterator[int]:
    """The services before storage, of this version. Gives the port for drivers."""
    auth = Auth(storage, iterations=10)
    query = Query(storage, bus, auth)
    gateway = Gateway(QueryHere(query), auth, Settings(driver_port=0, http_port=0))
    for service in (auth, query, gateway):
        await service.start()
    yield gateway.driver_port
    for service in (gateway, query, auth):
        await service.stop()


def use(port: int, table: str) -> list[Any]:
    """Reads and writes of single documents and of several, in every way that has a call of its own."""
    with r.connect("127.0.0.1", port) as connection:
        r.table_create(table).run(connection)
        rows = r.table(table)
        rows.insert([{"id": n, "n": n} for n in range(20)]).run(connection)
        return [
            rows.get(3).run(connection),
            rows.get(99).run(connection),
            list(rows.get_all(1, 2, 99).order_by("id").run(connection)),
            list(rows.between(4, 7).order_by(index="id")["n"].run(connection)),
            rows.get(3).update({"n": 30}).run(connection)["replaced"],
            rows.get(3).update({"n": r.row["n"] + 1}).run(connection)["replaced"],
            rows.get(4).replace({"id": 4, "m": [1]}).run(connection)["replaced"],
            rows.get(5).delete().run(connection)["deleted"],
            rows.insert({"id": 3, "n": 0}, conflict="update").run(connection)["replaced"],
            rows.filter({"n": 6}).update({"n": 60}).run(connection)["replaced"],
            list(rows.get_all(3, 4, 5, 6).order_by("id").run(connection)),
            rows.count().run(connection),
        ]


EXPECTED = [
    *({"id": 3, "n": 3}, None, [{"id": 1, "n": 1}, {"id": 2, "n": 2}], [4, 5, 6]),
    *(1, 1, 1, 1, 1, 1),
    *([{"id": 3, "n": 0}, {"id": 4, "m": [1]}, {"id": 6, "n": 60}], 19),
]


@rpc_test
async def test_storage_may_be_replaced_by_a_newer_or_older_one_at_any_time(tmp_path: Path) -> None:
    bus = LocalBus()
    storage = Storage(tmp_path / "data", bus)
    await storage.start()
    address = f"unix:{tmp_path}/storage"
    old, new, old_again = OldStorageHandlers(storage), CountingHandlers(storage), OldStorageHandlers(storage)
    stub = StorageStub(address)
    async with serving_old(old, address):
        suite = suite_over(stub, bus)
        port = await suite.__aenter__()
        assert await asyncio.to_thread(use, port, "a") == EXPECTED
        assert old.gets > 0
        assert old.writes > 0
    async with served(servant(schema.STORAGE.Storage, new), address):
        assert await asyncio.to_thread(use_once_it_is_back, port, "b") == EXPECTED
        assert new.packed > 0
    async with serving_old(old_again, address):
        assert await asyncio.to_thread(use_once_it_is_back, port, "c") == EXPECTED
        assert old_again.gets > 0
        await suite.__aexit__(None, None, None)
        await stub.close()
    await storage.stop()
    await bus.close()


def use_once_it_is_back(port: int, table: str) -> list[Any]:
    """The first call may still find the connection to the former service lost."""
    with r.connect("127.0.0.1", port) as connection:
        is_back = False
        while not is_back:
            with contextlib.suppress(ReqlAvailabilityError):
                r.db("rethinkdb").table("table_config").count().run(connection)
                is_back = True
    return use(port, table)


@rpc_test
async def test_storage_nodes_of_both_versions(tmp_path: Path) -> None:
    """A spread table, one node of which is old: each is asked in its own way."""
    bus = LocalBus()
    storages: list[Storage] = []
    stubs = [StorageStub(f"unix:{tmp_path}/{number}") for number in range(2)]
    storages.append(Storage(tmp_path / "0.data", bus, role=NodeRole(0, 2, None, others=stubs[1:])))
    storages.append(Storage(tmp_path / "1.data", bus, role=NodeRole(1, 2, stubs[0], others=())))
    old, new = OldStorageHandlers(storages[1]), CountingHandlers(storages[0])
    async with (
        served(servant(schema.STORAGE.Storage, new), f"unix:{tmp_path}/0"),
        serving_old(old, f"unix:{tmp_path}/1"),
    ):
        for storage in storages:
            await storage.start()
        router = Router(stubs)
        table = (await router.change_catalogue(INTERNAL, CreateTable("test", "t", shards=2))).tables["test", "t"].id
        documents = [{"id": n} for n in range(50)]
        await router.write(INTERNAL, [Write(table, "insert", documents=documents)])
        keys = [primary_key(n) for n in range(50)]
        update = Write(table, "update", keys=keys, function=constant_function({"seen": True}))
        (summary,) = await router.write(INTERNAL, [update])
        assert isinstance(summary, WriteSummary)
        assert summary.replaced == 50
        found = await router.get(INTERNAL, [(table, key) for key in keys])
        assert found == [b'{"id":%d,"seen":true}' % n for n in range(50)]
        assert old.gets > 0
        assert new.packed > 0
        for storage in reversed(storages):
            await storage.stop()
        for stub in stubs:
            await stub.close()
    await bus.close()
