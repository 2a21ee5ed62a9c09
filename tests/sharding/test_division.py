"""Dividing tables anew while they are used: nothing is lost, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from photondb.api.catalogue import AlterTable, CreateDatabase, CreateIndex, DrainNode, SplitTable, TableSettings
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import StorageApi, Write
from photondb.api.transactions import TransactionConflict
from photondb.config import StartupError
from photondb.datum.keys import primary_key
from photondb.reql.errors import ReqlError
from photondb.rpc.errors import ServiceUnavailable
from services.storage import division
from services.storage.check import check_store
from services.storage.rocks import Store
from tests.rpc.probe import rpc_test
from tests.sharding.suite import Nodes, SpreadTable, running_nodes
from tests.storage.language import func, term

ADD_N = func(lambda row: {"n": row["n"] + 1})
ADD_ONE = func(lambda row: {"v": row["v"] + 1})


async def divide(nodes: Nodes, table: SpreadTable, shards: int) -> None:
    """Divide a table anew, and wait until that is done."""
    await nodes.change(SplitTable("test", table.info.name, shards))
    async with asyncio.timeout(20):
        while (catalogue := await nodes.router.catalogue(INTERNAL)).copies:
            await asyncio.sleep(0.01)
    table.info = catalogue.tables["test", table.info.name]


class Model:
    """Writes to a table, and knows what must be in it."""

    def __init__(self, table: SpreadTable, seed: int) -> None:
        self.table = table
        self.documents: dict[int, dict[str, Any]] = {}
        self.random = random.Random(seed)
        self.stopped = False
        self.written = 0

    async def write_for_ever(self, first: int) -> None:
        """Insert, change and delete documents with keys from `first` on, which nobody else writes."""
        while not self.stopped:
            number = first + self.random.randrange(300)
            known = self.documents.get(number)
            if known is None:
                count = self.random.choice((1, 1, 5))
                keys = [key for key in range(number, min(number + count, first + 300)) if key not in self.documents]
                new = [{"id": key, "n": key % 7, "v": 0} for key in keys]
                summary = await self.table.insert(*new)
                assert (summary.inserted, summary.errors) == (len(new), 0), summary
                self.documents |= {document["id"]: document for document in new}
            elif self.random.random() < 0.3:
                summary = await self.table.write("delete", keys=[number])
                assert summary.deleted == 1, summary
                del self.documents[number]
            else:
                # What is carried out twice, or not at all, shows.
                summary = await self.table.write("update", keys=[number], function=ADD_ONE)
                assert summary.replaced == 1, summary
                known["v"] += 1
            self.written += 1
            assert await self.table.get(number) == self.documents.get(number)

    async def check(self) -> None:
        """See that the table has what was written, also by its index."""
        expected = sorted(self.documents.values(), key=lambda document: document["id"])
        assert await self.table.rows() == expected
        by_index = await self.table.rows(index=self.table.index("n"))
        assert sorted(by_index, key=lambda document: document["id"]) == expected

    @classmethod
    def of(cls, models: Sequence[Model]) -> Model:
        """What several of them have written."""
        whole = cls(models[0].table, 0)
        for model in models:
            whole.documents |= model.documents
        return whole


async def divide_while_written(nodes: Nodes, table: SpreadTable, numbers: Sequence[int], writes: int = 200) -> Model:
    """Divide a table into so many parts, one after another, while it is written. Gives what it must have then."""
    models = [Model(table, seed) for seed in range(3)]

    def written() -> int:
        return sum(model.written for model in models)

    async with asyncio.TaskGroup() as tasks:
        for seed, model in enumerate(models):
            tasks.create_task(model.write_for_ever(1000 * seed))
        for shards in numbers:
            before = written()
            while written() < before + writes:
                await asyncio.sleep(0.01)
            await divide(nodes, table, shards)
            assert len(table.info.nodes) == shards
        before = written()
        while written() < before + writes:
            await asyncio.sleep(0.01)
        for model in models:
            model.stopped = True
    return Model.of(models)


@rpc_test
async def test_a_table_is_divided_anew_while_it_is_written(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, 3, remote=True) as nodes:
        table = await nodes.table("t", 1)
        await table.index_ready(CreateIndex("test", "t", "n", term(lambda row: row["n"])))
        assert len(table.info.nodes) == 1
        model = await divide_while_written(nodes, table, (3, 2, 1, 3))
        await model.check()
    for number in range(3):
        check_data(tmp_path / f"storage-{number}")


def check_data(path: Path) -> None:
    """See that a node's data is in order."""
    store = Store.open(path)
    try:
        assert list(check_store(store)) == []
    finally:
        store.close()


@rpc_test
async def test_a_node_whose_data_is_older_than_the_division_is_refused(tmp_path: Path) -> None:
    data, older = tmp_path / "data", tmp_path / "older"
    async with running_nodes(data, 2) as nodes:
        table = await nodes.table("t", 1)
        await table.insert(*({"id": number} for number in range(100)))
    await asyncio.to_thread(shutil.copytree, data / "storage-1", older)
    async with running_nodes(data, 2) as nodes:
        table.storage = nodes.router
        await divide(nodes, table, 2)
    await asyncio.to_thread(shutil.rmtree, data / "storage-1")
    await asyncio.to_thread(shutil.move, older, data / "storage-1")
    with pytest.raises(StartupError, match=r"lacks documents of table `test\.t`, which was divided anew"):
        async with running_nodes(data, 2):
            pass


@rpc_test
async def test_the_past_and_transactions_begin_anew_with_a_division(tmp_path: Path) -> None:
    async with running_nodes(tmp_path, 2) as nodes:
        table = await nodes.table("t", 1)
        await table.change(AlterTable("test", "t", settings=TableSettings(history_s=3600)))
        await table.insert({"id": 1, "n": 1})
        before = time.time_ns() // 1000
        transaction = "00000000-0000-4000-8000-000000000001"
        await nodes.router.begin_transaction(INTERNAL, transaction, "serializable", False, 0)
        within = msgspec.structs.replace(INTERNAL, transaction=transaction)
        (summary,) = await nodes.router.write(within, [Write(table.info.id, "insert", documents=[{"id": 2}])])
        assert summary.inserted == 1  # type: ignore[union-attr]
        await divide(nodes, table, 2)
        with pytest.raises(TransactionConflict, match="divided anew"):
            await nodes.router.commit_transaction(INTERNAL, transaction)
        keys = [(table.info.id, primary_key(1))]
        assert await nodes.router.get(INTERNAL, keys) == [b'{"id":1,"n":1}']
        with pytest.raises(ReqlError, match="history"):
            await nodes.router.get(msgspec.structs.replace(INTERNAL, as_of_us=before), keys)
        await table.write("update", keys=[1], function=ADD_N)
        after = time.time_ns() // 1000
        await asyncio.sleep(0.001)
        await table.write("update", keys=[1], function=ADD_N)
        assert await nodes.router.get(msgspec.structs.replace(INTERNAL, as_of_us=after), keys) == [b'{"id":1,"n":2}']


@rpc_test
async def test_a_node_is_emptied_and_taken_away(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(division, "LOOK_EVERY_S", 0.02)
        patch.setattr(division, "DRAINED_LOG_S", 0.0)
        async with running_nodes(tmp_path, 3) as nodes:
            await nodes.change(CreateDatabase("d1"))
            await nodes.change(CreateDatabase("d2"))
            tables = [
                await nodes.table("t", 3),
                *[await nodes.table("t", 1, database) for database in ("d1", "d2")],
            ]
            assert [table.info.nodes for table in tables] == [(0, 1, 2), (1,), (2,)]
            for table in tables:
                await table.insert(*({"id": number} for number in range(100)))
            with pytest.raises(ReqlError, match="has the catalogue"):
                await nodes.change(DrainNode(0))
            await nodes.change(DrainNode(2))
            async with asyncio.timeout(60):
                while True:
                    catalogue = await nodes.router.catalogue(INTERNAL)
                    infos = list(catalogue.tables.values())
                    kept = [ended for info in infos for ended in info.ended if ended.kept and ended.node == 2]
                    if not catalogue.copies and not kept:
                        break
                    await asyncio.sleep(0.01)
            assert not [info for info in infos if 2 in info.nodes]
            assert not [database for database in catalogue.databases.values() if database.node == 2]
    async with running_nodes(tmp_path, 2) as nodes:
        for table in tables:
            table.storage = nodes.router
            assert [row["id"] for row in await table.rows()] == list(range(100))
        assert len((await nodes.router.catalogue(INTERNAL)).nodes) == 2
    async with running_nodes(tmp_path, 3) as nodes:
        tables[0].storage = nodes.router
        await divide(nodes, tables[0], 3)
        assert tables[0].info.nodes == (0, 1, 2)
        assert [row["id"] for row in await tables[0].rows()] == list(range(100))


class Trap:
    """A node as home reaches it, until home calls one of its methods for one kind of table: then it is gone."""

    def __init__(self, api: StorageApi, method: str, *, of_copy: bool | None) -> None:
        self._api = api
        self._method = method
        self._of_copy = of_copy
        self.sprung = asyncio.Event()
        self.over = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        called = getattr(self._api, name)
        if name != self._method or self.sprung.is_set():
            return called

        async def spring(context: CallContext, table: Any, *rest: Any) -> Any:
            if self._of_copy is not None:
                copies = {copy.id for copy in (await self._api.catalogue(context)).copies}
                if (table in copies) is not self._of_copy:
                    return await called(context, table, *rest)
            self.sprung.set()
            await self.over.wait()
            raise ServiceUnavailable("The node is gone.")

        return spring


POINTS = [
    ("log_position", None),
    ("scan", None),
    ("fill", None),
    ("read_log", None),
    ("pause_writes", False),
    ("pause_writes", True),
    ("sync", None),
    ("adopt_catalogue", None),
    ("pause_reads", None),
    ("end_pause", None),
]
"""What home asks of node 1 when that dies."""


@pytest.mark.parametrize(("method", "of_copy"), POINTS, ids=[f"{name} {of_copy or ''}" for name, of_copy in POINTS])
@rpc_test
async def test_a_node_dies_at_each_step(tmp_path: Path, method: str, of_copy: bool | None) -> None:
    async with running_nodes(tmp_path, 3) as nodes:
        table = await nodes.table("t", 2)
        await table.index_ready(CreateIndex("test", "t", "n", term(lambda row: row["n"])))
        model = Model(table, 0)
        model.documents = {number: {"id": number, "n": number % 7, "v": 0} for number in range(200)}
        await table.insert(*model.documents.values())
        trap: Any = Trap(nodes.apis[1], method, of_copy=of_copy)
        nodes.others[0] = trap
        await nodes.router.change_catalogue(INTERNAL, SplitTable("test", "t", 3))
        async with asyncio.timeout(60):
            await trap.sprung.wait()
            # Waits while the table is paused, and finds out what has become of it.
            late = [asyncio.create_task(table.write("update", keys=[key], function=ADD_ONE)) for key in range(20)]
            await asyncio.sleep(0.05)
            await nodes.restart(1)
            trap.over.set()
            for key, outcome in enumerate(await asyncio.gather(*late, return_exceptions=True)):
                if isinstance(outcome, BaseException):  # it was on the node that has died: done or not
                    table.storage = nodes.router
                    found = await table.get(key)
                    assert found["v"] in (0, 1)
                    model.documents[key] = found
                else:
                    assert outcome.replaced == 1
                    model.documents[key]["v"] = 1
            table.storage = nodes.router
            while (catalogue := await nodes.router.catalogue(INTERNAL)).copies:
                await asyncio.sleep(0.01)
        table.info = catalogue.tables["test", "t"]
        assert table.info.nodes == (0, 1, 2)
        await model.check()
    for number in range(3):
        check_data(tmp_path / f"storage-{number}")
