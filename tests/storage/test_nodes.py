"""Several storage nodes: which of them gets what, and how they follow the catalogue of node 0, home."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from photondb.api.catalogue import (
    AlterTable,
    Catalogue,
    CatalogueChange,
    CreateDatabase,
    CreateIndex,
    CreateTable,
    DropDatabase,
    DropIndex,
    DropTable,
    JoinNode,
    RenameDatabase,
    RenameIndex,
    SplitTable,
    TableInfo,
)
from photondb.api.context import INTERNAL, CallContext
from photondb.api.storage import CHANGES_SUBJECT, Scan, TableGone, Write
from photondb.api.storage_status import Positions
from photondb.bus import BusMessage, LocalBus
from photondb.config import StartupError
from photondb.datum.keys import encode_key, primary_key
from photondb.reql.errors import ReqlError
from photondb.rpc.errors import ServiceUnavailable
from photondb.rpc.events import ChangeBatch
from photondb.sharding.placement import part_of
from services.storage import builder, catalog, catalog_state, following, layout
from services.storage.catalog_state import HOME
from services.storage.check import check_store
from services.storage.rocks import Batch, Store
from services.storage.role import NodeRole
from services.storage.service import Storage
from tests.storage.language import term

FIELD_A = term(lambda row: row["a"])


class Home:
    """Home as the other nodes reach it: they cannot while it is stopped."""

    def __init__(self) -> None:
        self.storage: Storage | None = None

    def _reached(self) -> Storage:
        if self.storage is None:
            raise ServiceUnavailable("The storage service cannot be reached.")
        return self.storage

    async def catalogue(self, context: CallContext) -> Catalogue:
        return await self._reached().catalogue(context)

    async def change_catalogue(self, context: CallContext, change: CatalogueChange) -> Catalogue:
        return await self._reached().change_catalogue(context, change)

    async def positions(self, context: CallContext, tables: Any) -> Positions:
        return await self._reached().positions(context, tables)


class Other:
    """Another node as home reaches it, while it runs."""

    def __init__(self, running: dict[int, Storage], number: int) -> None:
        self._running = running
        self._number = number

    def __getattr__(self, name: str) -> Any:
        if self._number not in self._running:
            raise ServiceUnavailable("The storage service cannot be reached.")
        return getattr(self._running[self._number], name)


class Nodes:
    """The storage nodes of a suite, each of which can be stopped and started again."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        self.count = count
        self.bus = LocalBus()
        self.home = Home()
        self.running: dict[int, Storage] = {}

    def __getitem__(self, number: int) -> Storage:
        return self.running[number]

    def directory(self, number: int) -> Path:
        return self.path / f"node-{number}"

    async def start(self, *numbers: int) -> None:
        for number in numbers:
            home: Any = None if number == HOME else self.home
            others: Any = () if home else [Other(self.running, other) for other in range(1, self.count)]
            role = NodeRole(number, self.count, home, others)
            storage = Storage(self.directory(number), self.bus, role=role)
            await storage.start()
            self.running[number] = storage
            if number == HOME:
                self.home.storage = storage

    async def stop(self, *numbers: int) -> None:
        """Stop nodes, and see that their data is sound."""
        for number in numbers:
            if number == HOME:
                self.home.storage = None
            await self.running.pop(number).stop()
            store = Store.open(self.directory(number))
            problems = list(check_store(store))
            store.close()
            assert problems == []

    async def change(self, *changes: CatalogueChange) -> Catalogue:
        for change in changes:
            catalogue = await self[HOME].change_catalogue(INTERNAL, change)
        return catalogue

    async def settled(self) -> None:
        """Wait until all nodes that run have the catalogue of home."""
        home = self[HOME]._catalogue
        await until(lambda: all(node._catalogue.state.counters.version == version(home) for node in self))

    def __iter__(self) -> Any:
        return iter(self.running.values())

    def table(self, name: str, database: str = "test") -> TableInfo:
        return self[HOME]._catalogue.catalogue.tables[database, name]


def version(catalogue: Any) -> int:
    number: int = catalogue.state.counters.version
    return number


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens by itself."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path, 3)
    await nodes.start(0, 1, 2)
    yield nodes
    await nodes.stop(*reversed(list(nodes.running)))


def ids(part: int, count: int) -> list[int]:
    """Primary keys of documents that belong to that one of three parts."""
    return [n for n in range(count * 10) if part_of(primary_key(n), 3) == part][:count]


async def insert(storage: Storage, table: TableInfo, *documents: Any) -> None:
    (summary,) = await storage.write(INTERNAL, [Write(table.id, "insert", documents=documents)])
    assert not isinstance(summary, Exception)
    assert summary.inserted == len(documents)


async def refused(awaitable: Awaitable[Any]) -> str:
    """The message of the error that comes of it."""
    with pytest.raises(ReqlError) as caught:
        await awaitable
    return caught.value.message


# --- who gets what


async def test_databases_go_where_there_are_few(nodes: Nodes) -> None:
    catalogue = await nodes.change(*(CreateDatabase(f"d{number}") for number in range(5)))
    assert [catalogue.databases[f"d{number}"].node for number in range(5)] == [1, 2, 0, 1, 2]
    assert catalogue.databases["test"].node == 0
    catalogue = await nodes.change(RenameDatabase("d0", "renamed"), DropDatabase("d1"), CreateDatabase("d5"))
    assert [catalogue.databases[name].node for name in ("renamed", "d5")] == [1, 2]


async def test_a_table_of_one_shard_is_with_its_database(nodes: Nodes) -> None:
    await nodes.change(CreateDatabase("d"), CreateTable("d", "a"), CreateTable("d", "b"), CreateTable("test", "c"))
    assert nodes.table("a", "d").nodes == nodes.table("b", "d").nodes == (1,)
    assert nodes.table("c").nodes == (0,)


async def test_a_table_of_several_shards_is_spread(nodes: Nodes) -> None:
    await nodes.change(*(CreateTable("test", f"t{shards}", shards=shards) for shards in (2, 3, 8)))
    assert len(nodes.table("t2").nodes) == 2
    assert nodes.table("t3").nodes == nodes.table("t8").nodes == (0, 1, 2)
    assert nodes.table("t8").shards == 3
    assert nodes.table("t8").split_points == ()


async def test_parts_go_where_there_are_few(nodes: Nodes) -> None:
    await nodes.change(CreateDatabase("d"), *(CreateTable("d", f"t{number}") for number in range(3)))
    await nodes.change(CreateTable("test", "spread", shards=2))
    assert nodes.table("spread").nodes == (0, 2)


async def test_one_node_divides_its_tables_as_ever(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, 1)
    await nodes.start(HOME)
    await nodes.change(CreateDatabase("d"), CreateTable("d", "t", shards=4))
    info = nodes.table("t", "d")
    assert (info.nodes, info.shards, len(info.split_points)) == ((0,), 4, 3)
    await nodes.stop(HOME)


async def test_only_nodes_that_have_been_there_get_something(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, 3)
    await nodes.start(0, 2)
    catalogue = await nodes.change(CreateDatabase("d"), CreateTable("test", "t", shards=3))
    assert catalogue.databases["d"].node == 2
    assert catalogue.tables["test", "t"].nodes == (0, 2)
    assert [bool(id) for id in catalogue.nodes] == [True, False, True]
    await nodes.stop(2, 0)


# --- following home


async def test_nodes_have_the_tables_of_which_they_have_a_part(nodes: Nodes) -> None:
    await nodes.change(
        CreateDatabase("d"),
        CreateTable("d", "mine"),
        CreateTable("test", "spread", shards=3),
        CreateIndex("test", "spread", "a", FIELD_A),
        AlterTable("d", "mine", durability="soft"),
    )
    await nodes.settled()
    mine, spread = nodes.table("mine", "d"), nodes.table("spread")
    for number in range(3):
        catalogue = await nodes[number].catalogue(INTERNAL)
        assert catalogue.node_id == (await nodes[HOME].catalogue(INTERNAL)).node_id
        assert [info.uuid for info in catalogue.tables.values()] == [mine.uuid, spread.uuid]
        assert (await nodes[number].table_stats(INTERNAL, spread.id)).rows == 0
    assert not nodes[1]._tables[mine.id].hard
    for number in (0, 2):
        with pytest.raises(TableGone):
            await nodes[number].table_stats(INTERNAL, mine.id)
    await insert(nodes[1], mine, {"id": 1})
    await nodes.change(
        RenameIndex("test", "spread", "a", "b"),
        CreateIndex("test", "spread", "c", FIELD_A),
        DropIndex("test", "spread", "b"),
        DropDatabase("d"),
    )
    await nodes.settled()
    with pytest.raises(TableGone):
        await nodes[1].table_stats(INTERNAL, mine.id)
    assert [status.name for status in await nodes[2].index_status(INTERNAL, spread.id)] == ["c"]


async def test_a_change_is_adopted_when_it_is_brought(nodes: Nodes) -> None:
    """As a router does, before it says that a table was made."""
    catalogue = await nodes.change(CreateTable("test", "t", shards=3))
    older = catalogue
    await asyncio.gather(*(node.adopt_catalogue(INTERNAL, catalogue) for node in nodes))
    for number in range(3):
        await insert(nodes[number], nodes.table("t"), {"id": ids(number, 1)[0]})
    catalogue = await nodes.change(DropTable("test", "t"))
    await asyncio.gather(*(node.adopt_catalogue(INTERNAL, catalogue) for node in nodes))
    await asyncio.gather(*(node.adopt_catalogue(INTERNAL, older) for node in nodes))
    for node in nodes:
        with pytest.raises(TableGone):
            await node.scan(INTERNAL, Scan(older.tables["test", "t"].id))


async def test_a_node_that_was_away_catches_up(nodes: Nodes) -> None:
    await nodes.change(CreateTable("test", "dropped", shards=3), CreateTable("test", "kept", shards=3))
    await nodes.settled()
    kept = nodes.table("kept")
    for name in ("dropped", "kept"):
        await insert(nodes[1], nodes.table(name), {"id": ids(1, 1)[0], "a": 5})
    await nodes.stop(1)
    await nodes.change(
        DropTable("test", "dropped"),
        CreateTable("test", "dropped", shards=3),
        CreateIndex("test", "kept", "a", FIELD_A),
    )
    await nodes.start(1)
    assert (await nodes[1].table_stats(INTERNAL, nodes.table("dropped").id)).rows == 0
    assert (await nodes[1].table_stats(INTERNAL, kept.id)).rows == 1
    await until(lambda: nodes.table("kept").indexes[0].ready)


async def test_announcements_that_are_missed_do_no_harm(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "ASK_EVERY_S", 0.01)
    monkeypatch.setattr(nodes[HOME]._publisher, "catalogue", lambda version: None)
    for follower in (nodes[1]._follower, nodes[2]._follower):
        assert follower is not None
        follower._news.set()  # it waits for less long from now on
    await nodes.change(CreateTable("test", "t", shards=3))
    await nodes.settled()


async def test_a_node_goes_on_without_home_and_follows_when_it_is_back(nodes: Nodes) -> None:
    await nodes.change(CreateTable("test", "t", shards=3))
    await nodes.settled()
    table = nodes.table("t")
    await nodes.stop(HOME)
    await insert(nodes[1], table, {"id": ids(1, 1)[0]})
    await nodes.start(HOME)
    await nodes.change(CreateTable("test", "u", shards=3))
    await nodes.settled()
    assert (await nodes[1].table_stats(INTERNAL, table.id)).rows == 1


async def test_a_node_waits_for_home(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, 2)
    starting = asyncio.create_task(nodes.start(1))
    await asyncio.sleep(following.RETRY_S * 2)
    assert not starting.done()
    await nodes.start(0)
    await starting
    assert all((await nodes[HOME].catalogue(INTERNAL)).nodes)
    await nodes.stop(1, 0)


async def test_only_home_changes_the_catalogue(nodes: Nodes) -> None:
    message = await refused(nodes[1].change_catalogue(INTERNAL, CreateDatabase("d")))
    assert message == "The catalogue is that of storage node 0, which changes it: this is node 1."


async def test_home_tells_of_nothing_that_a_crash_could_undo(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    path = nodes[HOME]._path
    sync = path.sync

    async def noted() -> None:
        synced.append(version(nodes[HOME]._catalogue))
        await sync()

    monkeypatch.setattr(path, "sync", noted)
    live = nodes[HOME]._catalogue
    table = asyncio.create_task(live.change(CreateTable("test", "t")))
    await asyncio.sleep(0)
    told = await nodes[HOME].catalogue(INTERNAL)
    assert told.version in synced
    await table


# --- indexes


async def test_an_index_is_ready_when_all_nodes_have_built_it(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are done can use it before: others may hear sooner than they that all are."""
    await nodes.change(CreateTable("test", "t", shards=3))
    await nodes.settled()
    table = nodes.table("t")
    for number in range(3):
        await insert(nodes[number], table, *({"id": n, "a": n} for n in ids(number, 200)))
    built_by_2 = asyncio.Event()
    step = builder.IndexBuilder._step

    def held(self: builder.IndexBuilder, *arguments: Any) -> bool:
        if self is nodes[2]._catalogue.builder and not built_by_2.is_set():
            return False
        return step(self, *arguments)

    monkeypatch.setattr(builder.IndexBuilder, "_step", held)
    await nodes.change(CreateIndex("test", "t", "a", FIELD_A))
    await until(lambda: nodes.table("t").indexes[0].built == (0, 1))
    assert not nodes.table("t").indexes[0].ready
    index = nodes.table("t").indexes[0].id
    for number in (0, 1):
        assert [status.ready for status in await nodes[number].index_status(INTERNAL, table.id)] == [True]
        reply = await nodes[number].scan(INTERNAL, Scan(table.id, index, limit=1, keyed=True))
        assert reply.chunk is not None
        (first,) = ids(number, 1)
        assert reply.chunk.keys == [encode_key(first) + primary_key(first)]
    assert "before its construction" in await refused(nodes[2].scan(INTERNAL, Scan(table.id, index, limit=1)))
    await nodes.stop(2)  # in the middle of it
    built_by_2.set()
    await nodes.start(2)
    await until(lambda: nodes.table("t").indexes[0].ready)
    await nodes.settled()
    reply = await nodes[2].scan(INTERNAL, Scan(table.id, index))
    assert reply.chunk is not None
    assert len(reply.chunk) == 200


async def test_what_was_built_while_home_was_away_is_told_later(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    await nodes.change(CreateDatabase("d"), CreateTable("d", "t"))
    await nodes.settled()
    table = nodes.table("t", "d")
    go_on = asyncio.Event()
    step = builder.IndexBuilder._step
    monkeypatch.setattr(builder.IndexBuilder, "_step", lambda *arguments: go_on.is_set() and step(*arguments))
    await nodes.change(CreateIndex("d", "t", "a", FIELD_A))
    await nodes.settled()
    await nodes.stop(HOME)
    go_on.set()
    await until(lambda: nodes[1]._tables[table.id].indexes[0].info.ready)
    await nodes.stop(1)
    await nodes.start(0, 1)
    await until(lambda: nodes.table("t", "d").indexes[0].ready)


async def test_home_remembers_that_it_is_done_when_others_are_not(nodes: Nodes) -> None:
    await nodes.change(CreateTable("test", "t", shards=3))
    await nodes.settled()
    await nodes.stop(1)
    await nodes.change(CreateIndex("test", "t", "a", FIELD_A))
    await until(lambda: nodes.table("t").indexes[0].built == (0, 2))
    await nodes.stop(2, 0)
    await nodes.start(0)
    assert nodes.table("t").indexes[0].built == (0, 2)
    assert not len(nodes[HOME]._catalogue.builder)
    await nodes.start(1, 2)
    await until(lambda: nodes.table("t").indexes[0].ready)


async def test_a_repaired_node_builds_its_part_again_by_itself(nodes: Nodes) -> None:
    """Home knows nothing of it, and is still followed."""
    await nodes.change(CreateTable("test", "t", shards=3), CreateIndex("test", "t", "a", FIELD_A))
    await until(lambda: nodes.table("t").indexes[0].ready)
    await nodes.settled()
    table = nodes.table("t")
    await insert(nodes[1], table, *({"id": n, "a": n} for n in ids(1, 50)))
    await nodes.stop(1)
    store = Store.open(nodes.directory(1))
    state = catalog_state.load(store)
    assert state is not None
    batch = Batch()
    for low, high in layout.index_ranges(table.id, table.indexes[0].id):
        batch.delete_range(low, high)
    catalog.mark_unready(state, table.id, table.indexes[0].id).write_to(batch, store)
    store.write(batch)
    store.close()
    await nodes.start(1)
    assert nodes.table("t").indexes[0].ready
    await until(lambda: nodes[1]._tables[table.id].indexes[0].info.ready)
    reply = await nodes[1].scan(INTERNAL, Scan(table.id, table.indexes[0].id))
    assert reply.chunk is not None
    assert len(reply.chunk) == 50


# --- shards


async def test_a_spread_table_stays_as_it_is_until_another_number_of_shards_is_wanted(nodes: Nodes) -> None:
    catalogue = await nodes.change(CreateTable("test", "t", shards=3))
    assert await nodes.change(SplitTable("test", "t", 3), SplitTable("test", "t")) == catalogue
    await nodes.stop(2)
    (copy,) = (await nodes.change(SplitTable("test", "t", 2))).copies
    table = nodes.table("t")
    assert (copy.copy_of, copy.nodes, copy.uuid) == (table.id, (0, 1), table.uuid)
    # What is asked for again is under way, and what there is already needs none.
    assert (await nodes.change(SplitTable("test", "t", 2))).copies == (copy,)
    assert (await nodes.change(SplitTable("test", "t", 3))).copies == ()
    assert nodes.table("t") == table


async def test_a_copy_follows_what_is_changed_of_its_table(nodes: Nodes) -> None:
    await nodes.change(CreateTable("test", "t"), CreateIndex("test", "t", "a", FIELD_A))
    await nodes.stop(2)
    await nodes.change(SplitTable("test", "t", 3))
    await nodes.change(
        AlterTable("test", "t", new_name="u", durability="soft"),
        CreateIndex("test", "u", "b", FIELD_A),
        RenameIndex("test", "u", "b", "c"),
        DropIndex("test", "u", "a"),
    )
    (copy,) = nodes[HOME]._catalogue.catalogue.copies
    assert (copy.name, copy.durability, [index.name for index in copy.indexes]) == ("u", "soft", ["c"])
    assert copy.nodes == (0, 1, 2)
    assert (await nodes.change(DropTable("test", "u"))).copies == ()


# --- the change log


async def test_a_part_publishes_and_logs_under_its_number(nodes: Nodes) -> None:
    await nodes.change(CreateTable("test", "t", shards=3))
    await nodes.settled()
    table = nodes.table("t")
    heard: dict[str, list[ChangeBatch]] = {}

    def hear(message: BusMessage) -> None:
        assert isinstance(message.content, ChangeBatch)
        heard.setdefault(message.subject, []).append(message.content)

    await nodes.bus.subscribe(CHANGES_SUBJECT.format(table_uuid=table.uuid, shard="*"), hear)
    for part, number in enumerate(table.nodes):
        await insert(nodes[number], table, *({"id": n} for n in ids(part, part + 1)))
        subject = CHANGES_SUBJECT.format(table_uuid=table.uuid, shard=part)
        await until(lambda part=part, subject=subject: sum(len(b.records) for b in heard.get(subject, ())) == part + 1)
        assert {batch.shard for batch in heard[subject]} == {part}
        assert await nodes[number].log_position(INTERNAL, table.id) == [part + 1]
        assert (await nodes[number].positions(INTERNAL, [table.id])).tables == ((part + 1,),)
        records = await nodes[number].read_log(INTERNAL, table.id, part, 0, 100)
        assert [record.sequence for record in records] == list(range(1, part + 2))
    assert await refused(nodes[2].read_log(INTERNAL, table.id, 0, 0, 1)) == "Storage node 2 has no part 0 of `t`."


# --- what does not belong together


async def starting(nodes: Nodes, *numbers: int) -> str:
    """Why nodes do not start."""
    with pytest.raises(StartupError) as caught:
        await nodes.start(*numbers)
    return str(caught.value)


async def test_a_directory_is_that_of_one_node(nodes: Nodes) -> None:
    await nodes.stop(2, 1)
    nodes.directory(1).rename(nodes.path / "elsewhere")
    nodes.directory(2).rename(nodes.directory(1))
    message = await starting(nodes, 1)
    assert message.startswith(f"the data directory {nodes.directory(1)} is that of storage node 2, not of node 1: ")
    await nodes.stop(0)
    nodes.directory(0).rename(nodes.directory(2))
    assert "is that of storage node 0, not of node 2" in await starting(nodes, 2)


async def test_a_node_without_its_data_is_refused(nodes: Nodes) -> None:
    await nodes.stop(1)
    ours = nodes.directory(1).rename(nodes.path / "elsewhere")
    assert "is not that of storage node 1: this suite has data of another one" in await starting(nodes, 1)
    nodes.directory(1).rename(nodes.path / "the new one")
    ours.rename(nodes.directory(1))
    await nodes.start(1)


async def test_a_node_of_another_suite_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    others = Nodes(tmp_path / "others", 3)
    await others.start(0, 1)
    await others.stop(1, 0)
    await nodes.stop(1)
    nodes.directory(1).rename(nodes.path / "elsewhere")
    others.directory(1).rename(nodes.directory(1))
    assert "belongs to another suite" in await starting(nodes, 1)


async def test_a_suite_needs_all_of_its_nodes(nodes: Nodes) -> None:
    await nodes.stop(2, 1, 0)
    nodes.count = 1
    assert await starting(nodes, 0) == (
        "the data is on 3 storage nodes, and only one is to be started: use `photondb serve --processes "
        "--storage-nodes 3`, or name all in PHOTONDB_STORAGE_ADDRESSES"
    )


async def test_a_suite_may_get_more_nodes(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path, 1)
    await nodes.start(0)
    await nodes.change(CreateTable("test", "t"))
    await insert(nodes[HOME], nodes.table("t"), {"id": 1})
    message = await refused(nodes.change(JoinNode(1, "another")))
    assert message.startswith("Storage node 1 is not one of this suite, which has 1: ")
    await nodes.stop(0)
    nodes.count = 2
    await nodes.start(0, 1)
    assert (await nodes[HOME].table_stats(INTERNAL, nodes.table("t").id)).rows == 1
    await nodes.change(CreateTable("test", "u", shards=2))
    assert nodes.table("u").nodes == (0, 1)
    await nodes.stop(1, 0)


async def test_an_older_home_is_not_followed(nodes: Nodes) -> None:
    """It would have data dropped that it knows nothing of."""
    await nodes.stop(2, 1)
    backup = nodes.path / "backup"
    shutil.move(await nodes[HOME].checkpoint(INTERNAL), backup)
    await nodes.start(1)
    await nodes.change(CreateTable("test", "t", shards=2))
    await nodes.settled()
    await nodes.stop(1, 0)
    nodes.directory(0).rename(nodes.path / "lost")
    backup.rename(nodes.directory(0))
    await nodes.start(0)
    assert "Storage node 0 has an older catalogue" in await starting(nodes, 1)
    # It stays so when home's catalogue has as many changes again.
    await nodes.change(*(CreateTable("test", f"t{n}", shards=2) for n in range(9)))
    assert "another table in the place of `test.t`" in await starting(nodes, 1)
